"""Amounts as people write them."""

from decimal import Decimal

import pytest

from switchboard_core.receipts.money import plain, require_amount, written


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("1234.5", "EUR", "1,234.50 EUR"),
        ("1200", "JPY", "1,200 JPY"),
        ("0.125", "KWD", "0.125 KWD"),
        ("1234567890123.99", "USD", "1,234,567,890,123.99 USD"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: str, currency: str, shown: str) -> None:
    assert written(Decimal(amount), currency) == shown
    assert plain(Decimal(amount), currency) == shown.replace(",", "").partition(" ")[0]


@pytest.mark.parametrize(("amount", "currency"), [("0.001", "EUR"), ("0.5", "JPY")])
def test_an_amount_that_cannot_be_paid_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match="decimal places, and the amount has more"):
        require_amount(Decimal(amount), currency)
