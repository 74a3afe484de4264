"""What the fault run measures: spreads, and the time in which nobody could have freed a slot."""

import pytest

from faults.judge import Spread, joined, overlap


def test_a_spread_names_the_middle_and_the_ends() -> None:
    spread = Spread.of(float(second) for second in range(100))
    assert spread == Spread(number=100, p50=50.0, p95=95.0, p99=99.0, max=99.0)
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0, 0.0)


def test_outages_that_overlap_count_once() -> None:
    assert joined([(5, 7), (1, 3), (2, 4), (7, 8)]) == [(1, 4), (5, 8)]


@pytest.mark.parametrize(("began", "over", "away"), [(0, 10, 6), (2, 6, 3), (4, 5, 0), (3.5, 5.5, 1)], ids="{0}".format)
def test_only_what_lies_within_counts(began: float, over: float, away: float) -> None:
    assert overlap([(1, 4), (5, 8)], began, over) == away
