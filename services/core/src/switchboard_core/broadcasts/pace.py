"""How fast messages may leave: a token bucket, as a pure function of the database's time."""

from dataclasses import dataclass
from datetime import datetime

BURST_S = 5.0
"""Seconds' worth of messages that a bucket holds: who sleeps between slices loses nothing by it."""


@dataclass(frozen=True)
class Bucket:
    """``tokens`` as of ``at``; one token is one message."""

    tokens: float
    at: datetime

    def refilled(self, now: datetime, per_minute: float) -> "Bucket":
        """The bucket at ``now``, at least one token deep."""
        elapsed_s = max(0.0, (now - self.at).total_seconds())
        tokens = min(max(1.0, per_minute / 60.0 * BURST_S), self.tokens + elapsed_s * per_minute / 60.0)
        return Bucket(tokens, max(now, self.at))

    def taken(self) -> "Bucket":
        """The bucket after one message."""
        return Bucket(self.tokens - 1.0, self.at)

    def wait_s(self, per_minute: float) -> float:
        """Seconds until it holds a token again; 0 where it does."""
        # Added up from many small refills, a whole token may lack a trillionth.
        lacking = 1.0 - self.tokens
        return lacking * 60.0 / per_minute if lacking > 1e-9 else 0.0
