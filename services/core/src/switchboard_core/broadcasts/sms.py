"""How many texts a message takes: the carrier charges each of them."""

LONGEST_SMS = 1600
"""Characters that the carrier takes at most."""

# GSM 03.38, the alphabet of 7-bit texts; the characters of its extension table take two places.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM_ONE, _GSM_MANY = 160, 153
_UCS2_ONE, _UCS2_MANY = 70, 67


def segments(text: str) -> int:
    """How many texts of 140 bytes a message is sent as (3GPP TS 23.038, 23.040)."""
    if all(char in _GSM or char in _GSM_EXTENSION for char in text):
        return _parts(len(text) + sum(char in _GSM_EXTENSION for char in text), _GSM_ONE, _GSM_MANY)
    return _parts(len(text.encode("utf-16-be")) // 2, _UCS2_ONE, _UCS2_MANY)


def _parts(length: int, one: int, many: int) -> int:
    return 1 if length <= one else -(-length // many)
