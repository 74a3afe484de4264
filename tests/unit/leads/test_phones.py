"""Numbers: the short cut agrees with the library, and the time zone is a sensible one."""

import random
from collections.abc import Iterator

import phonenumbers
import pytest

from switchboard_core.leads.phones import PhoneError, _short_cut, parse_phone, require_region, timezone_of

TYPES = tuple(range(11))


def by_the_library(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def spellings(seed: int) -> Iterator[tuple[str, str | None]]:
    """Numbers of every type and country, whole and with digits changed, in several spellings."""
    rng = random.Random(seed)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        code = phonenumbers.country_code_for_region(region)
        for kind in TYPES:
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            digits = list(phonenumbers.national_significant_number(example))
            for _ in range(4):
                for _ in range(rng.randint(0, 3)):
                    digits[rng.randrange(len(digits))] = rng.choice("0123456789")
                national = "".join(digits)
                yield f"+{code}{national}", None
                yield f"+{code} ({national[:3]}) {national[3:]}", "US"
                yield f"{national[:2]}-{national[2:]}", region
                yield f"{code}{national}", region


def test_the_short_cut_says_what_the_library_says() -> None:
    taken = 0
    for text, region in spellings(seed=4):
        quick = _short_cut(text, region)
        if quick is not None:
            taken += 1
            assert quick == by_the_library(text, region), (text, region)
    assert taken > 3000


@pytest.mark.parametrize(
    ("text", "region"), [("+14155550123", None), ("(415) 555-0123", "US"), ("+44 20 7946 0123", None)]
)
def test_usual_spellings_take_the_short_cut(text: str, region: str | None) -> None:
    assert _short_cut(text, region) is not None


@pytest.mark.parametrize(
    ("text", "region", "expected"),
    [
        ("+1 (415) 555-0123", None, "+14155550123"),
        ("415.555.0123", "US", "+14155550123"),
        ("1 415 555 0123", "US", "+14155550123"),
        ("011 44 20 7946 0123", "US", "+442079460123"),
        ("020 7946 0123", "GB", "+442079460123"),
        ("+44 (0)20 7946 0123", None, "+442079460123"),
        ("+39 06 698 12345", None, "+390669812345"),
        ("030 23125 001", "DE", "+493023125001"),
    ],
)
def test_a_number_is_understood_however_people_write_it(text: str, region: str | None, expected: str) -> None:
    assert parse_phone(text, region) == expected


@pytest.mark.parametrize("text", ["", "n/a", "+", "1-800-FLOWERS", "+1415555012", "0" * 200, "+14155550123\n+1", "++"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(PhoneError):
        parse_phone(text, "US")


def test_a_national_number_without_a_region_says_what_to_do() -> None:
    with pytest.raises(PhoneError, match="pass a default region"):
        parse_phone("415 555 0123")


def test_the_region_is_two_letters_in_any_case() -> None:
    assert require_region("us") == "US"
    with pytest.raises(PhoneError, match="no region"):
        require_region("USA")


@pytest.mark.parametrize(
    ("phone", "default", "zone"),
    [
        ("+12125550123", "UTC", "America/New_York"),
        ("+16025550123", "UTC", "America/Phoenix"),
        ("+442079460123", "UTC", "Europe/London"),
        ("+447400123456", "UTC", "Europe/London"),
        ("+61491570156", "UTC", "Australia/Sydney"),
        ("+19075550123", "America/Anchorage", "America/Anchorage"),
        ("+18005550123", "America/Denver", "America/Denver"),
        ("+80012345678", "Europe/Rome", "Europe/Rome"),
    ],
)
def test_the_time_zone_comes_from_the_number(phone: str, default: str, zone: str) -> None:
    assert timezone_of(phone, default) == zone
