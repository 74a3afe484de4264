"""Calls per second: the carrier starts so many calls a second for an account, the rest wait in order."""

from itertools import takewhile

# Seconds since the epoch in a double are exact to about a quarter of a microsecond: a timer may fire this much early.
_TOLERANCE = 1e-6


class Pacer:
    """The queue of one account.

    Args:
        per_second: calls started a second.
        longest_wait: seconds after which a call that still waits is given up.
    """

    def __init__(self, per_second: float, longest_wait: float) -> None:
        self._interval = 1.0 / per_second
        self._longest_wait = longest_wait
        self._waiting: dict[str, float] = {}
        self._free_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, sid: str, now: float) -> None:
        """Put a call at the end of the queue."""
        if not self._waiting:
            # Time in which nobody waited is not saved up for a burst.
            self._free_at = max(self._free_at, now)
        self._waiting[sid] = now

    def leave(self, sid: str) -> None:
        """Take a call out of the queue, if it is there: it uses up no start."""
        self._waiting.pop(sid, None)

    def expired(self, now: float) -> list[str]:
        """Take out and return the calls that waited too long."""
        too_old = now - self._longest_wait + _TOLERANCE
        late = [sid for sid, _ in takewhile(lambda entry: entry[1] <= too_old, self._waiting.items())]
        for sid in late:
            del self._waiting[sid]
        return late

    def started(self, now: float) -> list[str]:
        """Take out and return the calls that may start now."""
        ready = []
        while self._waiting and now >= self._free_at - _TOLERANCE:
            sid = next(iter(self._waiting))
            del self._waiting[sid]
            ready.append(sid)
            # Counted from when the start was due, so that late timers do not slow the account down.
            self._free_at += self._interval
        return ready

    def next_event(self) -> float | None:
        """Return when to look again (seconds since the epoch), or nothing if nobody waits."""
        if not self._waiting:
            return None
        first = next(iter(self._waiting.values()))
        return min(self._free_at, first + self._longest_wait)
