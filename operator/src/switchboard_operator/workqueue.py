"""A queue of keys: each is worked on by one worker at a time, and is queued once however often it is added."""

import asyncio
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from switchboard_operator.metrics import QUEUE_DEPTH

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0


class WorkQueue(Generic[K]):
    """Keys that wait for work.

    Args:
        jitter: a factor around 1 that spreads waits.
    """

    def __init__(self, jitter: Callable[[], float] = lambda: random.uniform(0.9, 1.1)) -> None:  # noqa: S311 - no secret
        self._jitter = jitter
        self._ready: dict[K, None] = {}
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._arrived = asyncio.Event()

    def add(self, key: K) -> None:
        """Work on a key soon; while it is being worked on, once more afterwards."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
            return
        self._ready[key] = None
        QUEUE_DEPTH.set(len(self._ready))
        self._arrived.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Work on a key in ``delay_s`` at the latest."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s * self._jitter()
        timer = self._timers.get(key)
        if timer and timer.when() <= due:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    def add_failed(self, key: K) -> float:
        """Work on a key again after a wait that doubles with every failure; returns the wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s: float = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**failures)
        self.add_after(key, delay_s)
        return delay_s

    def succeeded(self, key: K) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    def forget(self, key: K) -> None:
        """The key is gone for good."""
        self.succeeded(key)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    async def get(self) -> K:
        """The next key; ``done`` must follow."""
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        key = next(iter(self._ready))
        del self._ready[key]
        self._busy.add(key)
        QUEUE_DEPTH.set(len(self._ready))
        return key

    def done(self, key: K) -> None:
        """The work on a key is over."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def __len__(self) -> int:
        return len(self._ready)
