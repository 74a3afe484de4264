"""Amounts of money in text: ``$1,234.56``, ``1.234,56 €``, ``EUR 12.00``, ``¥1,200``. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from switchboard_core.mailbox.currencies import BARE_SIGNS, CODES, KRONOR, SYMBOLS, WORDS, decimals_of

MAX_AMOUNT = Decimal(10) ** 12
"""What is larger is an account number, not a sum that anybody was charged."""

_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " "))
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2212": "-", "\uff0c": ",", "\uff0e": "."})

# Digits in groups of three, in India's groups of two and three, or without any. Each branch ends before a digit, so
# that no part of a longer number is taken, and is bounded, so that no text makes the search slow.
_NUMBER = r"""(?:
    \d{1,3}(?:[., ']\d{3}){1,4}(?:[.,]\d{1,3})?
  | \d{1,2}(?:,\d{2}){1,4},\d{3}(?:\.\d{1,2})?
  | \d{1,13}(?:[.,]\d{1,3})?
)(?!\d)"""
_SIGN = "|".join(re.escape(symbol) for symbol in sorted([*SYMBOLS, "kr"], key=len, reverse=True))
_CURRENCY = rf"(?:(?<![A-Za-z])[A-Z]{{3}}(?![A-Za-z])|(?<![A-Za-z])(?:{_SIGN})(?![a-z]))"
_AMOUNT = re.compile(
    rf"""
    (?P<minus>[-(]\s?)?
    (?:
        (?P<before>{_CURRENCY})\s{{0,2}}-?(?P<after_sign>(?<!\d){_NUMBER})
      | (?P<before_sign>(?<![\d.,]){_NUMBER})(?:,-|\.-|,--)?\ {{0,2}}(?P<after>{_CURRENCY})(?!\s?\d)
    )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of money in a text.

    Attributes:
        value: never negative.
        currency: ISO 4217.
        start: where it begins in the text.
        end: behind its last character.
        negative: written with a minus or in brackets.
        certain: its currency cannot mean another one.
    """

    value: Decimal
    currency: str
    start: int
    end: int
    negative: bool = False
    certain: bool = True


def straighten(text: str) -> str:
    """The text with its special spaces, apostrophes and full-width marks as plain ones, of the same length."""
    return text.translate(_SPACES).translate(_APOSTROPHES)


def find_amounts(text: str, *, country: str | None = None) -> Iterator[Amount]:
    """The sums of money in a text, in its order.

    Args:
        text: straightened.
        country: top-level domain of the sender, which says whose ``kr`` is meant.
    """
    for match in _AMOUNT.finditer(text):
        written = match["before"] or match["after"]
        digits = match["after_sign"] or match["before_sign"]
        currency = _currency(written, digits, country)
        value = parse_number(digits, currency) if currency else None
        if currency is not None and value is not None:
            yield Amount(
                value,
                currency,
                match.start(),
                match.end(),
                negative=match["minus"] is not None,
                certain=written not in BARE_SIGNS,
            )


def _currency(written: str, digits: str, country: str | None) -> str | None:
    if written == "kr":
        return KRONOR.get(country or "")
    if written in SYMBOLS:
        return SYMBOLS[written]
    if written not in CODES or (written in WORDS and not re.search(r"[.,]\d\d$", digits)):
        return None
    return written


def parse_number(digits: str, currency: str) -> Decimal | None:
    """A number as people write it.

    The last separator is the decimal point where two kinds are used, and where as many digits follow it as the
    currency has decimals or fewer; everything else groups digits. So ``1.234`` is 1234 in euros and 1.234 in dinars.

    Args:
        digits: with ``.``, ``,``, spaces and apostrophes between them.
        currency: ISO 4217; decides what three digits behind a single separator are.

    Returns:
        None for what no sum can be.
    """
    plain = digits.replace(" ", "").replace("'", "")
    last = max(plain.rfind("."), plain.rfind(","))
    whole, fraction = (plain[:last], plain[last + 1 :]) if last >= 0 else (plain, "")
    if fraction and not _is_fraction(plain, plain[last], whole, fraction, currency):
        whole, fraction = whole + fraction, ""
    whole = whole.replace(".", "").replace(",", "")
    if not (whole + fraction).isdecimal() or not whole.isascii():
        return None
    value = Decimal(f"{whole}.{fraction}" if fraction else whole)
    return value if value < MAX_AMOUNT else None


def _is_fraction(plain: str, separator: str, whole: str, fraction: str, currency: str) -> bool:
    if plain.count(separator) > 1:
        return False
    other = "," if separator == "." else "."
    if other in whole or len(fraction) < 3:
        return True
    return decimals_of(currency) == 3 or whole in {"", "0"}
