"""The real admission in PostgreSQL, walked through by the same kind of events, held against a model in memory.

The model knows slots, turns, states and the breaker by itself. Of the rows it reads one thing only, because time goes
by in them: which jobs are due.
"""

import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from integration.calls_support import CallsBench, numbers
from switchboard_core.calls.admission import Admitted, Idle, LookAgain, admit_next
from switchboard_core.calls.dial import _mark_sent, _move_breaker
from switchboard_core.calls.models import CallAttempt
from switchboard_core.calls.policy import BREAKER_THRESHOLD
from switchboard_core.calls.service import pause_run, resume_run
from switchboard_core.calls.settle import apply_event
from switchboard_core.calls.states import AttemptState, CallEvent, CallStatus, job_status, next_state
from switchboard_core.leads import do_not_call

MAX_ATTEMPTS = 2
RETRIED = ("busy", "no_answer")
LEADS = 8
RUNS = 3
CHECK_EVERY = 40


@dataclass
class Job:
    """One number of one run, as the model has it."""

    id: int
    run_id: int
    number: str
    status: CallStatus = CallStatus.QUEUED
    attempts: int = 0


@dataclass
class Attempt:
    """One try, as the model has it."""

    row: CallAttempt
    job: Job
    state: AttemptState = AttemptState.DIALING
    sent: bool = False


@dataclass
class Walk:
    """A business of its own: runs over the same leads, which get in each other's way."""

    bench: CallsBench
    dice: random.Random
    cap: int = 3
    failures: int = 0
    breaker_open: bool = False
    conversations: set[uuid.UUID] = field(default_factory=set)
    """Who was live when the breaker's time was over: none of them is its probe."""
    paused: set[int] = field(default_factory=set)
    turns: list[int] = field(default_factory=list)
    jobs: dict[int, Job] = field(default_factory=dict)
    attempts: dict[uuid.UUID, Attempt] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Make the business, its leads and its runs."""
        self.bench.reset()
        self.bench.execute("UPDATE businesses SET call_cap = %s, calls_per_second = 1000", self.cap)
        self.bench.add_leads(*numbers(LEADS))
        for _ in range(RUNS):
            run = self.bench.create(max_attempts=MAX_ATTEMPTS, retry_after_s=dict.fromkeys(RETRIED, 0))
            self.bench.slices(run)
            self.turns.append(run.id)
        for row in self.bench.rows("SELECT id, run_id, to_number FROM outbound_call_jobs"):
            self.jobs[row["id"]] = Job(row["id"], row["run_id"], row["to_number"])

    def step(self) -> None:
        """One random event."""
        chance = self.dice.random()
        if chance < 0.45:
            self._admit()
        elif chance < 0.88:
            self._event()
        elif chance < 0.91:
            self._breaker()
        elif chance < 0.93:
            self.cap = self.dice.randrange(0, 6)
            self.bench.execute("UPDATE businesses SET call_cap = %s", self.cap)
        elif chance < 0.96:
            self._pause_or_resume()
        elif chance < 0.965 and len(self.listed) < 3:
            number = self.dice.choice(numbers(LEADS))
            self.listed.add(number)
            with self.bench.session() as session:
                do_not_call.add(session, [number])
        else:
            # Of the jobs alone: an attempt that is older than its deadline would not be sent any more.
            self.bench.execute("UPDATE outbound_call_jobs SET next_attempt_at = next_attempt_at - interval '1 minute'")

    @property
    def live(self) -> list[Attempt]:
        """Who holds a slot."""
        return [attempt for attempt in self.attempts.values() if not attempt.state.settled]

    def over(self) -> bool:
        """Whether nothing is left to call."""
        return all(job.status.terminal for job in self.jobs.values())

    def _admit(self) -> None:
        before = self._now()
        waiting = self.bench.rows("SELECT id, next_attempt_at AS due FROM outbound_call_jobs WHERE status = 'queued'")
        with self.bench.session() as session:
            outcome = admit_next(session, self.bench.runtime)
        if isinstance(outcome, Idle) and outcome.why == "the rate is used up":
            self.seen["rate"] += 1  # a thousandth of a second
            return
        assert not isinstance(outcome, LookAgain), "no more than 8 jobs of a run can be passed over"
        why = self._refusal()
        if why is not None:
            assert getattr(outcome, "why", outcome) == why
            self.seen[why] += 1
            return
        # It has looked at the clock at some moment since; a job may have become due meanwhile.
        looks = [before, *(row["due"] for row in waiting if before < row["due"] <= self._now())]
        choices = [self._choose({row["id"] for row in waiting if row["due"] <= look}) for look in looks]
        if isinstance(outcome, Idle):
            assert not all(choices), f"{outcome.why}, but one of {choices} could be called"
            assert outcome.why == "no job is due", outcome
            self.seen[outcome.why] += 1
            return
        self._admitted(outcome, set().union(*choices))

    def _now(self) -> datetime:
        now: datetime = self.bench.value("SELECT clock_timestamp()")
        return now

    def _refusal(self) -> str | None:
        if len(self.live) >= self.cap:
            return "every slot is taken"
        if self.breaker_open:
            return "the breaker is open"
        probes = {attempt.row.id for attempt in self.live} - self.conversations
        if self.failures >= BREAKER_THRESHOLD and probes:
            return "a probe is on its way to the carrier"
        if set(self.turns) <= self.paused:
            return "no run is running"
        return None

    def _choose(self, due: set[int]) -> set[int]:
        """The jobs of which one must be admitted: of the first run, in turn, that has any. Listed ones are skipped."""
        busy = {attempt.job.number for attempt in self.live}
        for run_id in self.turns:
            if run_id in self.paused:
                continue
            mine = [self.jobs[job_id] for job_id in due if self.jobs[job_id].run_id == run_id]
            chosen = {job.id for job in mine if job.number not in busy | self.listed}
            if chosen:
                return chosen
        return set()

    def _admitted(self, outcome: Admitted, chosen: set[int]) -> None:
        row = outcome.attempt
        assert row.job_id in chosen, f"job {row.job_id} was admitted, not one of {chosen}"
        job = self.jobs[row.job_id]
        assert job.status is CallStatus.QUEUED
        job.status = CallStatus.DIALING
        self.attempts[row.id] = Attempt(row, job)
        self.turns.remove(job.run_id)
        self.turns.append(job.run_id)
        assert len(self.live) <= self.cap
        self.seen["admitted"] += 1

    def _event(self) -> None:
        """Any event for any attempt, live or long over."""
        attempts = self.live if self.live and self.dice.random() < 0.8 else list(self.attempts.values())
        if not attempts:
            return
        attempt, event = self.dice.choice(attempts), self.dice.choice(list(CallEvent))
        running = attempt.job.run_id not in self.paused
        if event is not CallEvent.NOT_SENT and attempt.state is AttemptState.DIALING and not attempt.sent and running:
            _mark_sent(self.bench.runtime, attempt.row)
            attempt.sent = True
        with self.bench.session() as session:
            apply_event(session, self.bench.runtime, attempt.row.id, event)
        before, attempt.state = attempt.state, next_state(attempt.state, event)
        if attempt.state is before:
            self.seen["late"] += 1
            return
        self.seen["moved"] += 1
        self._follow(attempt)

    def _follow(self, attempt: Attempt) -> None:
        job = attempt.job
        job.status = job_status(attempt.state)
        if attempt.state.settled and attempt.state is not AttemptState.NOT_PLACED:
            job.attempts += attempt.sent
            if attempt.state.value in RETRIED and job.attempts < MAX_ATTEMPTS:
                job.status = CallStatus.QUEUED

    def _breaker(self) -> None:
        ok = self.dice.random() < 0.4
        with self.bench.session() as session:
            _move_breaker(session, self.bench.business_id, ok=ok, reason=None)
        self.failures = 0 if ok else self.failures + 1
        self.breaker_open = self.failures >= BREAKER_THRESHOLD
        if self.breaker_open and self.dice.random() < 0.7:
            self.bench.execute("UPDATE businesses SET breaker_open_until = clock_timestamp()")
            self.breaker_open = False
            self.conversations = {attempt.row.id for attempt in self.live}

    def _pause_or_resume(self) -> None:
        run_id = self.dice.choice(self.turns)
        with self.bench.session() as session:
            if run_id in self.paused:
                resume_run(session, self.bench.runtime, run_id)
                self.paused.remove(run_id)
            else:
                pause_run(session, run_id)
                self.paused.add(run_id)

    def check(self) -> None:
        """The rows say what the model says."""
        rows = {
            row["id"]: row for row in self.bench.rows("SELECT id, status, attempts, to_number FROM outbound_call_jobs")
        }
        for job_id, job in self.jobs.items():
            row = rows[job_id]
            if row["status"] == "skipped" and job.number in self.listed and job.status is CallStatus.QUEUED:
                job.status = CallStatus.SKIPPED
            assert (row["status"], row["attempts"]) == (job.status.value, job.attempts), f"job {job_id}"
        open_rows = {row["id"] for row in self.bench.rows("SELECT id FROM call_attempts WHERE settled_at IS NULL")}
        assert open_rows == {attempt.row.id for attempt in self.live}
        ended = sum(job.status.terminal for job in self.jobs.values())
        counted = self.bench.value("SELECT sum(done + failed)::int FROM background_jobs")
        assert counted == ended, "a counter differs from its rows"


def walk(bench: CallsBench, events: int, seed: int) -> Counter[str]:
    """Do so many events, in as many businesses as it takes; returns what was seen how often."""
    dice, seen, done = random.Random(seed), Counter[str](), 0
    while done < events:
        made = Walk(bench, dice)
        made.begin()
        while done < events and not made.over():
            made.step()
            done += 1
            if done % CHECK_EVERY == 0:
                made.check()
        made.check()
        seen.update(made.seen)
    return seen
