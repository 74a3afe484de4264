"""CSV that no spreadsheet executes."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_api.csvs import csv_lines, neutral


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])  # noqa: RUF001
def test_what_begins_like_a_formula_gets_an_apostrophe(formula: str) -> None:
    assert neutral(formula) == f"'{formula}"


@pytest.mark.parametrize(("cell", "text"), [("a=b", "a=b"), (3, "3"), (None, ""), ("", "")])
def test_everything_else_stays_as_it_is(cell: object, text: str) -> None:
    assert neutral(cell) == text


@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=2, max_size=2)))
def test_every_cell_is_read_back_as_it_was_neutralised(rows: list[list[str]]) -> None:
    text = "".join(csv_lines(("a", "b"), rows))
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [["a", "b"], *[[neutral(cell) for cell in row] for row in rows]]
