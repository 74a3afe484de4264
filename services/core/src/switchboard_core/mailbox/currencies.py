"""Currencies as receipts write them: ISO 4217 codes, their decimal places, and what stands for them."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


CODES = _set(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV
    WST XAF XCD XOF XPF YER ZAR ZMW ZWG
    """
)
"""The currencies of ISO 4217 that people pay with; funds, metals and test codes are left out."""

ZERO_DECIMAL = _set("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF")
THREE_DECIMAL = _set("BHD IQD JOD KWD LYD OMR TND")

WORDS = _set("ALL AMD BAM COP CUP GEL LAK LSL MAD MOP NAD PAB PEN RON SAR SOS TOP TRY")
"""Codes that are words or names too: they count only beside an amount with its decimals."""

SYMBOLS = {
    "US$": "USD",
    "CA$": "CAD",
    "C$": "CAD",
    "AU$": "AUD",
    "A$": "AUD",
    "NZ$": "NZD",
    "HK$": "HKD",
    "SG$": "SGD",
    "S$": "SGD",
    "NT$": "TWD",
    "MX$": "MXN",
    "R$": "BRL",
    "CN¥": "CNY",
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "￥": "JPY",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₺": "TRY",
    "₫": "VND",
    "₴": "UAH",
    "₪": "ILS",
    "₱": "PHP",
    "₦": "NGN",
    "฿": "THB",
    "zł": "PLN",
    "Kč": "CZK",
    "Ft": "HUF",
    "Fr.": "CHF",
    "Rs.": "INR",
}
"""What stands for a currency; where several share a sign, it means the one that most receipts mean."""

BARE_SIGNS = frozenset({"$", "¥", "￥"})
"""Signs that several currencies share."""

KRONOR = {"se": "SEK", "no": "NOK", "dk": "DKK"}
"""What ``kr`` means in mail from a domain of these countries."""


def decimals_of(currency: str) -> int:
    """How many decimal places a currency has."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2
