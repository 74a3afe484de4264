"""Sums of money in the notations of many countries."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_core.mailbox.amounts import find_amounts, straighten
from switchboard_core.mailbox.currencies import CODES, SYMBOLS, decimals_of

seeded = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def found(text: str, country: str | None = None) -> list[str]:
    return [f"{amount.currency} {amount.value}" for amount in find_amounts(straighten(text), country=country)]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$1,234.56", "USD 1234.56"),
        ("$ 12", "USD 12"),
        ("US$5.00", "USD 5.00"),
        ("A$9.99", "AUD 9.99"),
        ("1.234,56 €", "EUR 1234.56"),
        ("1.234.567,89 €", "EUR 1234567.89"),
        ("1\u202f234,56\u00a0€", "EUR 1234.56"),
        ("€1234,5", "EUR 1234.5"),
        ("EUR 12.00", "EUR 12.00"),
        ("12,00EUR", "EUR 12.00"),
        ("EUR 1.234", "EUR 1234"),
        ("KWD 1.234", "KWD 1.234"),
        ("0.500 EUR", "EUR 0.500"),
        ("¥1,200", "JPY 1200"),
        ("JPY 1,200", "JPY 1200"),
        ("₩12,000", "KRW 12000"),
        ("₹1,23,456.00", "INR 123456.00"),
        ("CHF 1'234.50", "CHF 1234.50"),
        ("1\u2019234.50 CHF", "CHF 1234.50"),
        ("CHF 12.-", "CHF 12"),
        ("12,- EUR", "EUR 12"),
        ("100,00 zł", "PLN 100.00"),
        ("1 250,00 Kč", "CZK 1250.00"),
        ("$\n12.00", "USD 12.00"),
        ("£9.99/month", "GBP 9.99"),
    ],
)
def test_a_sum_is_read_in_this_notation(text: str, amount: str) -> None:
    assert found(text) == [amount]


@pytest.mark.parametrize(
    "text",
    [
        "TOP 10 tips",
        "ALL 5 of them",
        "ABC 12.00",
        "order 4711",
        "version 1.2.3",
        "USDA 12",
        "$",
        "EUR",
        "$99999999999999999999",
        "9" * 400 + " EUR",
        "100 kr",
        "",
    ],
)
def test_what_is_no_sum_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_a_word_is_a_currency_only_beside_decimals() -> None:
    assert found("TRY 10.00") == ["TRY 10.00"]


@pytest.mark.parametrize(("country", "currency"), [("se", "SEK"), ("no", "NOK"), ("dk", "DKK")])
def test_kronor_are_those_of_the_sender(country: str, currency: str) -> None:
    assert found("199,00 kr", country) == [f"{currency} 199.00"]


def test_sums_beside_each_other_are_not_mixed_up() -> None:
    assert found("2 x 5.00 €12.00 and 3,00 € or $4") == ["EUR 12.00", "EUR 3.00", "USD 4"]


@pytest.mark.parametrize("text", ["-$5.00", "- EUR 5.00", "(€5.00)", "\u22125,00 €"])
def test_a_minus_is_noticed(text: str) -> None:
    assert [amount.negative for amount in find_amounts(straighten(text))] == [True]


@seeded
@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    for amount in find_amounts(straighten(text)):
        assert amount.currency in CODES
        assert amount.value >= 0


@seeded
@given(
    cents=st.integers(min_value=0, max_value=10**11),
    currency=st.sampled_from(sorted(CODES - {"TRY"})),
    marks=st.sampled_from([",.", ".,", " ,", "'.", "\u00a0,"]),
    first=st.booleans(),
)
def test_what_is_written_in_a_usual_way_is_read_back(cents: int, currency: str, marks: str, *, first: bool) -> None:
    value = Decimal(cents).scaleb(-2)
    written = f"{value:,.2f}".replace(",", "\0").replace(".", marks[1]).replace("\0", marks[0])
    text = f"Total: {currency} {written}." if first else f"Total: {written} {currency}."
    assert [(amount.value, amount.currency) for amount in find_amounts(straighten(text))] == [(value, currency)]


@pytest.mark.parametrize("piece", ["123 ", "1,000,", "12,34,", "$1,", "9", "$9", "-- ", "1.1.", "USD ", "("])
@pytest.mark.timeout(20)
def test_no_text_makes_it_slow(piece: str) -> None:
    for _ in find_amounts(piece * (100_000 // len(piece))):
        pass


def test_every_symbol_stands_for_a_known_currency() -> None:
    assert set(SYMBOLS.values()) <= CODES
    assert {decimals_of(code) for code in CODES} == {0, 2, 3}
