"""Ranking what was found in mails and in calls as one list. Pure.

What two search engines say of their own finds cannot be compared, so both are scored here, by the same three things:
how many of the wanted words a find has (twice as many count more than twice), where it has them (a subject says more
than a body), and how old it is.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_TERMS = 8
SNIPPET_CHARACTERS = 200
HALF_LIFE_DAYS = 90.0
PHRASE_BONUS = 1.15

WEIGHTS: Mapping[str, float] = {"subject": 1.0, "sender": 0.9, "transcript": 0.8, "body": 0.6}
"""How much it says that a word stands in a field."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")  # noqa: RUF001 - both apostrophes that people type
# What people say around what they look for. Only left out while something else is left.
_FILLER_WORDS = """
    a about all an and any are as at be but by can could did do does email emails find for from get give had has have i
    in is it look mail mails me message messages my of on or our please search show that the their there this to was we
    were what when where which who will with would you your
"""
_FILLERS = frozenset(_FILLER_WORDS.split())


class Kind(StrEnum):
    """Where something was found."""

    MAIL = "mail"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Find:
    """Something that was found and is to be ranked.

    Attributes:
        kind: where.
        id: of the mail or of the recording.
        title: for people.
        fields: texts by the names in ``WEIGHTS``.
        when: it was received or made.
        place: the folder of a mail, the carrier's name of a call.
        elsewhere: terms that it has in its body, according to the server that searched it.
    """

    kind: Kind
    id: str
    title: str
    fields: Mapping[str, str]
    when: datetime | None = None
    place: str = ""
    elsewhere: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A find in its place.

    Attributes:
        find: what was found.
        score: between 0 and 1.
        snippet: where its first words are.
    """

    find: Find
    score: float
    snippet: str


def words_of(text: str) -> list[str]:
    """The words of a text, in order, without capitals and with a plain apostrophe, otherwise as they are written.

    They are what servers are asked for, and those know nothing of *grösse* for *Größe*.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'"))  # noqa: RUF001 - as people type


def terms_of(query: str) -> tuple[str, ...]:
    """What to search for: the words of a query without fillers and repetitions, ``MAX_TERMS`` at most."""
    words = list(dict.fromkeys(words_of(query)))
    telling = [word for word in words if word not in _FILLERS and (len(word) > 1 or word.isdecimal())]
    return tuple((telling or words)[:MAX_TERMS])


def matches(term: str, word: str) -> bool:
    """Whether a word of a text is a wanted one, or another form of it: *invoices* for *invoice*.

    Both begin alike, with four letters at least, and differ by an ending of three at most. *GRÖSSE* is *Größe*.
    """
    term, word = term.casefold(), word.casefold()
    if term == word:
        return True
    shorter, longer = sorted((term, word), key=len)
    common = next((index for index, pair in enumerate(zip(shorter, longer, strict=False)) if pair[0] != pair[1]), None)
    stem = len(shorter) if common is None else common
    return stem >= max(4, len(shorter) - 1) and len(longer) - stem <= 3


def root_of(term: str) -> str:
    """What to ask a server for that looks for pieces of words: *invoices* is asked for as *invoice*."""
    return term[:-1] if len(term) > 4 and term.endswith("s") and not term.endswith("ss") else term


def rank(finds: Iterable[Find], terms: Sequence[str], now: datetime, *, limit: int = 50) -> list[Ranked]:
    """The best finds, best first; those without any of the terms are left out.

    Args:
        finds: in any order; the order of the result does not depend on it.
        terms: from ``terms_of``.
        now: with its zone.
        limit: how many at most.
    """
    scored = [(score(find, terms, now), find) for find in finds]
    best = sorted((pair for pair in scored if pair[0] > 0), key=_place)[:limit]
    return [Ranked(find, points, snippet(find, terms)) for points, find in best]


def _place(pair: tuple[float, Find]) -> tuple[float, float, str, str]:
    points, find = pair
    return -points, -(find.when.timestamp() if find.when else 0.0), find.kind.value, find.id


def score(find: Find, terms: Sequence[str], now: datetime) -> float:
    """How good a find is, between 0 and 1."""
    if not terms:
        return 0.0
    words = {name: words_of(text) for name, text in find.fields.items()}
    weights = [_weight(term, words, find.elsewhere) for term in terms]
    coverage = sum(weight > 0 for weight in weights) / len(terms)
    together = any(_has_phrase(terms, of_field) for of_field in words.values())
    where = min(1.0, sum(weights) / len(terms) * (PHRASE_BONUS if together else 1.0))
    return round(coverage * where * (0.7 + 0.3 * _freshness(find.when, now)), 4)


def _weight(term: str, words: Mapping[str, Sequence[str]], elsewhere: frozenset[str]) -> float:
    """That of the best field that has the term."""
    found = [WEIGHTS[name] for name, of_field in words.items() if any(matches(term, word) for word in of_field)]
    return max([*found, WEIGHTS["body"] if term in elsewhere else 0.0])


def _has_phrase(terms: Sequence[str], words: Sequence[str]) -> bool:
    if len(terms) < 2:
        return False
    starts = range(len(words) - len(terms) + 1)
    return any(all(matches(term, words[start + index]) for index, term in enumerate(terms)) for start in starts)


def _freshness(when: datetime | None, now: datetime) -> float:
    if when is None:
        return 0.0
    age_days = max(0.0, (now - when).total_seconds() / 86_400)
    return float(0.5 ** (age_days / HALF_LIFE_DAYS))


def snippet(find: Find, terms: Sequence[str]) -> str:
    """A piece of the longest text around the first of the terms, with ``…`` where something was left out."""
    text = " ".join((find.fields.get("transcript") or find.fields.get("body") or "").split())
    if len(text) <= SNIPPET_CHARACTERS:
        return text
    start = _first_match(text, terms)
    begin = max(0, min(start - SNIPPET_CHARACTERS // 4, len(text) - SNIPPET_CHARACTERS))
    # From the beginning of a word to the end of one.
    begin = text.rfind(" ", 0, begin) + 1 if begin else 0
    end = begin + SNIPPET_CHARACTERS
    if end < len(text):
        end = text.rfind(" ", begin + 1, end + 1)
        end = end if end > begin else begin + SNIPPET_CHARACTERS
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


def _first_match(text: str, terms: Sequence[str]) -> int:
    for match in _WORD.finditer(text):
        if any(matches(term, word) for word in words_of(match[0]) for term in terms):
            return match.start()
    return 0
