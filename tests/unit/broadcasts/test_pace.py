"""The token bucket of broadcasts, on injected time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_core.broadcasts.pace import BURST_S, Bucket

NOON = datetime(2026, 1, 26, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_an_empty_bucket_says_when_its_next_token_comes() -> None:
    assert Bucket(0.0, NOON).wait_s(30) == 2.0
    assert Bucket(0.0, NOON).refilled(at(1), 30).wait_s(30) == 1.0
    assert Bucket(0.0, NOON).refilled(at(2), 30).wait_s(30) == 0.0


def test_time_in_which_nothing_was_sent_is_saved_for_a_few_seconds_only() -> None:
    assert Bucket(0.0, NOON).refilled(at(3600), 600).tokens == 600 / 60 * BURST_S
    assert Bucket(0.0, NOON).refilled(at(36_000), 1).tokens == 1.0


def test_a_clock_that_went_back_takes_nothing_away() -> None:
    assert Bucket(0.5, NOON).refilled(at(-60), 600) == Bucket(0.5, NOON)


@pytest.mark.parametrize("per_minute", [0.5, 7, 60, 1000])
def test_who_looks_again_when_told_is_never_sent_away(per_minute: float) -> None:
    bucket = Bucket(0.0, NOON)
    for _ in range(50):
        bucket = bucket.refilled(bucket.at + timedelta(seconds=bucket.wait_s(per_minute) + 1e-6), per_minute)
        assert bucket.wait_s(per_minute) == 0.0
        bucket = bucket.taken()


@given(
    per_minute=st.floats(min_value=0.1, max_value=6000),
    gaps=st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=60),
)
def test_no_pattern_of_looking_gets_more_than_the_rate_and_one_burst(per_minute: float, gaps: list[float]) -> None:
    bucket, now, sent = Bucket(1.0, NOON), 0.0, 0
    for gap in gaps:
        now += gap
        bucket = bucket.refilled(at(now), per_minute)
        while bucket.wait_s(per_minute) == 0.0 and sent < 10_000:
            bucket, sent = bucket.taken(), sent + 1
    burst = max(1.0, per_minute / 60 * BURST_S)
    assert sent <= now * per_minute / 60 + burst + 1e-3
