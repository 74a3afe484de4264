"""The rules of calling, as pure functions: retries, calling hours, rate, breaker."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from switchboard_core.calls.states import AttemptState, CallStatus

RETRYABLE = ("busy", "no_answer", "machine", "failed")
"""Outcomes that a run may ask to retry."""

DEFAULT_RETRY_AFTER_S = {"busy": 300.0, "no_answer": 1800.0}

BREAKER_THRESHOLD = 5
BREAKER_OPEN_S = 30.0
BREAKER_MAX_OPEN_S = 900.0


@dataclass(frozen=True)
class Final:
    """The job has ended."""

    status: CallStatus
    reason: str | None = None


@dataclass(frozen=True)
class RetryAt:
    """The job goes back to its queue until ``at``."""

    at: datetime


def outcome_of(state: AttemptState, answered_by: str | None) -> str:
    """The outcome that a retry rule may name: ``machine`` where a machine or fax answered, else the state."""
    if state is AttemptState.COMPLETED and answered_by and answered_by.startswith(("machine", "fax")):
        return "machine"
    return state.value


def after_attempt(
    state: AttemptState,
    answered_by: str | None,
    *,
    attempts: int,
    max_attempts: int,
    retry_after_s: Mapping[str, float],
    retry_allowed: bool,
    now: datetime,
) -> Final | RetryAt:
    """What becomes of a job when its attempt has ended in ``state``.

    Args:
        state: a settled state other than ``not_placed``.
        answered_by: the carrier's word, if it listened.
        attempts: calls placed to this lead so far, this one included.
        max_attempts: of the run.
        retry_after_s: seconds to wait, per outcome; an outcome that is absent is not retried.
        retry_allowed: false when the run was cancelled or the outcome is unknown.
        now: the database's time.
    """
    wait = retry_after_s.get(outcome_of(state, answered_by))
    if retry_allowed and wait is not None and attempts < max_attempts and state is not AttemptState.CANCELED:
        return RetryAt(now + timedelta(seconds=float(wait)))
    return Final(CallStatus(state.value))


def setback_delay_s(setbacks: int, jitter: float) -> float:
    """Seconds until a job whose attempt certainly sent nothing is tried again: 1, 2, 4 … 300, with jitter.

    Args:
        setbacks: such attempts in a row, this one included.
        jitter: uniform in [0, 1); spreads the tries of many jobs.
    """
    return min(300.0, 2.0 ** min(setbacks - 1, 9)) * (0.5 + jitter / 2)


def next_opening(now: datetime, zone: str, opens: time, closes: time, days: int) -> datetime | None:
    """When a lead in ``zone`` may be called: None for now, else the start of the next calling hours.

    The lead's wall clock decides, also on the days when it is changed: an hour that comes twice is judged twice, and
    what would close in an hour that is left out has closed when the clock has jumped over it.

    Args:
        now: with a time zone.
        zone: IANA name.
        opens: local time of the lead, inclusive.
        closes: local time of the lead, exclusive; equal to ``opens`` means the whole day, earlier means past midnight.
        days: bit mask of the days on which calling hours *start*, Monday is bit 0; 0 means never and is refused
            where runs are made.
    """
    place = ZoneInfo(zone)
    wall = now.astimezone(place).replace(tzinfo=None)
    for offset in range(-1, 9):
        day = wall.date() + timedelta(days=offset)
        if not days >> day.weekday() & 1:
            continue
        start = datetime.combine(day, opens)
        if start <= wall < datetime.combine(day if opens < closes else day + timedelta(days=1), closes):
            return None
        if later := [moment for moment in _moments_of(start, place) if moment > now]:
            return min(later)
    return now.astimezone(UTC) + timedelta(days=1)


def _moments_of(wall: datetime, place: ZoneInfo) -> list[datetime]:
    """When the clocks of a place show ``wall``: twice when they go back; in an hour left out, once, behind it."""
    moments = [wall.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return [moment for moment in moments if moment.astimezone(place).replace(tzinfo=None) >= wall]


@dataclass(frozen=True)
class Bucket:
    """A token bucket: ``tokens`` as of ``at``."""

    tokens: float
    at: datetime

    def refilled(self, now: datetime, rate: float) -> "Bucket":
        """The bucket at ``now``; it holds one second's worth of tokens, and at least one."""
        elapsed = max(0.0, (now - self.at).total_seconds())
        return Bucket(min(max(1.0, rate), self.tokens + elapsed * rate), max(now, self.at))

    def taken(self) -> "Bucket":
        """The bucket after one token was taken."""
        return Bucket(self.tokens - 1.0, self.at)

    def wait_s(self, rate: float, *, tokens: float = 1.0) -> float:
        """Seconds until it holds a token, or ``tokens`` of them: its own and those of who comes first."""
        return max(0.0, (tokens - self.tokens) / rate)


@dataclass(frozen=True)
class Breaker:
    """Stops dialling while the carrier fails: ``failures`` in a row, open until ``open_until``."""

    failures: int
    open_until: datetime | None

    def is_open(self, now: datetime) -> bool:
        """Whether no call may be placed now; when the time is over, calls probe the carrier again."""
        return self.open_until is not None and now < self.open_until

    def after(self, *, ok: bool, now: datetime, jitter: float = 0.0) -> "Breaker":
        """The breaker after an answer of the carrier; it opens for 30 s at the fifth failure, then twice as long.

        Args:
            ok: whether the carrier works.
            now: the database's time.
            jitter: uniform in [0, 1); makes it up to a quarter longer, so that not all businesses probe at once.
        """
        if ok:
            return Breaker(0, None)
        failures = self.failures + 1
        if failures < BREAKER_THRESHOLD:
            return Breaker(failures, self.open_until)
        open_s = min(BREAKER_MAX_OPEN_S, BREAKER_OPEN_S * 2 ** min(failures - BREAKER_THRESHOLD, 5))
        return Breaker(failures, now + timedelta(seconds=open_s * (1 + jitter / 4)))
