"""The CSV reader: whatever a spreadsheet writes is read as it was meant, and what cannot be read is said clearly."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_core.leads.csv_reader import (
    CsvFileError,
    CsvLimits,
    CsvReader,
    CsvRow,
    CsvTooLargeError,
    is_text,
)

LIMITS = CsvLimits()


def read(content: bytes, *, chunk: int = 7, limits: CsvLimits = LIMITS) -> tuple[list[str], list[CsvRow]]:
    reader = CsvReader(pieces(content, chunk), limits)
    return reader.header, list(reader)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


# No NUL and no lone surrogate, which no UTF-8 file has; line ends inside cells are read as \n.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
tables = st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=8))


@given(
    rows=tables,
    delimiter=st.sampled_from([",", ";", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_what_was_written_is_read_again(
    rows: list[list[str]], delimiter: str, line_end: str, bom: bool, chunk: int
) -> None:
    header = [f"column{index}" for index in range(len(rows[0]) if rows else 1)]
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    content = written.getvalue().encode("utf-8-sig" if bom else "utf-8")
    found, records = read(content, chunk=chunk)
    assert found == header
    assert [record.cells for record in records] == rows


@given(content=st.binary(max_size=300), chunk=st.integers(1, 50))
def test_any_bytes_are_read_or_refused_with_a_sentence(content: bytes, chunk: int) -> None:
    try:
        header, records = read(content, chunk=chunk)
    except CsvFileError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either outcome is right
    else:
        assert header
        assert [record.line for record in records] == sorted(record.line for record in records)


@given(content=st.text(st.sampled_from('ab,;"\n\r é'), max_size=60), chunk=st.integers(1, 9))
def test_pieces_make_no_difference(content: str, chunk: int) -> None:
    def outcome(size: int) -> object:
        try:
            return read(content.encode(), chunk=size)
        except CsvFileError as error:
            return str(error)

    assert outcome(chunk) == outcome(1000)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_understood(line_end: str) -> None:
    content = line_end.join(["phone,name", "1,a", "2,b"]).encode()
    assert [row.cells for row in read(content)[1]] == [["1", "a"], ["2", "b"]]


def test_a_row_knows_the_line_on_which_it_begins() -> None:
    content = b'phone,name\n1,"two\nlines"\n\n2,b\n'
    assert [(row.line, row.cells) for row in read(content)[1]] == [(2, ["1", "two\nlines"]), (5, ["2", "b"])]


def test_a_delimiter_inside_quotes_does_not_decide() -> None:
    header, rows = read(b'"name, given; or so";phone\nAda;1\n')
    assert (header, rows[0].cells) == (["name, given; or so", "phone"], ["Ada", "1"])


def test_bytes_that_are_no_utf8_mark_their_cell_alone() -> None:
    _, rows = read("phone,name\n1,Müller\n2,".encode() + b"M\xfcller\n3,ok\n")
    assert [[is_text(cell) for cell in row.cells] for row in rows] == [[True, True], [True, False], [True, True]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line is empty"),
        (b"\n\nphone\n", "first line is empty"),
        (b"phone,name\n1,a\0\n", "NUL"),
        ("phone,name\n1,a\n".encode("utf-16"), "UTF-16"),
        (b'phone,name\n1,"a\n2,b\n3,c\n', "begins on line 2 is never closed"),
        (b'phone,name\n1,"a"b\n', "after a closing quotation mark (line 2)"),
        (b'phone,name\n1,"a\nb"c\n', "after a closing quotation mark (lines 2 to 3)"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(content: bytes, says: str) -> None:
    with pytest.raises(CsvFileError) as refusal:
        read(content)
    assert says in str(refusal.value)


def test_an_empty_header_is_refused_in_words_that_fit_any_file() -> None:
    with pytest.raises(CsvFileError, match="The first line is empty: it has to name the columns") as refusal:
        read(b"\nC-1,Acme\n")
    assert "phone" not in str(refusal.value), "transactions have none"


def test_a_quote_that_is_never_closed_is_noticed_long_before_the_end() -> None:
    handed_out = 0

    def endless() -> Iterator[bytes]:
        nonlocal handed_out
        yield b'phone,name\n1,"a\n'
        while True:
            handed_out += 1
            yield b"2,b\n" * 100

    with pytest.raises(CsvFileError, match="begins on line 2 is never closed"):
        list(CsvReader(endless(), CsvLimits(max_record_chars=5000)))
    assert handed_out < 20


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(CsvFileError, match="Line 2 is longer than 100 characters"):
        read(b"phone\n" + b"1" * 500, limits=CsvLimits(max_record_chars=100))


def test_a_file_beyond_the_limit_is_refused_while_it_streams() -> None:
    def endless() -> Iterator[bytes]:
        yield b"phone\n"
        while True:
            yield b"1\n" * 50

    with pytest.raises(CsvTooLargeError, match="larger than 1000 bytes"):
        list(CsvReader(endless(), CsvLimits(max_bytes=1000)))
