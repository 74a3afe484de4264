"""A slice of ``make fuzz``: made-up requests from a fixed seed, as three roles of two businesses."""

from collections.abc import Iterator

import pytest

from security.fuzz.__main__ import Verdict, fuzzing
from security.fuzz.sender import leaked
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


def test_chains_use_what_came_back_and_strangers_try_it_too(verdict: Verdict) -> None:
    chained = verdict.sender.chained
    assert chained.linked > chained.steps / 3, chained  # two thirds, more or less: the whole fuzz wants one half
    assert 0 < chained.strangers < chained.linked, chained
    assert chained.followed.total() > 0, chained


def test_rows_without_a_mark_are_known_by_numbers_and_addresses(verdict: Verdict) -> None:
    marked, (other, _) = verdict.sender.bystander, verdict.sender.actors
    client = marked.tenant.viewer
    shown = {
        marked.lead_phone: client.get(f"/api/outbound_calls/runs/{marked.ids['run_id']}/calls"),
        marked.caller_id: client.get("/api/business"),
        marked.lead_email: client.get("/api/leads"),
    }
    for private, answer in shown.items():
        assert leaked(answer.text, "", [other]) == []
        assert private.lstrip("+") in leaked(answer.text, "", [marked]), answer.text
        assert private.lstrip("+") not in leaked(answer.text, f"?q={private}", [marked])
    assert marked.mark not in shown[marked.lead_phone].text
