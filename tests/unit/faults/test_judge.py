"""What the fault run measures: spreads, and the time in which nobody could have freed a slot."""

from types import SimpleNamespace
from typing import cast

import pytest

from faults.judge import Spread, _read, joined, overlap
from faults.scene import Scene


def test_a_spread_names_the_middle_and_the_ends() -> None:
    spread = Spread.of(float(second) for second in range(100))
    assert spread == Spread(number=100, p50=50.0, p95=95.0, p99=99.0, max=99.0)
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0, 0.0)


def test_outages_that_overlap_count_once() -> None:
    assert joined([(5, 7), (1, 3), (2, 4), (7, 8)]) == [(1, 4), (5, 8)]


@pytest.mark.parametrize(("began", "over", "away"), [(0, 10, 6), (2, 6, 3), (4, 5, 0), (3.5, 5.5, 1)], ids="{0}".format)
def test_only_what_lies_within_counts(began: float, over: float, away: float) -> None:
    assert overlap([(1, 4), (5, 8)], began, over) == away


@pytest.mark.parametrize("off_s", [-4.5, 0.0, 5.0])
def test_the_carriers_times_are_read_on_the_clock_of_the_database(off_s: float) -> None:
    row = {"id": "an attempt", "admitted_at": 90.0, "settled_at": 101.0, "state": "completed"}
    call = {"attempt": "an attempt", "ended_at": 100.0 + off_s}
    stack = SimpleNamespace(rows=lambda _query: [row], sim=lambda _method, _path: [call])

    seen = _read(cast("Scene", SimpleNamespace(stack=stack, carrier_off_s=off_s)))

    assert seen.ended_at == {"an attempt": 100.0}
