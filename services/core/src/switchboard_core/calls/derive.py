"""Derives a call job anew from its attempts, where something other than this code has changed either of them."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.policy import Final, after_attempt
from switchboard_core.calls.progress import recount, wake_pump
from switchboard_core.calls.settle import OUTCOME_UNKNOWN
from switchboard_core.calls.states import AttemptState, CallStatus, RunStatus, job_status
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

_RUN_IS_OVER = "its run was over"


def derive_job(session: Session, runtime: Runtime, job_id: int) -> OutboundCallJob | None:
    """Make a call job what its attempts say, and its run's counters what its jobs say; None where there is no such job.

    A live attempt makes it active; else its newest attempt ends it or sends it back to the queue, by the run's rules.
    """
    job = session.get(OutboundCallJob, job_id, with_for_update={"key_share": True}, populate_existing=True)
    if job is None:
        return None
    run = session.get_one(OutboundCallRun, job.run_id)
    job.attempts = _placed(session, job_id)
    newest = session.scalars(
        select(CallAttempt)
        .where(CallAttempt.job_id == job_id)
        .order_by(CallAttempt.settled_at.is_(None).desc(), CallAttempt.created_at.desc())
        .limit(1)
    ).first()
    now = session.execute(select(db_now())).scalar_one()
    if newest is not None and newest.settled_at is None:
        _become(job, job_status(newest.state), newest.reason)
    elif newest is None or newest.state is AttemptState.NOT_PLACED:
        _become(job, CallStatus.CANCELED, _RUN_IS_OVER) if run.status.terminal else _become(
            job, CallStatus.QUEUED, None
        )
    else:
        decision = after_attempt(
            newest.state,
            newest.answered_by,
            attempts=job.attempts,
            max_attempts=run.max_attempts,
            retry_after_s=run.retry_after_s,
            retry_allowed=not run.status.terminal and newest.reason != OUTCOME_UNKNOWN,
            now=newest.settled_at or now,
        )
        if isinstance(decision, Final):
            _become(job, decision.status, newest.reason)
        else:
            _become(job, CallStatus.QUEUED, None)
            job.next_attempt_at = decision.at
    job.updated_at = now
    job.finished_at = (job.finished_at or now) if job.status.terminal else None
    session.flush()
    recount(session, runtime, run)
    if run.status is RunStatus.RUNNING:
        wake_pump(session, runtime, run)
    return job


def end_waiting_jobs(session: Session, runtime: Runtime, run_id: int) -> int:
    """End the call jobs of a run that is over and that still wait in its queue; returns how many."""
    run = session.get_one(OutboundCallRun, run_id, with_for_update={"key_share": True})
    waiting = session.scalars(
        select(OutboundCallJob)
        .where(OutboundCallJob.run_id == run_id, OutboundCallJob.status == CallStatus.QUEUED)
        .order_by(OutboundCallJob.id)
        .with_for_update(key_share=True)
    ).all()
    if not run.status.terminal:
        return 0
    now = session.execute(select(db_now())).scalar_one()
    for job in waiting:
        _become(job, CallStatus.CANCELED, _RUN_IS_OVER)
        job.finished_at = job.updated_at = now
    session.flush()
    recount(session, runtime, run)
    return len(waiting)


def _become(job: OutboundCallJob, status: CallStatus, reason: str | None) -> None:
    job.status, job.reason = status, reason


def _placed(session: Session, job_id: int) -> int:
    """How many calls of a job have ended that were placed, or may have been."""
    ended = (CallAttempt.job_id == job_id, CallAttempt.settled_at.is_not(None), CallAttempt.sent_at.is_not(None))
    placed = select(func.count()).select_from(CallAttempt).where(*ended, CallAttempt.state != AttemptState.NOT_PLACED)
    return session.scalar(placed) or 0
