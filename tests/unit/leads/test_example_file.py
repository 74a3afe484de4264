"""The example CSV that the demo imports: big enough, from all over the world, and with the flaws of a real one."""

from collections import Counter
from pathlib import Path

import pytest

from switchboard_core.leads.csv_reader import CsvLimits, CsvReader
from switchboard_core.leads.csv_rows import LeadRow, RowParser

EXAMPLE = Path(__file__).parents[3] / "examples" / "leads.csv"


@pytest.fixture(scope="module")
def rows() -> list[LeadRow]:
    reader = CsvReader([EXAMPLE.read_bytes()], CsvLimits())
    parser = RowParser(reader.header, region=None, default_timezone="UTC")
    return [parser.parse(row) for row in reader]


@pytest.fixture(scope="module")
def good(rows: list[LeadRow]) -> list[LeadRow]:
    return [row for row in rows if not row.errors]


def test_it_has_more_than_enough_leads_to_call(good: list[LeadRow]) -> None:
    callable_leads = {row.phone for row in good} - {row.phone for row in good if row.do_not_call}
    assert len(callable_leads) >= 120


def test_it_spans_the_world(good: list[LeadRow]) -> None:
    zones = Counter(row.timezone or row.zone_of_number for row in good)
    assert "UTC" not in zones
    assert len(zones) >= 15
    assert {(zone or "").partition("/")[0] for zone in zones} == {"America", "Asia", "Australia", "Europe", "Pacific"}


def test_it_has_bad_rows_of_several_kinds(rows: list[LeadRow]) -> None:
    assert {row.errors[0][0] for row in rows if row.errors} == {"phone", "email", "timezone"}


def test_it_has_duplicates_in_other_spellings(good: list[LeadRow]) -> None:
    assert sum(times - 1 for times in Counter(row.phone for row in good).values()) == 4


def test_it_has_people_who_must_not_be_called(good: list[LeadRow]) -> None:
    assert sum(row.do_not_call for row in good) == 6


def test_its_north_american_and_british_numbers_belong_to_fiction(good: list[LeadRow]) -> None:
    american = [row.phone for row in good if row.phone and row.phone.startswith("+1")]
    assert all(phone[5:10] == "55501" for phone in american)
    british = [row.phone for row in good if row.phone and row.phone.startswith("+44")]
    assert all("4960" in phone or "7946" in phone for phone in british)
