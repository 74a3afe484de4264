"""What has to hold: a name, what a breach means for people, and what would mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """The invariants, by name."""

    COUNTERS = "counters"
    TOTAL = "total"
    CALL_STATE = "call-state"
    CALL_ATTEMPTS = "call-attempts"
    END_TIME = "end-time"
    UNFINISHED_RUN = "unfinished-run"
    RUN_AND_TASK = "run-and-task"
    RUN_UNWATCHED = "run-unwatched"
    RATE = "rate"
    STALE_LEASE = "stale-lease"
    STUCK_MESSAGE = "stuck-message"
    ORPHAN_JOB = "orphan-job"
    NOT_ADMITTED = "not-admitted"
    ORPHAN_RECORDING = "orphan-recording"
    WAKE_UP_WITHOUT_ROW = "wake-up-without-row"
    SLOTS = "slots"
    NO_CONSUMER = "no-consumer"
    SLOT_WITHOUT_CALL = "slot-without-call"
    CALL_WITHOUT_SLOT = "call-without-slot"


@dataclass(frozen=True)
class Words:
    """A rule for people.

    Attributes:
        means: what a breach means.
        cure: what ``--repair`` does about it; None: nothing, and ``advice`` says what a person does.
        advice: for a person.
    """

    means: str
    cure: str | None = None
    advice: str = ""


_RECOUNT = "the task's counters are counted again from the call jobs"
_DERIVE = "the call job's state is derived again from its latest attempt, and its run is counted again"

WORDS: dict[Rule, Words] = {
    Rule.COUNTERS: Words("progress of a campaign differs from its call jobs", _RECOUNT),
    Rule.TOTAL: Words("the total of a campaign differs from its call jobs", _RECOUNT),
    Rule.CALL_STATE: Words("a call job holds a slot and is not being called, or the other way round", _DERIVE),
    Rule.CALL_ATTEMPTS: Words(
        "a call job counts other calls than were placed, so it is tried too often or not", _DERIVE
    ),
    Rule.END_TIME: Words(
        "something has ended without a time, or has a time and goes on", "the time is set, or taken away"
    ),
    Rule.UNFINISHED_RUN: Words(
        "a run is over and call jobs of it still wait: nobody will ever call them",
        "those that wait are ended as canceled, and the run is counted again",
    ),
    Rule.RUN_AND_TASK: Words("a run has ended in another way than its task", "the task gets the run's end"),
    Rule.RUN_UNWATCHED: Words(
        "a run is open and no task watches it: it will never end", "a new task watches the run from where it is"
    ),
    Rule.RATE: Words(
        "a token bucket is below zero, so calls wait longer than they should", "the bucket is emptied to 0"
    ),
    Rule.STALE_LEASE: Words("something that has ended still holds a lease", "the lease is taken away"),
    Rule.STUCK_MESSAGE: Words(
        "a mail or SMS is being sent by nobody",
        "before it was handed over: it goes back to its queue; after that: it is uncertain, and never sent by itself",
    ),
    Rule.ORPHAN_JOB: Words("a task is due, and in no queue, and nobody works on it", "its wake-up is queued"),
    Rule.NOT_ADMITTED: Words("a task waits for admission though there is room", "it is admitted"),
    Rule.ORPHAN_RECORDING: Words(
        "a recording is due, and in no queue, and nobody works on it", "its wake-up is queued"
    ),
    Rule.WAKE_UP_WITHOUT_ROW: Words("a wake-up in Redis has no row in PostgreSQL", "the wake-up is deleted"),
    Rule.SLOTS: Words("the slots in Redis are not the calls that are open in PostgreSQL", "they are rebuilt"),
    Rule.NO_CONSUMER: Words(
        "work waits in a queue that no living process consumes",
        advice="Start a worker, or a recorder, with this queue (RQ_QUEUES).",
    ),
    Rule.SLOT_WITHOUT_CALL: Words(
        "a slot is held for a call that has ended at the carrier", "the call is settled by what the carrier says of it"
    ),
    Rule.CALL_WITHOUT_SLOT: Words(
        "a call lives at the carrier and holds no slot",
        "a call of ours is hung up; one that no row knows is left alone: another program may share the account",
        advice="A call that no row knows: after a restore run `switchboard reconcile`.",
    ),
}


@dataclass(frozen=True, order=True)
class Finding:
    """One breach.

    Attributes:
        rule: which rule.
        business_id: whose; 0 for what belongs to all.
        subject: the row, such as ``task 12``.
        detail: what is wrong with it, without numbers or names of people.
        stamp: how often the row has moved; a breach with another stamp is another breach.
        key: the row's id.
    """

    rule: Rule
    business_id: int
    subject: str
    detail: str
    stamp: str = ""
    key: str = ""

    @property
    def same(self) -> tuple[Rule, int, str, str]:
        """What two looks at the same breach have in common."""
        return self.rule, self.business_id, self.subject, self.stamp
