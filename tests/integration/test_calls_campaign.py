"""Whole runs, worked off in process."""

from collections.abc import Iterator

import pytest

from integration.calls_support import CallsBench, calls_bench, numbers
from switchboard_cli.devstack import DatabaseUrls


@pytest.fixture
def bench(database_urls: DatabaseUrls, redis_url: str) -> Iterator[CallsBench]:
    with calls_bench(database_urls, redis_url) as bench:
        yield bench


def test_a_campaign_calls_every_lead_once(bench: CallsBench) -> None:
    run = bench.start(*numbers(20))
    (view,) = bench.work_to_the_end(run)
    assert view.counts.completed == 20
    bench.check(at_rest=True)
