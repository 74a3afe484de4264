"""States of runs, call jobs and call attempts, and the one table that moves an attempt.

A job's state is derived from its latest attempt. An attempt moves by ``next_state``, a pure table that accepts the
carrier's events in any order, duplicated or late: live states only move forward, and a terminal state absorbs
everything.
"""

from enum import StrEnum


class RunStatus(StrEnum):
    """Contract: states of a campaign run."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether no call may be placed for the run any more."""
        return self in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


class CallStatus(StrEnum):
    """Contract: states of a call job (one lead of a run); ``canceled`` in the carrier's spelling."""

    QUEUED = "queued"
    DIALING = "dialing"
    UNCERTAIN = "uncertain"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL_CALLS

    @property
    def active(self) -> bool:
        """Whether the job holds a slot."""
        return not self.terminal and self is not CallStatus.QUEUED


TERMINAL_CALLS = frozenset(
    {
        CallStatus.COMPLETED,
        CallStatus.BUSY,
        CallStatus.NO_ANSWER,
        CallStatus.FAILED,
        CallStatus.CANCELED,
        CallStatus.SKIPPED,
    }
)


class AttemptState(StrEnum):
    """States of one attempt; it holds a slot until it is settled."""

    DIALING = "dialing"
    """Committed; the create call may or may not have been sent."""
    UNCERTAIN = "uncertain"
    """The create call was sent and its answer was lost."""
    PLACED = "placed"
    """The carrier has the call: its sid is known."""
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    """It is being hung up."""
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    CANCELED = "canceled"
    NOT_PLACED = "not_placed"
    """Certainly nothing was sent: the job goes back to its queue."""

    @property
    def settled(self) -> bool:
        """Whether the attempt has ended and its slot is free."""
        return self in SETTLED


SETTLED = frozenset(
    {
        AttemptState.COMPLETED,
        AttemptState.BUSY,
        AttemptState.NO_ANSWER,
        AttemptState.FAILED,
        AttemptState.CANCELED,
        AttemptState.NOT_PLACED,
    }
)


class CallEvent(StrEnum):
    """What can happen to an attempt, from the carrier or from us."""

    CREATED = "created"
    """The carrier answered the create call with a sid."""
    ANSWER_LOST = "answer_lost"
    """The create call timed out or was answered with 5xx: it may have been placed."""
    NOT_SENT = "not_sent"
    """Certainly nothing was placed: refused connection, failed look-up, 429, missed deadline."""
    REJECTED = "rejected"
    """The carrier refused the call (4xx): it was not placed and will not be."""
    INITIATED = "initiated"
    RINGING = "ringing"
    ANSWERED = "answered"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    CANCELED = "canceled"
    CANCEL_REQUESTED = "cancel_requested"
    """A person asked to hang up."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """Nobody, the carrier's list included, could say what became of the call within the window."""


_S, _E = AttemptState, CallEvent

_ENDS = {
    _E.REJECTED: _S.FAILED,
    _E.COMPLETED: _S.COMPLETED,
    _E.BUSY: _S.BUSY,
    _E.NO_ANSWER: _S.NO_ANSWER,
    _E.FAILED: _S.FAILED,
    _E.CANCELED: _S.CANCELED,
    _E.CANCEL_REQUESTED: _S.CANCELING,
    _E.OUTCOME_UNKNOWN: _S.FAILED,
}
_IN_PROGRESS = dict(_ENDS)
_RINGING = {**_IN_PROGRESS, _E.ANSWERED: _S.IN_PROGRESS}
_PLACED = {**_RINGING, _E.RINGING: _S.RINGING}
# A slow 429 may come after the sweep has given the answer up: whoever sent the request is certain, the sweep is not.
_UNCERTAIN = {**_PLACED, _E.CREATED: _S.PLACED, _E.INITIATED: _S.PLACED, _E.NOT_SENT: _S.NOT_PLACED}
_DIALING = {**_UNCERTAIN, _E.ANSWER_LOST: _S.UNCERTAIN}
# Once a person asked to hang up, whatever ends the call ends it as canceled; only silence stays a failure.
_CANCELING = {
    **dict.fromkeys(
        (_E.NOT_SENT, _E.REJECTED, _E.COMPLETED, _E.BUSY, _E.NO_ANSWER, _E.FAILED, _E.CANCELED), _S.CANCELED
    ),
    _E.OUTCOME_UNKNOWN: _S.FAILED,
}

TRANSITIONS: dict[AttemptState, dict[CallEvent, AttemptState]] = {
    _S.DIALING: _DIALING,
    _S.UNCERTAIN: _UNCERTAIN,
    _S.PLACED: _PLACED,
    _S.RINGING: _RINGING,
    _S.IN_PROGRESS: _IN_PROGRESS,
    _S.CANCELING: _CANCELING,
}


def next_state(state: AttemptState, event: CallEvent) -> AttemptState:
    """The state after ``event``; an event that the table does not list is late or doubled and changes nothing."""
    return TRANSITIONS.get(state, {}).get(event, state)


_CARRIER_EVENTS = {
    "queued": CallEvent.INITIATED,
    "initiated": CallEvent.INITIATED,
    "ringing": CallEvent.RINGING,
    "in-progress": CallEvent.ANSWERED,
    "answered": CallEvent.ANSWERED,
    "completed": CallEvent.COMPLETED,
    "busy": CallEvent.BUSY,
    "no-answer": CallEvent.NO_ANSWER,
    "failed": CallEvent.FAILED,
    "canceled": CallEvent.CANCELED,
}

CARRIER_TERMINAL = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


def carrier_event(status: str) -> CallEvent | None:
    """The event that a carrier's ``CallStatus`` stands for; None where the word is not known."""
    return _CARRIER_EVENTS.get(status.lower())


_JOB_STATUS = {
    AttemptState.PLACED: CallStatus.DIALING,
    AttemptState.NOT_PLACED: CallStatus.QUEUED,
}


def job_status(state: AttemptState) -> CallStatus:
    """The job's status that an attempt's state means, before retries are considered."""
    return _JOB_STATUS.get(state) or CallStatus(state.value)
