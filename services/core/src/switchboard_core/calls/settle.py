"""Applies an event to an attempt: the one place where attempts and jobs change state.

Locks are taken in one order everywhere (business, run, job, attempt, background job), so that webhooks, the pump and
the sweep never wait for each other in a circle.
"""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.policy import Final, after_attempt, setback_delay_s
from switchboard_core.calls.progress import finish_job, wake_pump
from switchboard_core.calls.states import (
    CARRIER_TERMINAL,
    AttemptState,
    CallEvent,
    CallStatus,
    RunStatus,
    job_status,
    next_state,
)
from switchboard_core.db import after_commit
from switchboard_core.logs import get_logger
from switchboard_core.metrics import ATTEMPTS_SETTLED
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

_jitter = random.Random()  # noqa: S311 - spreads retries, protects nothing

# Locked in the order of their names here.
_JOB_AND_ATTEMPT = (
    select(OutboundCallJob, CallAttempt)
    .join(CallAttempt, CallAttempt.job_id == OutboundCallJob.id)
    .where(CallAttempt.id == bindparam("attempt_id"))
    .with_for_update(key_share=True, of=[OutboundCallJob, CallAttempt])
    .execution_options(populate_existing=True)
)


@dataclass(frozen=True)
class Evidence:
    """What came with an event; whatever is None is not known.

    Attributes:
        call_sid: the carrier's id of the call.
        carrier_status: the carrier's own word.
        answered_by: who answered.
        duration_s: length of the call in seconds.
        reason: one sentence for people.
        retry_after_s: how long the carrier wants us to wait.
    """

    call_sid: str | None = None
    carrier_status: str | None = None
    answered_by: str | None = None
    duration_s: int | None = None
    reason: str | None = None
    retry_after_s: float | None = None


NOTHING = Evidence()


@dataclass(frozen=True)
class Applied:
    """What an event did.

    Attributes:
        attempt: the attempt afterwards.
        run: its run.
        before: its state before.
        hang_up: the call may live and must not: hang it up.
    """

    attempt: CallAttempt
    run: OutboundCallRun
    before: AttemptState
    hang_up: bool

    @property
    def settled_now(self) -> bool:
        """Whether this event freed the slot."""
        return self.attempt.state.settled and not self.before.settled


def apply_event(
    session: Session, runtime: Runtime, attempt_id: uuid.UUID, event: CallEvent, evidence: Evidence = NOTHING
) -> Applied | None:
    """Move an attempt, and with it its job, by one event; None where the business has no such attempt.

    Late and doubled events change nothing. After the commit the slot is released and the pump is woken.
    """
    locked = session.execute(_JOB_AND_ATTEMPT, {"attempt_id": attempt_id}).first()
    if locked is None:
        return None
    job, attempt = locked
    # Read once the locks are held: whoever held them may have ended the run.
    run, now = session.execute(select(OutboundCallRun, db_now()).where(OutboundCallRun.id == attempt.run_id)).one()
    before = attempt.state
    _keep(attempt, evidence)
    after = next_state(before, event)
    if after is not before:
        _move(session, runtime, _Move(run, job, attempt, after, now, evidence))
    session.flush()
    log.debug("call event", attempt_id=str(attempt_id), call_event=str(event), before=str(before), after=str(after))
    return Applied(attempt, run, before, _must_hang_up(attempt, event))


def _keep(attempt: CallAttempt, evidence: Evidence) -> None:
    """Keep what is known of the call, whatever state it is in: a sid is never lost."""
    if evidence.call_sid and attempt.call_sid is None:
        attempt.call_sid = evidence.call_sid
    if evidence.carrier_status and attempt.carrier_status not in CARRIER_TERMINAL:
        attempt.carrier_status = evidence.carrier_status
    if evidence.answered_by:
        attempt.answered_by = evidence.answered_by
    if evidence.duration_s is not None:
        attempt.duration_s = evidence.duration_s


def _must_hang_up(attempt: CallAttempt, event: CallEvent) -> bool:
    """Whether a call goes on that nobody wants: to be hung up, or ended by us without the carrier's word.

    A person or a rule asked to hang it up. Who did so may have found the carrier away, so it is done again whenever
    something is heard of the call.
    """
    if attempt.call_sid is None or attempt.carrier_status in CARRIER_TERMINAL:
        return False
    if attempt.state is AttemptState.CANCELING or (attempt.hangup_requested_at and not attempt.state.settled):
        return True
    lives = event in {CallEvent.CREATED, CallEvent.INITIATED, CallEvent.RINGING, CallEvent.ANSWERED}
    return lives and attempt.state.settled


@dataclass(frozen=True)
class _Move:
    run: OutboundCallRun
    job: OutboundCallJob
    attempt: CallAttempt
    after: AttemptState
    now: datetime
    evidence: Evidence


def _move(session: Session, runtime: Runtime, move: _Move) -> None:
    attempt, job = move.attempt, move.job
    attempt.state = move.after
    if move.after is AttemptState.IN_PROGRESS:
        attempt.answered_at = move.now
    job.updated_at = move.now
    if not move.after.settled:
        job.status = job_status(move.after)
        return
    attempt.settled_at = move.now
    attempt.reason = move.evidence.reason
    if not move.run.record:
        attempt.recordings_listed_at = move.now
    if move.after is AttemptState.NOT_PLACED:
        _put_back(session, runtime, move)
    else:
        _conclude(session, runtime, move)
    ATTEMPTS_SETTLED.labels(state=str(move.after)).inc()
    _free_slot(session, runtime, attempt)
    wake_pump(session, runtime, move.run)


def _put_back(session: Session, runtime: Runtime, move: _Move) -> None:
    """Nothing was sent: the job waits in its queue again, unless its run is over."""
    job = move.job
    if move.run.status.terminal:
        finish_job(session, runtime, move.run, job, CallStatus.CANCELED, "the run was cancelled", now=move.now)
        return
    job.setbacks += 1
    delay_s = setback_delay_s(job.setbacks, _jitter.random())
    job.status = CallStatus.QUEUED
    job.reason = move.evidence.reason
    job.next_attempt_at = move.now + timedelta(seconds=max(delay_s, move.evidence.retry_after_s or 0.0))


def _conclude(session: Session, runtime: Runtime, move: _Move) -> None:
    """The call was placed, or may have been, or was cancelled: the job ends or is tried again by the run's rules."""
    job, run = move.job, move.run
    if move.attempt.sent_at is not None:
        job.attempts += 1
    job.setbacks = 0
    decision = after_attempt(
        move.after,
        move.attempt.answered_by,
        attempts=job.attempts,
        max_attempts=run.max_attempts,
        retry_after_s=run.retry_after_s,
        retry_allowed=run.status is not RunStatus.CANCELLED
        and run.status is not RunStatus.FAILED
        and move.evidence.reason != OUTCOME_UNKNOWN,
        now=move.now,
    )
    if isinstance(decision, Final):
        finish_job(session, runtime, run, job, decision.status, move.evidence.reason, now=move.now)
        return
    job.status = CallStatus.QUEUED
    job.reason = None
    job.next_attempt_at = decision.at


OUTCOME_UNKNOWN = "outcome_unknown"
"""Reason of an attempt whose end nobody knows; it is never dialled again by itself."""


def _free_slot(session: Session, runtime: Runtime, attempt: CallAttempt) -> None:
    business_id, attempt_id = attempt.business_id, attempt.id
    after_commit(session, lambda: release_slot(runtime, business_id, attempt_id))


def release_slot(runtime: Runtime, business_id: int, attempt_id: uuid.UUID) -> None:
    """Give back the slot of an attempt whose end is committed."""
    from redis.exceptions import RedisError

    try:
        with runtime.transport.patience.telling():
            runtime.slots.release(business_id, str(attempt_id))
    except RedisError:
        log.warning("slot not released in Redis; the next rebuild corrects it", business_id=business_id)
