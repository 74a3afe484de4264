"""How many texts a message is charged as (3GPP TS 23.038 and 23.040)."""

import pytest

from switchboard_core.broadcasts.sms import segments


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),  # of the extension table: two places each
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),  # two units of UTF-16 each
        ("😀" * 36, 2),
    ],
)
def test_the_alphabet_decides_how_much_a_text_holds(text: str, texts: int) -> None:
    assert segments(text) == texts
