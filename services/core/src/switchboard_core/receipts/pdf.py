"""A receipt's HTML as PDF."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from fpdf import FPDF, HTML2FPDF
from fpdf.errors import FPDFException
from fpdf.fonts import TextStyle, TTFFont

from switchboard_core.receipts.template import BrokenTemplateError

FONTS = Path(__file__).parent / "fonts"
_FAMILY = "DejaVuSans"
_SIZE_PT = 11
_MARGIN_MM = 20

# What may reach the PDF library. Images are not among it: it would fetch them from wherever their address points.
_TAGS = frozenset(
    {
        *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "b", "strong", "i", "em", "u", "s", "del", "a", "font"),
        *("center", "blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tfoot", "tr", "th", "td"),
    }
)
# Some of the PDF library's work grows with numbers that stand in the HTML: with these at most, a page is soon made.
_LARGEST = {
    "colspan": 100,
    "rowspan": 1000,
    "start": 10_000,
    "size": 200,
    "line-height": 10,
    "width": 2000,
    "cellpadding": 100,
    "cellspacing": 100,
}
_MOST_CELLS = 10_000
"""Columns by rows of all tables of a receipt."""
_BLOCKS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "hr", "center", "blockquote", "ul", "ol", "li"})
_MOST_BLOCKS = 1000
"""The library lays each of them out together with all before it, so the time grows with their square."""
_SLANTED = re.compile(r"<(i|em|blockquote)\b", re.IGNORECASE)
_SILENT = frozenset({"style", "script", "head", "title"})

# It warns about each character that no font has, which is the reader's to see and nobody's to be told.
logging.getLogger("fpdf").setLevel(logging.ERROR)
logging.getLogger("fontTools").setLevel(logging.ERROR)


def make_pdf(html: str, *, title: str, fonts: Sequence[str] = ()) -> bytes:
    """A PDF of A4 pages that shows what the HTML says.

    Headings, paragraphs, emphasis, lists, links, rules and tables come out; CSS, images and scripts do not.

    Args:
        html: of the receipt.
        title: of the document.
        fonts: further font files, for scripts that the built-in font lacks.

    Raises:
        BrokenTemplateError: the HTML cannot be laid out, such as a table without rows.
    """
    page = _Page(unit="mm", format="A4")
    page.set_margin(_MARGIN_MM)
    page.set_title(title)
    _use_fonts(page, fonts, slanted=_SLANTED.search(html) is not None)
    page.add_page()
    headings = {
        f"h{level}": TextStyle(font_style="B", font_size_pt=size, t_margin=2, b_margin=0.4)
        for level, size in enumerate((18, 15, 13, 12, 11, 11), start=1)
    }
    try:
        page.write_html(html, font_family=_FAMILY, tag_styles=headings, warn_on_tags_not_matching=False)
        return bytes(page.output())
    except (
        FPDFException,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        NotImplementedError,
    ) as e:
        reason = str(e).strip().splitlines()[0][:200] if str(e).strip() else type(e).__name__
        raise BrokenTemplateError("body", None, f"No PDF can be made of it: {reason.rstrip('.')}.") from None
    finally:
        for font in page.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()


def _use_fonts(page: FPDF, fonts: Sequence[str], *, slanted: bool) -> None:
    # There is no slanted face, so the upright one stands in; reading a font takes a while, so only where it is needed.
    upright = (("", "DejaVuSans"), ("B", "DejaVuSans-Bold"))
    for style, file in (*upright, *((f"{style}I", file) for style, file in upright if slanted)):
        page.add_font(_FAMILY, style, FONTS / f"{file}.ttf")
    for number, file in enumerate(fonts):
        page.add_font(f"Further{number}", "", file)
    page.set_font(_FAMILY, size=_SIZE_PT)
    page.set_fallback_fonts([f"Further{number}" for number in range(len(fonts))], exact_match=False)
    page.set_text_shaping(use_shaping_engine=True)


class _Reader(HTML2FPDF):
    """The library's reader of HTML, which sees harmless tags only."""

    _silent = 0
    _cells = 0
    _blocks = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _TAGS:
            kept = [(name, value) for name, value in attrs if name != "style"]
            self._require_modest(tag, kept)
            super().handle_starttag(tag, kept)

    def _require_modest(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        numbers = {name: number for name, value in attrs if (number := _number(name, value)) is not None}
        for name, number in numbers.items():
            if not 0 <= number <= _LARGEST[name]:
                msg = f"{name} of <{tag}> must be a number from 0 to {_LARGEST[name]}"
                raise ValueError(msg)
        self._blocks += tag in _BLOCKS
        if self._blocks > _MOST_BLOCKS:
            msg = f"it has more than {_MOST_BLOCKS:,} headings, paragraphs, rules and items of lists"
            raise ValueError(msg)
        if tag in {"td", "th"}:
            self._cells += int(max(1, numbers.get("colspan", 1)) * max(1, numbers.get("rowspan", 1)))
            if self._cells > _MOST_CELLS:
                msg = f"its tables have more than {_MOST_CELLS:,} cells, columns by rows"
                raise ValueError(msg)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        if tag in _TAGS:
            super().handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if not self._silent:
            super().handle_data(data)


def _number(name: str, value: str | None) -> float | None:
    """What the library will read a number from; None where it reads none."""
    if name not in _LARGEST or value is None:
        return None
    try:
        return float(value.removesuffix("%"))
    except ValueError:
        return None  # so says the library too: it ignores the attribute or refuses the page


class _Page(FPDF):
    HTML2FPDF_CLASS = _Reader
