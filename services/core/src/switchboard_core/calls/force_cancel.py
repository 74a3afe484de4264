"""Force-cancel: ends a run's calls now, also with every worker dead."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from switchboard_core.calls.dial import hang_up
from switchboard_core.calls.models import CallAttempt, OutboundCallJob
from switchboard_core.calls.progress import finish_job
from switchboard_core.calls.schemas import ForceCancelReport
from switchboard_core.calls.service import cancel_run, run_of_job
from switchboard_core.calls.settle import Evidence, apply_event
from switchboard_core.calls.states import CallEvent, CallStatus
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

HANG_UPS_AT_ONCE = 8
MAX_HANG_UPS = 200
REASON = "force-cancelled on request"
_AT_ONCE = 500
"""Queued jobs that the request itself ends; the run's background job or the sweep ends the rest."""


@dataclass(frozen=True)
class _Marked:
    run_id: int
    canceled: int
    sids: list[str]
    open_attempts: int


def force_cancel(runtime: Runtime, business_id: int, job_id: int) -> ForceCancelReport:
    """Cancel a run, end its queued jobs and hang up its live calls from this very process.

    Open attempts become ``canceling`` and keep their slots until the carrier's word; a sid or a callback that arrives
    later is hung up too, and the sweep finishes whatever could not be reached.

    Raises:
        RunNotFoundError: the business has no such run.
    """
    with runtime.database.tenant(business_id) as session:
        marked = _mark(session, runtime, job_id)
    # Part of this request, bounded in number and time; no job runs here.
    with ThreadPoolExecutor(max_workers=HANG_UPS_AT_ONCE, thread_name_prefix="hang-up") as pool:
        hung_up = sum(pool.map(lambda sid: hang_up(runtime, sid), marked.sids[:MAX_HANG_UPS]))
    log.info("run force-cancelled", run_id=marked.run_id, canceled=marked.canceled, hung_up=hung_up)
    return ForceCancelReport(
        job_id=job_id,
        run_id=marked.run_id,
        canceled=marked.canceled,
        hung_up=hung_up,
        pending=marked.open_attempts - hung_up,
    )


def _mark(session: Session, runtime: Runtime, job_id: int) -> _Marked:
    """Cancel the run and mark its calls, in one transaction.

    Locks go run, jobs, attempts, background job, as everywhere: whoever settles one of these calls meanwhile holds its
    job and wants the background job. So every job is locked before the first one is counted.
    """
    run = run_of_job(session, job_id, lock=True)
    attempt_ids = _lock_live(session, run.id)
    queued = session.scalars(
        select(OutboundCallJob)
        .where(OutboundCallJob.run_id == run.id, OutboundCallJob.status == CallStatus.QUEUED)
        .order_by(OutboundCallJob.id)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    cancel_run(session, runtime, job_id, reason=REASON)
    now = session.execute(select(db_now())).scalar_one()
    for job in queued:
        finish_job(session, runtime, run, job, CallStatus.CANCELED, REASON, now=now)
    sids, called_off = _cancel_attempts(session, runtime, attempt_ids)
    session.execute(
        update(CallAttempt)
        .where(CallAttempt.run_id == run.id, CallAttempt.settled_at.is_(None))
        .values(hangup_requested_at=func.coalesce(CallAttempt.hangup_requested_at, db_now()))
        .execution_options(synchronize_session=False)
    )
    still_open = session.scalar(
        select(func.count())
        .select_from(CallAttempt)
        .where(CallAttempt.run_id == run.id, CallAttempt.settled_at.is_(None))
    )
    return _Marked(run.id, len(queued) + called_off, sids, still_open or 0)


def _lock_live(session: Session, run_id: int) -> list[uuid.UUID]:
    """Lock the jobs of a run that have a live attempt; the attempts. None is added while the run is locked."""
    live = select(CallAttempt.job_id).where(CallAttempt.run_id == run_id, CallAttempt.settled_at.is_(None))
    session.execute(
        select(OutboundCallJob.id)
        .where(OutboundCallJob.id.in_(live))
        .order_by(OutboundCallJob.id)
        .with_for_update(key_share=True)
    ).all()
    return list(
        session.scalars(
            select(CallAttempt.id)
            .where(CallAttempt.run_id == run_id, CallAttempt.settled_at.is_(None))
            .order_by(CallAttempt.job_id)
        )
    )


def _cancel_attempts(session: Session, runtime: Runtime, attempt_ids: list[uuid.UUID]) -> tuple[list[str], int]:
    """Make open attempts ``canceling``; the sids to hang up, and how many ended because nothing was ever sent."""
    sids: list[str] = []
    called_off = 0
    for attempt_id in attempt_ids:
        applied = apply_event(session, runtime, attempt_id, CallEvent.CANCEL_REQUESTED, Evidence(reason=REASON))
        if applied is None or applied.attempt.state.settled:
            continue
        if applied.attempt.call_sid:
            sids.append(applied.attempt.call_sid)
        elif applied.attempt.sent_at is None:
            # Its last look can no longer succeed, so certainly nothing is or will be sent.
            apply_event(session, runtime, attempt_id, CallEvent.NOT_SENT, Evidence(reason=REASON))
            called_off += 1
    return sids, called_off
