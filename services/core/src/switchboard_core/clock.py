"""Time, injected: code asks a ``Clock`` so that tests can decide what time it is."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock and monotonic time."""

    def now(self) -> datetime:
        """The current time, in UTC and with its zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for measuring."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current time, in UTC and with its zone."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow; for measuring."""
        return time.monotonic()
