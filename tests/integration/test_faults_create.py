"""A slice of the create run, which ``make faults ARGS=create`` does at full size."""

import os
from collections.abc import Iterator

import pytest

from faults.create import BUSINESS, CALLEES, SETTINGS, fated_creates
from faults.fates import KINDS
from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.logs import get_logger

log = get_logger(__name__)

SEED = int(os.environ.get("SWITCHBOARD_TEST_SEED", "3"))
CREATES = 100
SHORTER = {"dial_deadline_seconds": 0.8, "settle_after_seconds": 0.5, "unknown_outcome_after_seconds": 2.0}


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    settings = {**SETTINGS, **SHORTER}
    with calls_bench(postgres, migrated_template, valkey, business=BUSINESS, simulator=CALLEES, **settings) as bench:
        yield bench


@pytest.mark.timeout(300)
def test_whatever_becomes_of_a_create_call_no_attempt_is_two_calls(bench: CallsBench) -> None:
    created = fated_creates(bench, SEED, log.info, creates=CREATES)

    assert created.number >= CREATES
    assert all(created.creates[kind][0] for kind in KINDS), "every fate was met"
    assert created.once_more > 0
    assert created.unknown > 0
    assert created.calls > 0
