"""HTML mails as text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_core.mailbox.html_text import html_to_text

seeded = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def test_cells_and_blocks_are_lines_and_inline_tags_are_not() -> None:
    html = (
        "<p>Dear <b>Ada</b> Moreno,</p><table><tr><td>Sub<i>total</i></td><td>$10.00</td></tr>"
        "<tr><td>Total&nbsp;due</td><td><span>$</span><span>12.00</span></td></tr></table>Bye<br>Bob"
    )
    assert html_to_text(html).split("\n") == [
        "Dear Ada Moreno,",
        "Subtotal",
        "$10.00",
        "Total due",
        "$12.00",
        "Bye",
        "Bob",
    ]


def test_what_nobody_sees_is_left_out() -> None:
    html = "<head><title>T</title><style>p{}</style></head><!-- c --><p>seen</p><script>var a = '$5'</script>"
    assert html_to_text(html) == "seen"


def test_broken_html_is_read_all_the_same() -> None:
    assert html_to_text("<table><td>Total<td>$5</b></p><unknown>x") == "Total\n$5\nx"


def test_text_without_a_tag_stays_itself() -> None:
    assert html_to_text("only words") == "only words"


@pytest.mark.parametrize("html", ["", " ", "<", "<!--", "\0", "\ud800", "<p>\ud800</p>"])
def test_what_says_nothing_gives_little(html: str) -> None:
    assert len(html_to_text(html)) <= 1


@seeded
@given(st.text())
def test_no_text_breaks_it(html: str) -> None:
    html_to_text(html)


@seeded
@given(st.binary())
def test_no_bytes_break_it(data: bytes) -> None:
    html_to_text(data.decode("latin-1"))


@pytest.mark.parametrize("piece", ["<div>", "<", "<!--", "<a b='", "<table><tr><td>", "</p>", "<b><i>", "&"])
@pytest.mark.timeout(20)
def test_no_nesting_is_too_deep_and_nothing_makes_it_slow(piece: str) -> None:
    html_to_text(piece * (500_000 // len(piece)))
