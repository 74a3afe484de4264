"""A slice of ``make fuzz``: made-up requests from a fixed seed, as three roles of two businesses."""

from collections.abc import Iterator

import pytest

from security.fuzz.__main__ import Verdict, fuzzing
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

SEED = 20261122
REQUESTS = 300

# Making requests up is slow on a busy machine, and nothing here waits for anything else.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def verdict(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[Verdict]:
    with fuzzing(postgres, migrated_template, valkey, SEED, breaks=False) as (fuzz, verdict):
        fuzz.run(REQUESTS)
        yield verdict


def test_no_request_finds_a_defect_or_anything_of_another_business(verdict: Verdict) -> None:
    assert [str(defect) for defect in verdict.sender.defects.values()] == []


def test_no_row_of_a_business_that_sends_nothing_changes(verdict: Verdict) -> None:
    assert verdict.changed_tables() == []


def test_every_operation_is_tried_and_many_succeed(verdict: Verdict) -> None:
    assert verdict.sender.requests >= REQUESTS
    assert verdict.untouched() == []
    assert verdict.sender.foreign_ids > 0
    assert sum(count > 0 for count in verdict.sender.successes.values()) > len(verdict.sender.successes) / 3
