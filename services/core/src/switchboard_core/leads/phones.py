"""Phone numbers: any common spelling to E.164, and the time zone that a number belongs to.

``phonenumbers`` decides. It takes about 60 µs a number, a minute for a million, so well-formed numbers take a short
cut: the same metadata, compiled into one pattern a region. The short cut only ever says *valid*; whatever it does not
recognise goes to the library, which also has the last word on what is wrong.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

MAX_PHONE_CHARS = 60

_PUNCTUATION = str.maketrans("", "", " ().-/\u00a0")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")
_NATIONAL = re.compile(r"[1-9][0-9]{5,14}")
_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+")
_HAS_LETTERS = re.compile(r"[^\W\d_]")


class PhoneError(ValueError):
    """Not a phone number that can be called; the message says why, without the number."""


def parse_phone(text: str, region: str | None = None) -> str:
    """The E.164 form of a number.

    Args:
        text: as people write it: ``+1 415 555 0123``, ``(415) 555-0123``.
        region: two letters of the country that numbers without ``+`` belong to, such as ``US``.

    Raises:
        PhoneError: it is no valid number.
    """
    return _short_cut(text, region) or _by_library(text, region)


def require_region(region: str | None) -> str | None:
    """The region in capitals.

    Raises:
        PhoneError: there is no such region.
    """
    if region is None:
        return None
    known = region.strip().upper()
    if known not in phonenumbers.SUPPORTED_REGIONS:
        msg = f"{region[:20]!r} is no region; use two letters of a country, such as US, GB or DE."
        raise PhoneError(msg)
    return known


def timezone_of(phone: str, default: str) -> str:
    """The IANA time zone that a valid E.164 number belongs to.

    A mobile number often says no more than its country. Then ``default`` wins if it is one of the country's zones;
    otherwise the zone that most of the country's number ranges belong to.
    """
    zones = _zones_of(phone[1:])
    if not zones or default in zones:
        return default
    return max(zones, key=_ranges_by_zone().__getitem__)


def _by_library(text: str, region: str | None) -> str:
    if len(text) > MAX_PHONE_CHARS:
        msg = "is too long for a phone number"
        raise PhoneError(msg)
    if _ROUNDED.fullmatch(text):
        msg = "was rounded by a spreadsheet: format the column as text and export it again"
        raise PhoneError(msg)
    if _HAS_LETTERS.search(text):
        # The library would dial 1-800-FLOWERS; in a list of leads a letter is a slip.
        msg = "has letters: it is not a phone number"
        raise PhoneError(msg)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise PhoneError(_reason(error)) from None
    if not phonenumbers.is_valid_number(number):
        raise PhoneError(_invalid_reason(number))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _reason(error: phonenumbers.NumberParseException) -> str:
    if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
        return "has no known country code: write it as +14155550123, or pass a default region"
    if error.error_type == phonenumbers.NumberParseException.TOO_LONG:
        return "has too many digits"
    if error.error_type == phonenumbers.NumberParseException.NOT_A_NUMBER:
        return "is not a phone number"
    return "has too few digits"


def _invalid_reason(number: phonenumbers.PhoneNumber) -> str:
    match phonenumbers.is_possible_number_with_reason(number):
        case phonenumbers.ValidationResult.TOO_SHORT | phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            return "has too few digits"
        case phonenumbers.ValidationResult.TOO_LONG:
            return "has too many digits"
        case _:
            return f"is not a number in use in the numbering plan of +{number.country_code}"


@dataclass(frozen=True)
class _Plan:
    """The numbering plan of a country code, as the short cut needs it.

    Attributes:
        code: of the country, as digits.
        rewritten: national numbers that the library may change while it parses them; not for the short cut.
        regions: patterns of the leading digits, if they decide, and of the valid numbers of each region, in the order
            in which the library asks them.
    """

    code: str
    rewritten: re.Pattern[str]
    regions: tuple[tuple[re.Pattern[str] | None, re.Pattern[str]], ...]

    def is_valid(self, national: str) -> bool:
        for leading, valid in self.regions:
            if leading is None:
                if valid.fullmatch(national):
                    return True
            elif leading.match(national):
                return valid.fullmatch(national) is not None
        return False


def _short_cut(text: str, region: str | None) -> str | None:
    """The E.164 form of a number that is valid beyond doubt; None hands it to the library."""
    if len(text) > MAX_PHONE_CHARS:
        return None
    digits = text.translate(_PUNCTUATION)
    if _INTERNATIONAL.fullmatch(digits):
        # Punctuation before the plus sign may mean anything.
        if text[0] != "+":
            return None
        for length in (1, 2, 3):
            if plan := _plan(digits[1 : 1 + length]):
                national = digits[1 + length :]
                break
        else:
            return None
    elif region is not None and _NATIONAL.fullmatch(digits):
        plan = _plan_for_national(region)
        # With the country's own code in front it might be international without its plus sign.
        if plan is None or digits.startswith(plan.code) or _dials_abroad(region).match(digits):
            return None
        national = digits
    else:
        return None
    if plan.rewritten.match(national) or not plan.is_valid(national):
        return None
    return f"+{plan.code}{national}"


@lru_cache(maxsize=1024)
def _plan(code: str) -> _Plan | None:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ())
    found = [PhoneMetadata.metadata_for_region(region) for region in regions if region != "001"]
    metadata = [item for item in found if item is not None]
    if not metadata:
        return None
    # Leading zeros are significant in some plans and a prefix in others: the library knows.
    national_prefix = metadata[0].national_prefix_for_parsing
    rewritten = f"0|(?:{national_prefix})" if national_prefix else "0"
    single = len(metadata) == 1
    return _Plan(
        code,
        re.compile(rewritten),
        tuple(
            (re.compile(item.leading_digits) if item.leading_digits and not single else None, _valid_numbers(item))
            for item in metadata
        ),
    )


@lru_cache(maxsize=512)
def _plan_for_national(region: str) -> _Plan | None:
    """The plan for numbers dialled inside ``region``; only where it is the main region of its country code."""
    code = phonenumbers.country_code_for_region(region)
    if phonenumbers.region_code_for_country_code(code) != region:
        return None
    return _plan(str(code))


@lru_cache(maxsize=512)
def _dials_abroad(region: str) -> re.Pattern[str]:
    metadata = PhoneMetadata.metadata_for_region(region)
    prefix = metadata.international_prefix if metadata else None
    return re.compile(prefix or "(?!)")


def _valid_numbers(metadata: PhoneMetadata) -> re.Pattern[str]:
    """Matches what the library calls a number of a known type: the general pattern, and that of one type."""
    types = (
        metadata.fixed_line,
        metadata.mobile,
        metadata.toll_free,
        metadata.premium_rate,
        metadata.shared_cost,
        metadata.voip,
        metadata.personal_number,
        metadata.pager,
        metadata.uan,
        metadata.voicemail,
    )
    patterns = [pattern for pattern in map(_pattern, types) if pattern]
    general = _pattern(metadata.general_desc)
    if not general or not patterns:
        return re.compile("(?!)")
    return re.compile(f"(?=(?:{general})$)(?:{'|'.join(patterns)})")


def _pattern(desc: PhoneNumberDesc | None) -> str | None:
    if desc is None or not desc.national_number_pattern:
        return None
    lengths: Iterable[int] = desc.possible_length or ()
    allowed = "|".join(f"[0-9]{{{length}}}" for length in lengths)
    return f"(?:(?=(?:{allowed})$)(?:{desc.national_number_pattern}))" if allowed else desc.national_number_pattern


def _zones_of(digits: str) -> tuple[str, ...]:
    for length in range(TIMEZONE_LONGEST_PREFIX, 0, -1):
        if zones := TIMEZONE_DATA.get(digits[:length]):
            return tuple(zones)
    return ()


@lru_cache(maxsize=1)
def _ranges_by_zone() -> Counter[str]:
    return Counter(zones[0] for zones in TIMEZONE_DATA.values() if len(zones) == 1)
