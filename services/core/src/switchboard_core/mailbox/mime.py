"""Reading what mails are made of: headers, and the structure that an IMAP server tells. Pure, and it never raises.

Mail is written by everybody's programs: wrong charsets, raw bytes in headers and broken encodings are everyday, so
whatever cannot be read as it claims to be is read in the best other way.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import collapse_rfc2231_value, decode_params, parsedate_to_datetime
from typing import Any

MAX_HEADER_CHARACTERS = 2000
_MAX_RAW_CHARACTERS = 8 * 1024
"""Of a field before it is decoded, which can take time with the square of its length."""
_MAX_DEPTH = 20
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:(.*(?:\r?\n[ \t].*)*)", re.MULTILINE)
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,990}>")
_PARAMETER = re.compile(r";\s*([\w*-]+)\s*=\s*(?:\"([^\"]*)\"|([^;\s]+))")


@dataclass(frozen=True)
class Part:
    """One part of a message, as its structure tells.

    Attributes:
        section: its number in IMAP, such as ``1.2``.
        content_type: lower case, such as ``text/plain``.
        charset: of a text, as claimed.
        encoding: how it is encoded for transport, lower case, such as ``base64``.
        size: encoded, in bytes.
        filename: as claimed.
        attachment: it is meant to be kept, not shown.
    """

    section: str
    content_type: str
    charset: str | None = None
    encoding: str = "7bit"
    size: int = 0
    filename: str | None = None
    attachment: bool = False


def fields_of(raw: bytes) -> dict[str, list[bytes]]:
    """The fields of a header by lower-case name, unfolded, undecoded."""
    found: dict[str, list[bytes]] = {}
    for match in _FIELD.finditer(raw):
        value = re.sub(rb"\r?\n(?=[ \t])", b"", match[2]).strip()
        found.setdefault(match[1].decode("ascii").lower(), []).append(value)
    return found


def decode_text(data: bytes, charset: str | None = None) -> str:
    """Text of a part or a field.

    Args:
        data: decoded from its transport encoding.
        charset: as claimed; a wrong or unknown one is passed over.
    """
    for name in (charset, "utf-8"):
        if name:
            try:
                return data.decode(name)
            except (LookupError, ValueError):
                continue
    return data.decode("cp1252", errors="replace")


def decode_field(value: bytes) -> str:
    """A field for people: encoded words decoded, control characters gone, bounded."""
    text = decode_text(value)[:_MAX_RAW_CHARACTERS]
    try:
        pieces = decode_header(text)
    except (HeaderParseError, ValueError, LookupError):
        pieces = [(text, None)]
    decoded = "".join(piece if isinstance(piece, str) else decode_text(piece, charset) for piece, charset in pieces)
    return _NOT_SHOWN.sub(" ", decoded).strip()[:MAX_HEADER_CHARACTERS]


def message_id_of(value: bytes) -> str | None:
    """The Message-ID in a field; None when there is none that could be looked up."""
    text = decode_text(value)
    match = _MESSAGE_ID.search(text)
    return match[0] if match and match[0].isascii() else None


def date_of(value: bytes) -> datetime | None:
    """The time in a Date field, with its zone; None when it is not one."""
    try:
        found = parsedate_to_datetime(decode_text(value))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parameters_of(value: bytes) -> dict[str, str]:
    """The parameters of a field such as Content-Type, by lower-case name."""
    return {
        match[1].lower(): decode_field((match[2] or match[3] or "").encode())
        for match in _PARAMETER.finditer(decode_text(value))
    }


def decode_content(data: bytes, encoding: str) -> bytes:
    """Undo a transport encoding; of content that was cut off or is damaged, as much as can be read."""
    if encoding == "base64":
        packed = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
        try:
            return base64.b64decode(packed[: len(packed) // 4 * 4] + _padded(packed[len(packed) // 4 * 4 :]))
        except binascii.Error:
            return b""
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    return data


def _padded(rest: bytes) -> bytes:
    # One character alone is six bits: less than a byte, so what was cut off there is given up.
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def parts_of(structure: Any) -> tuple[Part, ...]:  # noqa: ANN401 - nested tuples as the parser made them
    """The leaves of a BODYSTRUCTURE, in order. An attached message is one leaf: its own parts are not listed."""
    if _is_multipart(structure):
        return tuple(_leaves(structure, "", 0))
    return tuple(_leaves(structure, "1", 0))


def _is_multipart(node: Any) -> bool:  # noqa: ANN401
    return isinstance(node, tuple | list) and bool(node) and isinstance(node[0], list)


def _leaves(node: Any, section: str, depth: int) -> Iterator[Part]:  # noqa: ANN401
    if depth > _MAX_DEPTH or not isinstance(node, tuple | list) or not node:
        return
    if _is_multipart(node):
        for number, child in enumerate(node[0], start=1):
            inner = f"{section}.{number}" if section else str(number)
            yield from _leaves(child, inner, depth + 1)
        return
    part = _leaf(node, section)
    if part is not None:
        yield part


def _leaf(node: Sequence[Any], section: str) -> Part | None:
    if len(node) < 7 or not isinstance(node[0], bytes) or not isinstance(node[1], bytes):
        return None
    parameters = _pairs(node[2])
    kind, disposition = _disposition(node)
    filename = disposition.get("filename") or parameters.get("name")
    content_type = f"{decode_text(node[0])}/{decode_text(node[1])}".lower()
    shown = content_type.startswith(("text/", "multipart/"))
    return Part(
        section=section,
        content_type=content_type,
        charset=parameters.get("charset"),
        encoding=decode_text(node[5]).lower() if isinstance(node[5], bytes) else "7bit",
        size=node[6] if isinstance(node[6], int) else 0,
        filename=filename or None,
        attachment=kind == "attachment" or (bool(filename) and kind != "inline" and not shown),
    )


def _disposition(node: Sequence[Any]) -> tuple[str, dict[str, str]]:
    """Where the disposition stands depends on the type; some servers give it as one string."""
    for item in node[7:]:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], bytes):
            kind = item[0].lower()
            if kind in {b"attachment", b"inline"}:
                return kind.decode(), _pairs(item[1])
        if isinstance(item, bytes) and item.lower().startswith((b"attachment", b"inline")):
            return item.partition(b";")[0].strip().lower().decode("ascii", "replace"), parameters_of(item)
    return "", {}


def _pairs(flat: Any) -> dict[str, str]:  # noqa: ANN401
    """``(name value name value …)`` as a dict, values in the ways of RFC 2231 decoded."""
    if not isinstance(flat, tuple | list):
        return {}
    texts = [decode_text(item) if isinstance(item, bytes) else str(item) for item in flat]
    pairs = list(zip(texts[::2], texts[1::2], strict=False))
    try:
        # Its first entry stands for the value before the parameters.
        decoded = [(name, collapse_rfc2231_value(value)) for name, value in decode_params([("", ""), *pairs])[1:]]
    except (ValueError, TypeError, LookupError):
        decoded = pairs
    # decode_params puts quotes around what it has decoded.
    return {
        name.lower().rstrip("*"): decode_field(value.strip('"').encode(errors="replace")) for name, value in decoded
    }
