"""Columns and cells of a lead CSV."""

import json

import pytest

from switchboard_core.leads.csv_reader import CsvFileError, CsvRow
from switchboard_core.leads.csv_rows import LeadRow, RowParser


def parsed(header: str, row: str, *, region: str | None = "US") -> LeadRow:
    parser = RowParser(header.split(","), region=region, default_timezone="UTC")
    return parser.parse(CsvRow(2, row.split(",")))


def error_of(header: str, row: str) -> tuple[str | None, str]:
    (error,) = parsed(header, row).errors
    return error


@pytest.mark.parametrize("name", ["phone", "Phone Number", "MOBILE", "tel", " phone-number ", "\tcell"])
def test_a_column_may_go_by_its_usual_names(name: str) -> None:
    assert parsed(f"{name},name", "+14155550123,Ada").phone == "+14155550123"


def test_every_column_is_understood() -> None:
    row = parsed(
        "phone,name,email,timezone,tags,do_not_call,attr_plan,attr_Seats",
        "(415) 555-0123, Ada Moreno ,ada@example.com,america/los_angeles,spring|vip;spring,yes,pro,",
    )
    assert row.errors == []
    assert (row.phone, row.name, row.email) == ("+14155550123", "Ada Moreno", "ada@example.com")
    assert row.timezone == "America/Los_Angeles"
    assert json.loads(row.tags or "") == ["spring", "vip"]
    assert row.do_not_call is True
    assert json.loads(row.attributes or "") == {"plan": "pro"}


def test_empty_cells_say_nothing() -> None:
    row = parsed("phone,name,email,timezone,tags,do_not_call,attr_plan", "+442079460123,,,,,,")
    assert (row.name, row.email, row.timezone, row.tags, row.attributes) == (None, None, None, None, None)
    assert row.do_not_call is False
    assert row.zone_of_number == "Europe/London"


@pytest.mark.parametrize(
    ("header", "row", "column", "says"),
    [
        ("phone,name", ",Ada", "phone", "is missing"),
        ("phone,name", "555-CALL,Ada", "phone", "has letters"),
        ("phone,name", "4.15555E+10,Ada", "phone", "rounded by a spreadsheet"),
        ("phone,name", "12,Ada", "phone", "too few digits"),
        ("phone,name", "+1 415 555 0123 99,Ada", "phone", "too many digits"),
        ("phone,name", "+1 415 055 0123,Ada", "phone", "numbering plan of +1"),
        ("phone,name", "+999 555 0123,Ada", "phone", "country code"),
        ("phone,name", f"+14155550123,{'A' * 201}", "name", "longer than 200"),
        ("phone,email", "+14155550123,ada@example", "email", "not an e-mail address"),
        ("phone,email", "+14155550123,ada@example.org\u202c", "email", "not an e-mail address"),
        ("phone,timezone", "+14155550123,Mars/Olympus", "timezone", "is no time zone"),
        ("phone,timezone", "+14155550123,Factory", "timezone", "is no time zone"),
        ("phone,tags", f"+14155550123,{'t' * 65}", "tags", "longer than 64"),
        ("phone,do_not_call", "+14155550123,maybe", "do_not_call", "neither yes nor no"),
        ("phone,attr_note", f"+14155550123,{'n' * 1001}", "attr_note", "longer than 1000"),
        ("phone,name", "+14155550123,Caf\udce9", "name", "not valid UTF-8"),
        ("phone,name", "+14155550123,Moreno,Ada", None, "3 cells, but there are 2 columns"),
    ],
)
def test_a_wrong_cell_is_reported_with_its_column(header: str, row: str, column: str | None, says: str) -> None:
    found = error_of(header, row)
    assert found[0] == column
    assert says in found[1]


def test_all_wrong_cells_of_a_row_are_reported() -> None:
    row = parsed("phone,email,timezone", "no,no,no")
    assert [column for column, _ in row.errors] == ["phone", "email", "timezone"]


def test_do_not_call_is_kept_even_if_the_row_is_rejected() -> None:
    row = parsed("phone,email,do_not_call", "+14155550123,nonsense,yes")
    assert row.errors
    assert (row.phone, row.do_not_call) == ("+14155550123", True)


def test_missing_cells_at_the_end_are_empty() -> None:
    assert parsed("phone,name,tags", "+14155550123").errors == []


def test_empty_columns_at_the_end_of_a_header_are_left_out() -> None:
    assert parsed("phone,name,,", "+14155550123,Ada,,").errors == []


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("phone,first name", "'first name' is unknown"),
        ("phone,first name", "attr_first_name"),
        ("phone,first name", "phone, name, email, timezone, tags, do_not_call"),
        ("phone,a,b", "'a', 'b' are unknown"),
        ("name,email", "phone is missing"),
        ("phone,mobile", "More than one column means phone"),
        ("phone,,name", "Column 2 has no name"),
        ("phone,attr_", "unknown"),
    ],
)
def test_a_wrong_header_is_refused_with_the_way_out(header: str, says: str) -> None:
    with pytest.raises(CsvFileError) as refusal:
        parsed(header, "")
    assert says in str(refusal.value)
    assert str(refusal.value).endswith("Nothing was imported.")
