"""Amounts of money as people write them."""

from decimal import Decimal

_NO_DECIMALS = frozenset(
    {
        *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"),
        *("PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
    }
)
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def decimals_of(currency: str) -> int:
    """Decimal places of a currency (ISO 4217)."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def require_amount(amount: Decimal, currency: str) -> Decimal:
    """An amount that exists in its currency.

    Raises:
        ValueError: it has more decimal places than the currency.
    """
    places = decimals_of(currency)
    if amount != round(amount, places):
        msg = f"{currency} has {places} decimal places, and the amount has more."
        raise ValueError(msg)
    return amount


def plain(amount: Decimal, currency: str) -> str:
    """An amount with the decimal places of its currency, such as ``1234.50``."""
    return f"{amount:.{decimals_of(currency)}f}"


def written(amount: Decimal, currency: str) -> str:
    """An amount for people, such as ``1,234.50 EUR``."""
    return f"{amount:,.{decimals_of(currency)}f} {currency}"
