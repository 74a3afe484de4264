"""CSV for people who open it in a spreadsheet."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol, TypeVar

from fastapi.responses import StreamingResponse

# A cell that begins so is a formula to spreadsheets, and a formula can send data away.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full width, on purpose

PAGE = 500
"""Items that are read at once."""


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


Item = TypeVar("Item", bound=_Numbered)


def every_item(read: Callable[[int | None, int], Sequence[Item]]) -> Iterator[Item]:
    """Every item of a list, from one short transaction after the other: a slow reader holds none open.

    Args:
        read: reads what comes behind the item with an id, None for the beginning; so many at most.
    """
    last_id: int | None = None
    while True:
        page = read(last_id, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        last_id = page[-1].id


def neutral(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe goes before what would begin one."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a CSV (RFC 4180), every cell neutral."""
    for row in chain([header], rows):
        line = io.StringIO()
        csv.writer(line).writerow([neutral(cell) for cell in row])
        yield line.getvalue()


def csv_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingResponse:
    """A CSV to download.

    Args:
        filename: ASCII, without quotes.
        header: names of the columns.
        rows: read while the answer is sent; a sequence, or an iterator that needs no open transaction.
    """
    return StreamingResponse(
        csv_lines(header, rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
