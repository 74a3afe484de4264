"""The semaphore in Valkey, its scripts and all, walked through by random events and held against plain sets."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from redis import Redis

from switchboard_core.calls.semaphore import CallSemaphore

BUSINESSES = range(1, 6)
ATTEMPTS = [f"attempt-{number}" for number in range(12)]
CAPS = range(8)
LOOK_EVERY = 50


@dataclass
class Walk:
    """A few businesses, whose calls begin, end, end twice and are counted anew while Redis comes and goes."""

    redis: Redis
    dice: random.Random
    held: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.redis.flushdb()
        self.semaphore = CallSemaphore(self.redis)

    def step(self) -> None:
        """One random event."""
        chance, business = self.dice.random(), self.dice.choice(BUSINESSES)
        if chance < 0.55:
            self._acquire(business, self.dice.choice(ATTEMPTS), self.dice.choice(CAPS))
        elif chance < 0.97:
            self._release(business, self.dice.choice(ATTEMPTS))
        elif chance < 0.995:
            self._rebuild(business, self.dice.sample(ATTEMPTS, self.dice.randrange(len(ATTEMPTS))))
        elif chance < 0.998:
            self.redis.script_flush()
            self.semaphore = CallSemaphore(self.redis)
            self.seen["another process, scripts forgotten"] += 1
        else:
            self.redis.flushdb()
            self.held.clear()
            self.seen["emptied"] += 1

    def _acquire(self, business: int, attempt: str, cap: int) -> None:
        held = self.held[business]
        taken = self.semaphore.acquire(business, attempt, cap)
        assert taken is (attempt in held or len(held) < cap), f"{attempt} of business {business}, cap {cap}, {held}"
        what = "refused" if not taken else "has one" if attempt in held else "taken"
        self.seen[what] += 1
        if taken:
            held.add(attempt)

    def _release(self, business: int, attempt: str) -> None:
        held = self.held[business]
        assert self.semaphore.release(business, attempt) is (attempt in held), f"{attempt} of business {business}"
        self.seen["released" if attempt in held else "not held"] += 1
        held.discard(attempt)

    def _rebuild(self, business: int, attempts: list[str]) -> None:
        assert self.semaphore.rebuild(business, attempts) == len(attempts)
        self.held[business] = set(attempts)
        self.seen["rebuilt"] += 1

    def check(self) -> None:
        """Valkey holds what the sets hold."""
        for business in BUSINESSES:
            assert self.semaphore.members(business) == self.held[business]
            assert self.semaphore.active(business) == len(self.held[business])


def walk(redis: Redis, events: int, seed: int) -> Counter[str]:
    """Walk through ``events`` random events.

    Args:
        redis: a database of its own; it is emptied.
        events: how many.
        seed: of the dice.

    Returns:
        How often each thing happened.
    """
    journey = Walk(redis, random.Random(seed))
    for number in range(events):
        journey.step()
        if number % LOOK_EVERY == 0:
            journey.check()
    journey.check()
    return journey.seen
