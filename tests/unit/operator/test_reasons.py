"""Every reason has a meaning and a remedy in the documentation, and the documentation has no other."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

import switchboard_operator
from docs_pages import in_code, section, table_rows
from switchboard_operator import reasons

PAGE = "conditions.md"
SOURCES = [
    path for path in Path(switchboard_operator.__path__[0]).rglob("*.py") if path.name not in {"reasons.py", "crd.py"}
]


def members(literal: Any) -> set[str]:
    """Words of a Literal, or of a union of them."""
    found: set[str] = set()
    for each in get_args(literal):
        found |= {each} if isinstance(each, str) else members(each)
    return found


def documented(heading: str, column: int) -> set[str]:
    """Reasons in a table."""
    return {word for row in table_rows(section(PAGE, heading)) for word in in_code(row[column])}


@pytest.mark.parametrize(
    ("heading", "literal"),
    [
        ("DatabaseMigrated", reasons.MigratedReason),
        ("Available", reasons.AvailableReason),
        ("Progressing", reasons.ProgressingReason),
        ("Degraded", reasons.DegradedReason),
    ],
)
def test_the_reasons_of_a_condition_are_documented(heading: str, literal: Any) -> None:
    assert documented(heading, 1) == members(literal)


def test_the_reasons_of_events_are_documented() -> None:
    assert documented("Events", 0) == members(reasons.EventReason)


def test_every_row_says_what_to_do() -> None:
    for heading in ("Ready", "DatabaseMigrated", "Available", "Progressing", "Degraded", "Events"):
        assert all(all(row) for row in table_rows(section(PAGE, heading))), heading


@pytest.mark.parametrize("reason", sorted(members(reasons.ConditionReason) | members(reasons.EventReason)))
def test_no_reason_is_left_over(reason: str) -> None:
    assert any(re.search(rf'"{reason}"', path.read_text("utf-8")) for path in SOURCES)
