"""The rules of calling: retries, calling hours through changes of the clock, rate, breaker."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_core.calls.policy import (
    BREAKER_MAX_OPEN_S,
    BREAKER_OPEN_S,
    BREAKER_THRESHOLD,
    DEFAULT_RETRY_AFTER_S,
    Breaker,
    Bucket,
    Final,
    RetryAt,
    after_attempt,
    next_opening,
    outcome_of,
    setback_delay_s,
)
from switchboard_core.calls.schemas import CallingHours
from switchboard_core.calls.states import AttemptState, CallStatus

NOW = datetime(2026, 1, 26, 12, 0, tzinfo=UTC)
EVERY_DAY = 127
ALL_WAITS = {"busy": 1.0, "no_answer": 2.0, "machine": 3.0, "failed": 4.0}
seeded = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def decide(state: AttemptState, answered_by: str | None = None, **changes: object) -> Final | RetryAt:
    values: dict[str, object] = {
        "attempts": 1,
        "max_attempts": 3,
        "retry_after_s": ALL_WAITS,
        "retry_allowed": True,
        "now": NOW,
        **changes,
    }
    return after_attempt(state, answered_by, **values)  # type: ignore[arg-type]


class TestRetries:
    @pytest.mark.parametrize(
        ("state", "answered_by", "wait_s"),
        [
            (AttemptState.BUSY, None, 1.0),
            (AttemptState.NO_ANSWER, None, 2.0),
            (AttemptState.COMPLETED, "machine_start", 3.0),
            (AttemptState.COMPLETED, "machine_end_beep", 3.0),
            (AttemptState.COMPLETED, "fax", 3.0),
            (AttemptState.FAILED, None, 4.0),
        ],
    )
    def test_each_outcome_waits_as_long_as_its_own_rule_says(
        self, state: AttemptState, answered_by: str | None, wait_s: float
    ) -> None:
        assert decide(state, answered_by) == RetryAt(NOW + timedelta(seconds=wait_s))

    @pytest.mark.parametrize(
        ("state", "answered_by", "status"),
        [
            (AttemptState.COMPLETED, None, CallStatus.COMPLETED),
            (AttemptState.COMPLETED, "human", CallStatus.COMPLETED),
            (AttemptState.COMPLETED, "unknown", CallStatus.COMPLETED),
            (AttemptState.CANCELED, None, CallStatus.CANCELED),
        ],
    )
    def test_a_conversation_and_a_cancel_are_final(
        self, state: AttemptState, answered_by: str | None, status: CallStatus
    ) -> None:
        assert decide(state, answered_by) == Final(status)

    @pytest.mark.parametrize("state", [AttemptState.BUSY, AttemptState.NO_ANSWER, AttemptState.FAILED])
    def test_an_outcome_without_a_rule_is_final(self, state: AttemptState) -> None:
        assert decide(state, retry_after_s={}) == Final(CallStatus(state.value))

    def test_the_last_allowed_attempt_is_final(self) -> None:
        assert isinstance(decide(AttemptState.BUSY, attempts=2), RetryAt)
        assert decide(AttemptState.BUSY, attempts=3) == Final(CallStatus.BUSY)
        assert decide(AttemptState.BUSY, attempts=1, max_attempts=1) == Final(CallStatus.BUSY)

    def test_nothing_is_retried_in_a_run_that_is_over(self) -> None:
        assert decide(AttemptState.BUSY, retry_allowed=False) == Final(CallStatus.BUSY)

    def test_a_wait_of_zero_seconds_is_a_retry_and_not_none(self) -> None:
        assert decide(AttemptState.BUSY, retry_after_s={"busy": 0}) == RetryAt(NOW)

    def test_by_default_only_busy_and_no_answer_are_retried(self) -> None:
        assert set(DEFAULT_RETRY_AFTER_S) == {"busy", "no_answer"}

    def test_a_machine_is_an_outcome_only_of_a_call_that_was_answered(self) -> None:
        assert outcome_of(AttemptState.NO_ANSWER, "machine_start") == "no_answer"


class TestSetbacks:
    def test_delays_double_from_one_second_to_five_minutes(self) -> None:
        longest = [setback_delay_s(number, 1.0) for number in range(1, 12)]
        assert longest == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]

    @given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
    @seeded
    def test_jitter_takes_away_half_at_most(self, setbacks: int, jitter: float) -> None:
        full = setback_delay_s(setbacks, 1.0)
        assert full / 2 <= setback_delay_s(setbacks, jitter) <= full <= 300


def opening(local: str, zone: str, opens: str, closes: str, days: int = EVERY_DAY) -> datetime | None:
    """``next_opening`` at a local time; a time that happens twice is the second one with ``~`` before it."""
    fold, text = (1, local[1:]) if local.startswith("~") else (0, local)
    now = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    found = next_opening(now.astimezone(UTC), zone, time.fromisoformat(opens), time.fromisoformat(closes), days)
    return found and found.astimezone(ZoneInfo(zone))


def at(local: str, zone: str) -> datetime:
    return datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))


NY, BERLIN, SANTIAGO = "America/New_York", "Europe/Berlin", "America/Santiago"
MONDAY, FRIDAY, SATURDAY = 1, 1 << 4, 1 << 5
WEEKDAYS = 0b0011111


class TestCallingHours:
    def test_opening_is_inclusive_and_closing_exclusive(self) -> None:
        assert opening("2026-01-26T09:00:00", NY, "09:00", "20:00") is None
        assert opening("2026-01-26T19:59:59.999999", NY, "09:00", "20:00") is None
        assert opening("2026-01-26T20:00:00", NY, "09:00", "20:00") == at("2026-01-27T09:00", NY)
        assert opening("2026-01-26T08:59:59.999999", NY, "09:00", "20:00") == at("2026-01-26T09:00", NY)

    def test_the_leads_own_clock_decides(self) -> None:
        """11:00 in Berlin is 05:00 in New York."""
        assert opening("2026-01-26T11:00", BERLIN, "09:00", "20:00") is None
        now = at("2026-01-26T11:00", BERLIN)
        assert next_opening(now, NY, time(9), time(20), EVERY_DAY) == at("2026-01-26T09:00", NY)

    def test_the_same_time_twice_means_the_whole_day(self) -> None:
        assert opening("2026-01-26T00:00", NY, "00:00", "00:00") is None
        assert opening("2026-01-26T23:59:59", NY, "09:00", "09:00") is None

    def test_hours_may_go_past_midnight(self) -> None:
        assert opening("2026-01-26T23:30", NY, "22:00", "02:00") is None
        assert opening("2026-01-27T01:59", NY, "22:00", "02:00") is None
        assert opening("2026-01-27T02:00", NY, "22:00", "02:00") == at("2026-01-27T22:00", NY)

    def test_days_are_those_on_which_the_hours_begin(self) -> None:
        """Friday's hours go on into Saturday morning; Saturday has none of its own."""
        assert opening("2026-01-31T01:00", NY, "22:00", "02:00", FRIDAY) is None
        assert opening("2026-01-31T23:00", NY, "22:00", "02:00", FRIDAY) == at("2026-02-06T22:00", NY)

    def test_a_weekend_is_waited_out(self) -> None:
        assert opening("2026-01-30T20:00", NY, "09:00", "20:00", WEEKDAYS) == at("2026-02-02T09:00", NY)

    def test_a_single_day_comes_again_after_a_week(self) -> None:
        assert opening("2026-01-26T20:00", NY, "09:00", "20:00", MONDAY) == at("2026-02-02T09:00", NY)

    def test_hours_on_the_day_of_a_change_of_the_clock_are_wall_clock_hours(self) -> None:
        for day in ("2026-03-08", "2026-11-01"):
            assert opening(f"{day}T08:59", NY, "09:00", "20:00") == at(f"{day}T09:00", NY)
            assert opening(f"{day}T19:59", NY, "09:00", "20:00") is None
            assert opening(f"{day}T20:00", NY, "09:00", "20:00") is not None

    def test_an_opening_in_the_hour_that_is_left_out_is_after_it(self) -> None:
        """On 8 March 2026 the clock in New York jumps from 02:00 to 03:00."""
        assert opening("2026-03-08T01:59", NY, "02:30", "12:00") == at("2026-03-08T03:30", NY)
        assert opening("2026-03-08T03:30", NY, "02:30", "12:00") is None

    def test_a_closing_in_the_hour_that_is_left_out_has_passed_after_it(self) -> None:
        """At 03:10 the wall says that 02:30 is over, though only 70 minutes have passed since 01:00."""
        assert opening("2026-03-08T01:59", NY, "01:00", "02:30") is None
        assert opening("2026-03-08T03:10", NY, "01:00", "02:30") == at("2026-03-09T01:00", NY)

    def test_the_hour_that_comes_twice_is_judged_by_the_wall_both_times(self) -> None:
        """On 1 November 2026 it is 01:30 twice in New York."""
        assert opening("2026-11-01T01:40", NY, "01:30", "05:00") is None
        assert opening("~2026-11-01T01:10", NY, "01:30", "05:00") is not None
        assert opening("~2026-11-01T01:40", NY, "01:30", "05:00") is None
        assert opening("~2026-11-01T01:10", NY, "20:00", "01:30") is None

    def test_the_second_opening_of_the_same_night_is_found(self) -> None:
        found = opening("~2026-11-01T01:10", NY, "01:30", "05:00")
        assert found == datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo(NY), fold=1)

    def test_a_midnight_that_does_not_exist_is_no_hole_in_the_whole_day(self) -> None:
        """In Santiago the clock jumps from 24:00 to 01:00."""
        for local in ("2026-09-05T23:59:59", "2026-09-06T01:00:00"):
            assert opening(local, SANTIAGO, "00:00", "00:00") is None

    @given(
        now=st.integers(0, 2 * 365 * 86_400).map(
            lambda second: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        ),
        zone=st.sampled_from([NY, BERLIN, SANTIAGO, "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
        opens=st.integers(0, 95),
        closes=st.integers(0, 95),
        days=st.integers(1, 127),
    )
    @seeded
    def test_a_call_is_allowed_exactly_when_the_wall_clock_is_within_the_hours(
        self, now: datetime, zone: str, opens: int, closes: int, days: int
    ) -> None:
        first, last = time(opens // 4, opens % 4 * 15), time(closes // 4, closes % 4 * 15)
        wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        found = next_opening(now, zone, first, last, days)
        assert (found is None) is _within(wall, first, last, days)
        if found is not None:
            assert now < found <= now + timedelta(days=8, hours=2)
            assert not _allowed_between(now, found, zone, (first, last, days))

    @pytest.mark.parametrize("zone", [NY, BERLIN, SANTIAGO, "Australia/Lord_Howe"])
    def test_waiting_for_each_next_opening_arrives_within_the_hours(self, zone: str) -> None:
        """Also through both changes of the clock of a year: a deferred job never waits for ever."""
        now = datetime(2026, 1, 1, tzinfo=UTC)
        while now.year == 2026:
            found = next_opening(now, zone, time(2, 30), time(3, 30), EVERY_DAY)
            now = found or now + timedelta(hours=1)
            assert found is None or found.astimezone(ZoneInfo(zone)).time() >= time(2, 30)

    def test_the_days_of_an_order_become_a_mask(self) -> None:
        assert CallingHours().mask == EVERY_DAY
        assert CallingHours(days=["fri", "mon", "fri"]).mask == MONDAY | FRIDAY


def _within(wall: datetime, opens: time, closes: time, days: int) -> bool:
    """The rule, said once more and in another way: by the days whose hours could cover this wall-clock time."""
    same_day = bool(days >> wall.weekday() & 1)
    day_before = bool(days >> (wall - timedelta(days=1)).weekday() & 1)
    if opens < closes:
        return same_day and opens <= wall.time() < closes
    return (same_day and wall.time() >= opens) or (day_before and wall.time() < closes)


def _allowed_between(now: datetime, until: datetime, zone: str, hours: tuple[time, time, int]) -> bool:
    """Whether the wall clock was within the hours at some quarter of an hour in between, clock changes left out."""
    local = ZoneInfo(zone)
    moment = now + timedelta(minutes=1)
    while moment < until:
        day = moment.astimezone(local).date()
        wall = moment.astimezone(local).replace(tzinfo=None)
        if _within(wall, *hours) and not _clock_changes(day, local):
            return True
        moment += timedelta(minutes=15)
    return False


def _clock_changes(day: date, zone: ZoneInfo) -> bool:
    around = [datetime.combine(day + timedelta(days=step), time(), tzinfo=zone).utcoffset() for step in (-1, 0, 1, 2)]
    return len(set(around)) > 1


class TestRate:
    def test_a_bucket_holds_one_second_of_calls_and_at_least_one(self) -> None:
        full = Bucket(0.0, NOW).refilled(NOW + timedelta(hours=1), 5.0)
        assert full.tokens == 5.0
        assert Bucket(0.0, NOW).refilled(NOW + timedelta(hours=1), 0.1).tokens == 1.0

    def test_an_empty_bucket_says_how_long_it_takes_to_the_next_token(self) -> None:
        assert Bucket(0.0, NOW).wait_s(0.5) == 2.0
        assert Bucket(0.5, NOW).wait_s(1.0) == 0.5
        assert Bucket(1.0, NOW).wait_s(1.0) == 0.0

    def test_a_clock_that_goes_back_takes_nothing_away(self) -> None:
        before = Bucket(2.0, NOW)
        assert before.refilled(NOW - timedelta(minutes=1), 5.0) == before

    @given(st.lists(st.floats(0, 3, allow_nan=False), max_size=60), st.floats(0.1, 50))
    @seeded
    def test_no_window_lets_more_through_than_rate_and_burst(self, gaps: list[float], rate: float) -> None:
        bucket, taken, started = Bucket(0.0, NOW), 0, NOW
        now = started
        for gap in gaps:
            now += timedelta(seconds=gap)
            bucket = bucket.refilled(now, rate)
            while bucket.wait_s(rate) == 0.0:
                bucket, taken = bucket.taken(), taken + 1
            assert bucket.tokens >= 0.0
        assert taken <= (now - started).total_seconds() * rate + 1e-6


class TestBreaker:
    def test_it_opens_at_the_fifth_failure_in_a_row(self) -> None:
        breaker = Breaker(0, None)
        for _ in range(BREAKER_THRESHOLD - 1):
            breaker = breaker.after(ok=False, now=NOW)
            assert not breaker.is_open(NOW)
        breaker = breaker.after(ok=False, now=NOW)
        assert breaker.is_open(NOW)
        assert breaker.open_until == NOW + timedelta(seconds=BREAKER_OPEN_S)

    def test_one_success_forgets_all_failures(self) -> None:
        breaker = Breaker(BREAKER_THRESHOLD - 1, None).after(ok=True, now=NOW)
        assert breaker == Breaker(0, None)
        assert not breaker.after(ok=False, now=NOW).is_open(NOW)

    def test_it_stays_open_twice_as_long_each_time_up_to_fifteen_minutes(self) -> None:
        breaker, opened_s = Breaker(BREAKER_THRESHOLD - 1, None), []
        for _ in range(7):
            breaker = breaker.after(ok=False, now=NOW)
            assert breaker.open_until is not None
            opened_s.append((breaker.open_until - NOW).total_seconds())
        assert opened_s == [30, 60, 120, 240, 480, BREAKER_MAX_OPEN_S, BREAKER_MAX_OPEN_S]

    def test_when_its_time_is_over_calls_may_probe(self) -> None:
        breaker = Breaker(BREAKER_THRESHOLD, NOW + timedelta(seconds=30))
        assert breaker.is_open(NOW + timedelta(seconds=29.9))
        assert not breaker.is_open(NOW + timedelta(seconds=30))
