"""Whole runs, worked off in process, while the carrier does everything that it can do wrong."""

from collections.abc import Iterator

import pytest

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

CAP = 3
LEADS = 42


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(
        postgres,
        migrated_template,
        valkey,
        business={"call_cap": CAP},
        simulator={"ring_seconds": 0.05, "talk_seconds": 0.2},
        carrier_read_timeout_seconds=0.5,
        settle_after_seconds=0.3,
        unknown_outcome_after_seconds=2.0,
    ) as bench:
        yield bench


def test_through_every_fault_each_attempt_is_one_call_at_most_and_every_counter_is_right(bench: CallsBench) -> None:
    bench.faults(
        seed=11,
        callback_lose=0.15,
        callback_duplicate=0.2,
        callback_delay=0.2,
        callback_delay_seconds=0.3,
        callback_reorder=0.2,
        callback_hold_seconds=0.2,
        create_lose_answer=0.05,
        create_hang=0.03,
        create_429=0.08,
        create_5xx_before=0.04,
        create_5xx_after=0.04,
        query_5xx=0.05,
    )
    leads = numbers(LEADS)
    for lead, outcome in zip(leads, ("answer", "busy", "no_answer") * (LEADS // 3), strict=True):
        bench.script(lead, outcome)
    bench.add_leads(*leads)
    ids = [row["id"] for row in bench.rows("SELECT id FROM leads ORDER BY id")]
    retries = {"busy": 0.1, "no_answer": 0.1}
    runs = [bench.start(leads={"ids": half}, retry_after_s=retries, max_attempts=2) for half in (ids[::2], ids[1::2])]
    views = bench.work_to_the_end(*runs, timeout=90)
    bench.await_carrier()
    bench.check(at_rest=True)
    assert sum(view.counts.total for view in views) == LEADS
    report = bench.report()
    assert 1 < report["concurrent_max"]["business"][str(bench.business_id)] <= CAP
    assert report["concurrent_max"]["number"] == 1
    assert min(report["creates"].values()) >= 0 < report["creates"]["answer_lost"] + report["creates"]["hung"]
    assert report["callbacks"]["lost"] > 0 < report["callbacks"]["duplicated"]
