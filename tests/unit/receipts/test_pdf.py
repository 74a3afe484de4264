"""Receipts as PDF: every script that the font has, and nothing fetched from anywhere."""

import io
from pathlib import Path

import pytest
from pypdf import PdfReader

from switchboard_core.receipts.pdf import FONTS, make_pdf
from switchboard_core.receipts.template import BrokenTemplateError


def words(html: str, **options: tuple[str, ...]) -> str:
    pages = PdfReader(io.BytesIO(make_pdf(html, title="Receipt", **options))).pages
    return "\n".join(page.extract_text() for page in pages)


@pytest.mark.parametrize("name", ["Zażółć gęślą jaźń", "Ελένη", "Дмитрий", "Հայաստան", "ქართული", "Nguyễn", "€ ₺ ₴"])
def test_a_name_comes_out_right(name: str) -> None:
    assert name in words(f"<p>{name}</p>")


@pytest.mark.parametrize("name", ["שלום", "محمد"])
def test_a_name_that_is_written_from_right_to_left_has_its_letters(name: str) -> None:
    found = words(f"<p>{name}</p>").strip()
    assert sorted(found) == sorted(name)


def test_headings_tables_lists_and_emphasis_come_out() -> None:
    found = words("<h1>Receipt</h1><table><tr><td><b>A</b></td><td><i>1</i></td></tr></table><ul><li>x</li></ul>")
    assert [word for word in ("Receipt", "A", "1", "x") if word not in found] == []


def test_nothing_is_fetched_or_run(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"no picture")
    html = f"<script>evil()</script><style>p{{}}</style><img src='{secret}'><table><tr><td><img src='{secret}'>ok"
    assert "ok" in words(f"{html}</td></tr></table>")
    assert "evil" not in words(html + "</td></tr></table>")


def test_what_cannot_be_laid_out_is_told() -> None:
    with pytest.raises(BrokenTemplateError, match="body: No PDF can be made of it: Invalid HTML: <tr> used outside"):
        make_pdf("<tr><td>x</td></tr>", title="Receipt")


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ('<table><tr><td colspan="100000000">x</td></tr></table>', "colspan of <td> must be a number from 0 to 100"),
        ('<table><tr><th rowspan="100000000">x</th></tr></table>', "rowspan of <th> must be a number from 0 to 1000"),
        ("<table><tr><td colspan=1 colspan=100000000>x</td></tr></table>", "colspan of <td> must be a number"),
        ('<ol type="I" start="100000000000"><li>x</li></ol>', "start of <ol> must be a number from 0 to 10000"),
        ('<font size="nan">x</font>', "size of <font> must be a number from 0 to 200"),
        ("<table>" + '<tr><td colspan="100" rowspan="60">x</td></tr>' * 2 + "</table>", "more than 10,000 cells"),
        ("<p>x" * 1001, "more than 1,000 headings, paragraphs"),
        ('<table><tr><td width="0">x</td><td width="0">y</td></tr></table>', "float division by zero"),
    ],
)
def test_html_that_would_use_up_memory_or_time_is_refused_before_it_does(html: str, reason: str) -> None:
    with pytest.raises(BrokenTemplateError, match=f"^body: No PDF can be made of it: .*{reason}"):
        make_pdf(html, title="Receipt")


def test_a_cell_may_span_columns_and_rows() -> None:
    cells = "<tr><td colspan=2>Subscription</td></tr><tr><td rowspan=2>January</td><td>1</td></tr><tr><td>2</td></tr>"
    found = words(f"<table>{cells}</table>")
    assert [word for word in ("Subscription", "January", "1", "2") if word not in found] == []


def test_further_fonts_stand_in_where_the_built_in_one_lacks_a_letter() -> None:
    assert "Ada" in words("<p>Ada 山田</p>", fonts=(str(FONTS / "DejaVuSans.ttf"),))
