"""Takes secrets out of text: known values in every form they may have, and everything that looks like a secret. Pure.

Known values find what no pattern could (a password in the middle of a sentence); patterns find what nobody could name
(a token that somebody pasted into an annotation). In doubt it takes too much.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "***"

SHORTEST = 4
"""Shorter values cannot be searched for: they would be found everywhere."""
_WHOLE_WORDS_BELOW = 8
_DEEPEST = 2
_PASSES = 4

_CONFIDENTIAL = (
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|"
    r"credentials?(?:_json|_keys?)?|authorization|cookie|signature|dsn)"
)
"""What the name of a variable, field or parameter ends with whose value is a secret."""
_SECRET_NAME = re.compile(rf"(?i){_CONFIDENTIAL}$")

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Greedy: a password may itself hold an @ that nobody escaped.
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/:@\"'<>]*)(:[^\s\"'<>]*)?@")
_SCHEME = re.compile(r"(?i)\b(bearer|basic|digest)(?:\s+|%20)([A-Za-z0-9._~+/=:-]{4,})")
# Values: with escaped quotes, in quotes, in quotes that never end, or up to the next space.
_PAIR = re.compile(
    rf"(?im)([\w.-]*{_CONFIDENTIAL}(?:\\*[\"'])?\s*(?:=>|[=:]|%3D)\s*)"
    r"(\\+[\"'].*?(?:\\+[\"'](?=\s*(?:[,}\]]|$))|$)|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|[\"'].*$|[^\s\"']\S*)"
)
_TOKENS = re.compile(
    r"\bsbk_[A-Za-z0-9_-]+"
    r"|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[oprsu]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bxox[abposr]-[A-Za-z0-9-]{10,}"
)
# Identifiers: what is the same stays recognisable as the same, inside one report.
_TWILIO_SID = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2})[0-9a-fA-F]{32}(?![A-Za-z0-9])")
_HEX = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{32}(?![A-Za-z0-9])")
_PHONE = re.compile(r"(\+|%2[Bb])[1-9](?:[ .()-]{0,2}\d){6,14}(?!\d)")
_NATIONAL_PHONE = re.compile(r"(?<![\w.-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])")
_PHONE_WORD = r"(?:to|from|phone|caller|callee|called|msisdn|number)(?:_?(?:number|id))?"
_PHONE_NAME = re.compile(rf"(?i)(?:^|_){_PHONE_WORD}$")
_PHONE_VALUE = re.compile(r"\+?\(?\d(?:[ .()-]{0,2}\d){6,14}")
_PHONE_PAIR = re.compile(rf"(?i)((?:\b|_){_PHONE_WORD}\\*[\"']?\s*[=:]\s*\\*[\"']?)(\d{{7,15}})(?!\d)")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,}={0,2}")


def names_a_secret(name: str) -> bool:
    """Whether a variable, field or parameter of this name holds a secret."""
    return _SECRET_NAME.search(_snake(name)) is not None


def names_a_phone(name: str, value: str) -> bool:
    """Whether a field of this name with this value holds a phone number."""
    return _PHONE_NAME.search(_snake(name)) is not None and _PHONE_VALUE.fullmatch(value) is not None


def mask_phone(number: str) -> str:
    """Mask the middle of a number as the services do: ``+14155551267`` becomes ``+1415*****67``."""
    digits = re.sub(r"[^\d+]", "", number)
    if len(digits) < _WHOLE_WORDS_BELOW:
        return "*" * len(digits)
    return f"{digits[:5]}{'*' * (len(digits) - 7)}{digits[-2:]}"


@dataclass(frozen=True)
class _Find:
    """A part of a text that has to go."""

    start: int
    end: int
    instead: str = MASK


class Redactor:
    """Takes secrets out of text.

    Args:
        known: values that must not appear, in any form.
        salt: of one report; what is pseudonymised with it cannot be guessed back.
    """

    def __init__(self, known: Iterable[str] = (), salt: bytes = b"") -> None:
        self._salt = salt[: hashlib.blake2b.MAX_KEY_SIZE]
        forms = {form for value in known for part in _parts(value) for form in _forms(part)}
        self._known = _alternatives(forms)

    def text(self, text: str, depth: int = 0) -> str:
        """The text without secrets."""
        for _ in range(_PASSES):
            cleaned = _replaced(text, self._finds(text, depth))
            if cleaned == text:
                break
            text = cleaned
        return text

    def holds_known(self, content: str) -> bool:
        """Whether a known value is still in a text."""
        return self._known is not None and self._known.search(content) is not None

    def _finds(self, text: str, depth: int) -> Iterator[_Find]:
        """Everything that has to go, all of it found in the same text.

        One rule after the other would be wrong: a known value that is an ordinary word (``token``) would take away
        what another rule knows a secret by (``token=...``).
        """
        if self._known:
            yield from (_Find(*match.span()) for match in self._known.finditer(text))
        yield from (_Find(*match.span()) for rule in (_PEM, _TOKENS) for match in rule.finditer(text))
        yield from (_Find(*match.span(2)) for match in _SCHEME.finditer(text))
        yield from (_credentials(match) for match in _URL.finditer(text))
        yield from (_value(match) for match in _PAIR.finditer(text))
        yield from self._identifiers(text)
        if depth < _DEEPEST:
            runs = (match for match in _BASE64.finditer(text) if self._is_secret_in_base64(match[0], depth))
            yield from (_Find(*match.span()) for match in runs)

    def _identifiers(self, text: str) -> Iterator[_Find]:
        for match in _TWILIO_SID.finditer(text):
            yield _Find(*match.span(), self._pseudonym(match[1], match[0]))
        for match in _HEX.finditer(text):
            yield _Find(*match.span(), self._pseudonym("", match[0]))
        for rule in (_PHONE, _NATIONAL_PHONE):
            for match in rule.finditer(text):
                yield _Find(*match.span(), mask_phone(re.sub("(?i)%2b", "+", match[0])))
        for match in _PHONE_PAIR.finditer(text):
            yield _Find(*match.span(2), mask_phone(match[2]))

    def _pseudonym(self, prefix: str, value: str) -> str:
        tail = hashlib.blake2b(value.encode(), digest_size=3, key=self._salt).hexdigest()
        return f"{prefix}{MASK}{tail}"

    def _is_secret_in_base64(self, run: str, depth: int) -> bool:
        content = _decode(run)
        return content is not None and self.text(content, depth + 1) != content


def _replaced(text: str, finds: Iterable[_Find]) -> str:
    """The text with something else in the place of each find; what overlaps goes as one."""
    merged: list[_Find] = []
    for find in sorted(finds, key=lambda each: (each.start, -each.end)):
        last = merged[-1] if merged else None
        if last is None or find.start >= last.end:
            merged.append(find)
        elif find.end > last.end or find.instead == MASK:
            merged[-1] = _Find(last.start, max(last.end, find.end))
        # Otherwise it is part of a longer identifier, which is masked already.
    parts: list[str] = []
    at = 0
    for find in merged:
        parts += (text[at : find.start], find.instead)
        at = find.end
    return "".join([*parts, text[at:]])


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)


def _credentials(match: re.Match[str]) -> _Find:
    """The password of a URL; without one the user, which is often a token."""
    if match[3] is None:
        return _Find(*match.span(2))
    start, end = match.span(3)
    return _Find(start + 1, end)


def _value(match: re.Match[str]) -> _Find:
    """The value of a pair, without its quotes."""
    start, end = match.span(2)
    opening = re.match(r"\\*[\"']", match[2])
    if opening is None:
        return _Find(start, end)
    closing = re.search(r"\\*[\"']$", match[2][opening.end() :])
    return _Find(start + opening.end(), end - len(closing[0]) if closing else end)


def _parts(value: str) -> Iterator[str]:
    """A secret value, and what it is made of: the password of a URL, the leaves of JSON, the lines of a key, a list."""
    yield value
    yield value.strip()
    yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= _WHOLE_WORDS_BELOW * 2)
    yield from (part.strip() for part in value.split(",") if len(part.strip()) >= _WHOLE_WORDS_BELOW * 2)
    yield from (match[2].strip("\"'\\") for match in _PAIR.finditer(value))
    if "://" in value:
        yield from _url_passwords(value)
    if value.lstrip().startswith(("{", "[")):
        try:
            yield from _leaves(json.loads(value))
        except ValueError:
            return


def _url_passwords(value: str) -> Iterator[str]:
    for match in _URL.finditer(value):
        password = (match[3] or "")[1:]
        yield from (password, unquote(password))
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return
    yield from (password, unquote(password))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, str) and len(value) >= _WHOLE_WORDS_BELOW:
        yield value


def _forms(value: str) -> Iterator[str]:
    """How a value may be written: plain, escaped for JSON and URLs, in base64 at any offset."""
    if len(value) < SHORTEST:
        return
    yield from (value, quote(value, safe=""), quote(value), quote_plus(value))
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])
    data = value.encode(errors="surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
        if len(data) >= _WHOLE_WORDS_BELOW:
            yield from _inside(data, encode)


def _inside(data: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """The characters that a value takes in the base64 of something longer, whatever stands around it."""
    for offset in range(3):
        text = encode(b"\0" * offset + data).decode().rstrip("=")
        # The first characters mix with what stands before, the last with what follows.
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        yield text[first:last]


def _alternatives(forms: set[str]) -> re.Pattern[str] | None:
    """One expression for all forms, the longest first, so that none leaves a rest of another."""
    if not forms:
        return None
    ordered = sorted((form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form))
    found = [
        re.escape(form) if len(form) >= _WHOLE_WORDS_BELOW else rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
        for form in ordered
    ]
    return re.compile("|".join(found)) if found else None


def _decode(run: str) -> str | None:
    """What a run of base64 says, where that is text."""
    bare = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        content = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return content if all(char.isprintable() or char in "\r\n\t" for char in content) else None
