"""A campaign in memory, made of the product's pure rules, walked through by random events.

The rules (state table, retries, token bucket, breaker) are the product's own; what is held against them is said once
more and in another way: an attempt's state by its rank and its first end, a bucket by the calls of a whole second, the
breaker by the failures since the last success, the slots by the attempts that are open.
"""

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from switchboard_core.calls.policy import (
    BREAKER_MAX_OPEN_S,
    BREAKER_OPEN_S,
    BREAKER_THRESHOLD,
    Breaker,
    Bucket,
    Final,
    after_attempt,
)
from switchboard_core.calls.states import SETTLED, AttemptState, CallEvent, CallStatus, job_status, next_state

START = datetime(2026, 1, 26, tzinfo=UTC)
EVENTS = tuple(CallEvent)
RETRY = {"busy": 5.0, "no_answer": 20.0, "machine": 1.0}
RANK = {state: rank for rank, state in enumerate(AttemptState)}


@dataclass
class Attempt:
    """One try; the job's state follows from it."""

    job: "Job"
    state: AttemptState = AttemptState.DIALING
    first_end: AttemptState | None = None


@dataclass
class Job:
    """One number."""

    number: int
    status: CallStatus = CallStatus.QUEUED
    attempts: int = 0
    due: datetime = START
    live: Attempt | None = None


@dataclass
class Walk:
    """A business under random events. ``step`` does one and checks everything that it touched."""

    dice: random.Random
    cap: int = 3
    rate: float = 3.0
    max_attempts: int = 3
    now: datetime = START
    bucket: Bucket = field(default_factory=lambda: Bucket(0.0, START))
    breaker: Breaker = field(default_factory=lambda: Breaker(0, None))
    jobs: list[Job] = field(default_factory=list)
    open: list[Attempt] = field(default_factory=list)
    past: deque[Attempt] = field(default_factory=lambda: deque(maxlen=50))
    seen: Counter[str] = field(default_factory=Counter)
    _taken: deque[datetime] = field(default_factory=deque)
    _failures: int = 0

    def step(self) -> None:
        """One random event."""
        chance = self.dice.random()
        if chance < 0.35:
            self._admit()
        elif chance < 0.80:
            self._event()
        elif chance < 0.90:
            self.now += timedelta(seconds=self.dice.expovariate(5.0))
        elif chance < 0.97:
            self._carrier_answers(ok=self.dice.random() < 0.45)
        elif chance < 0.98:
            self.cap = self.dice.randrange(0, 6)
        elif chance < 0.99:
            self.now += timedelta(seconds=self.dice.uniform(0, 60))
        else:
            self.jobs = [job for job in self.jobs if not job.status.terminal]
            self.jobs += [Job(self.dice.randrange(10_000)) for _ in range(max(0, 12 - len(self.jobs)))]

    def _admit(self) -> None:
        if len(self.open) >= self.cap:
            self.seen["no slot"] += 1
            return
        if self.breaker.is_open(self.now) or (self.breaker.failures >= BREAKER_THRESHOLD and self.open):
            self.seen["breaker"] += 1
            return
        self.bucket = self.bucket.refilled(self.now, self.rate)
        if self.bucket.wait_s(self.rate) > 0:
            self.seen["rate"] += 1
            return
        busy = {attempt.job.number for attempt in self.open}
        job = next(
            (
                job
                for job in self.jobs
                if job.status is CallStatus.QUEUED and job.due <= self.now and job.number not in busy
            ),
            None,
        )
        if job is None:
            self.seen["nothing due"] += 1
            return
        self._take(job)

    def _take(self, job: Job) -> None:
        self.bucket = self.bucket.taken()
        attempt = Attempt(job)
        job.status, job.live = job_status(attempt.state), attempt
        self.open.append(attempt)
        self.seen["admitted"] += 1
        self._taken.append(self.now)
        while self._taken[0] <= self.now - timedelta(seconds=1):
            self._taken.popleft()
        assert self.bucket.tokens >= 0, "the bucket was overdrawn"
        assert len(self._taken) <= 2 * self.rate + 1, "more calls in a second than rate and burst"
        assert len(self.open) <= self.cap, "the cap was exceeded"
        assert job.attempts < self.max_attempts, "a lead was called more often than its run allows"
        assert len({held.job.number for held in self.open}) == len(self.open), "two live calls to one number"

    def _event(self) -> None:
        """Any event for any attempt: its own, somebody's long ago, doubled, in any order."""
        attempts = self.open if self.open and (self.dice.random() < 0.8 or not self.past) else self.past
        if not attempts:
            return
        attempt = self.dice.choice(attempts)
        event = self.dice.choice(EVENTS)
        before, job_before = attempt.state, attempt.job.status
        attempt.state = next_state(before, event)
        self._check_move(attempt, before)
        if attempt.state is before:
            assert attempt.job.status is job_before, "an event that changes no attempt changed a job"
            return
        self.seen["moved"] += 1
        if attempt.state.settled:
            self._settle(attempt)
        else:
            attempt.job.status = job_status(attempt.state)

    def _check_move(self, attempt: Attempt, before: AttemptState) -> None:
        assert RANK[attempt.state] >= RANK[before] or before is AttemptState.CANCELING, "a call went back"
        if before in SETTLED:
            assert attempt.state is before is attempt.first_end, "a call ended twice"
            self.seen["late"] += 1

    def _settle(self, attempt: Attempt) -> None:
        job = attempt.job
        assert job.live is attempt, "an attempt that is not the live one settled a job"
        attempt.first_end, job.live = attempt.state, None
        self.open.remove(attempt)
        self.past.append(attempt)
        if attempt.state is AttemptState.NOT_PLACED:
            job.status = job_status(attempt.state)
            job.due = self.now + timedelta(seconds=1)
            return
        job.attempts += 1
        decision = after_attempt(
            attempt.state,
            None,
            attempts=job.attempts,
            max_attempts=self.max_attempts,
            retry_after_s=RETRY,
            retry_allowed=True,
            now=self.now,
        )
        if isinstance(decision, Final):
            job.status = decision.status
            assert job.status.terminal
        else:
            assert attempt.state.value in RETRY
            assert job.attempts < self.max_attempts
            job.status, job.due = CallStatus.QUEUED, decision.at

    def _carrier_answers(self, *, ok: bool) -> None:
        self.breaker = self.breaker.after(ok=ok, now=self.now)
        self._failures = 0 if ok else self._failures + 1
        assert self.breaker.failures == self._failures
        if self._failures < BREAKER_THRESHOLD:
            assert ok or not self.breaker.is_open(self.now) or self.breaker.open_until is not None
            return
        expected = min(BREAKER_MAX_OPEN_S, BREAKER_OPEN_S * 2 ** (self._failures - BREAKER_THRESHOLD))
        assert self.breaker.open_until == self.now + timedelta(seconds=expected)

    def check(self) -> None:
        """Slots and jobs say the same: whoever is active holds exactly one slot, and nobody else does."""
        active = {id(job) for job in self.jobs if job.status.active}
        assert active == {id(attempt.job) for attempt in self.open}
        assert all(job.live is not None for job in self.jobs if job.status.active)
        assert all(not attempt.state.settled for attempt in self.open)


def walk(events: int, seed: int) -> Counter[str]:
    """Do so many events; returns what was seen how often."""
    made = Walk(random.Random(seed), jobs=[Job(number) for number in range(12)])
    for number in range(events):
        made.step()
        if number % 50 == 0:
            made.check()
    made.check()
    return made.seen
