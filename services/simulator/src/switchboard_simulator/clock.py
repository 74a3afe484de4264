"""Time, injected: the event loop's for a server, one that tests move by hand for everything else."""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol


class Timer(Protocol):
    """Something that is due later and can be called off."""

    def cancel(self) -> None:
        """Call it off; doing so twice, or after it ran, does nothing."""


class Clock(Protocol):
    """What the engine knows about time."""

    def time(self) -> float:
        """Return seconds since the epoch."""

    def call_later(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Run ``action`` once, ``seconds`` from now."""


class LoopClock:
    """Real time, on the running asyncio loop."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def call_later(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Run ``action`` once on the running loop, ``seconds`` from now."""
        return asyncio.get_running_loop().call_later(seconds, action)


class _VirtualTimer:
    """A timer of the virtual clock."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Forget what was to be done."""
        self.action = None


class VirtualClock:
    """Time that stands still until somebody calls ``advance``.

    Args:
        now: seconds since the epoch to start at.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._order = count()
        self._due: list[tuple[float, int, _VirtualTimer]] = []

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def call_later(self, seconds: float, action: Callable[[], object]) -> Timer:
        """Run ``action`` once, when the clock has been advanced by ``seconds``."""
        timer = _VirtualTimer(action)
        heapq.heappush(self._due, (self._now + max(seconds, 0.0), next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move time forward and run what falls due, in order, each at its own instant."""
        end = self._now + seconds
        while self._due and self._due[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._due)
            action, timer.action = timer.action, None
            if action is not None:
                action()
        self._now = end
