"""The calls and recordings of a run, and how to find them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from switchboard_simulator.calls import Call, CallStatus, Recording


@dataclass(frozen=True, slots=True)
class Moment:
    """A point (``2026-01-26T11:05:20Z``) or a whole day (``2026-01-26``) in a filter, UTC, as whole seconds."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Read a filter's value.

        Raises:
            ValueError: it is neither a date nor a date with a time.
        """
        if len(text) == len("2026-01-26"):
            start = datetime.combine(date.fromisoformat(text), time(), UTC)
            return cls(int(start.timestamp()), int((start + timedelta(days=1)).timestamp()) - 1)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return cls(int(moment.timestamp()), int(moment.timestamp()))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """What a list of calls is narrowed to. The time bounds include their ends."""

    to: str | None = None
    from_: str | None = None
    status: CallStatus | None = None
    started_in: Moment | None = None
    started_before: Moment | None = None
    started_after: Moment | None = None

    def accepts(self, call: Call) -> bool:
        """Tell whether a call belongs on the list."""
        return (
            (self.to is None or call.request.to == self.to)
            and (self.from_ is None or call.request.from_ == self.from_)
            and (self.status is None or call.rest_status is self.status)
            and self._accepts_start(call.started_at)
        )

    def _accepts_start(self, started_at: float | None) -> bool:
        bounds = (self.started_in, self.started_before, self.started_after)
        if bounds == (None, None, None):
            return True
        # A call that the carrier has not dialled yet has no start time, so no bound accepts it.
        if started_at is None:
            return False
        second = int(started_at)
        within, before, after = bounds
        return (
            (within is None or within.first <= second <= within.last)
            and (before is None or second <= before.last)
            and (after is None or second >= after.first)
        )


class Register:
    """All calls since the start or the last reset, by sid, account and number."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._recordings: dict[str, Recording] = {}
        self._by_account: defaultdict[str, list[Call]] = defaultdict(list)
        self._by_number: defaultdict[tuple[str, str], list[Call]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        """Enter a new call; its index must be higher than all before."""
        self._calls[call.sid] = call
        self._by_account[call.account_sid].append(call)
        self._by_number[call.account_sid, call.request.to].append(call)

    def add_recording(self, recording: Recording) -> None:
        """Enter a new recording."""
        self._recordings[recording.sid] = recording

    def remove_recording(self, recording: Recording) -> None:
        """Delete a recording."""
        self._recordings.pop(recording.sid, None)

    def call(self, account_sid: str, sid: str) -> Call | None:
        """Return a call of an account."""
        call = self._calls.get(sid)
        return call if call is not None and call.account_sid == account_sid else None

    def recording(self, account_sid: str, sid: str) -> Recording | None:
        """Return a recording of an account."""
        recording = self._recordings.get(sid)
        return recording if recording is not None and recording.account_sid == account_sid else None

    def calls(self) -> Iterator[Call]:
        """Iterate over all calls, oldest first."""
        return iter(self._calls.values())

    def newest_calls(self, account_sid: str, wanted: CallFilter, before: int | None) -> Iterator[Call]:
        """Iterate over the calls on a list, newest first, starting after the call with index ``before``."""
        if wanted.to is not None:
            calls = self._by_number.get((account_sid, wanted.to), [])
        else:
            calls = self._by_account.get(account_sid, [])
        end = len(calls) if before is None else bisect_left(calls, before, key=lambda call: call.index)
        return (calls[at] for at in range(end - 1, -1, -1) if wanted.accepts(calls[at]))

    def recordings(self, account_sid: str, call_sid: str | None = None) -> list[Recording]:
        """Return the recordings of an account or of one of its calls, newest first."""
        if call_sid is not None:
            call = self.call(account_sid, call_sid)
            recording = call.recording if call is not None else None
            return [recording] if recording is not None and recording.sid in self._recordings else []
        return [r for r in reversed(self._recordings.values()) if r.account_sid == account_sid]
