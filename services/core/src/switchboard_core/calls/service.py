"""The verbs of campaign runs: start, look, pause, resume, cancel, force-cancel."""

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from switchboard_core.calls.admission import NO_CALLER_ID
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.policy import BREAKER_THRESHOLD, Breaker
from switchboard_core.calls.progress import counts, wake_pump
from switchboard_core.calls.schemas import AttemptView, CallJobView, RunCounts, RunCreate, RunView
from switchboard_core.calls.states import CallStatus, RunStatus
from switchboard_core.db import tenant_of
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import OPEN, enqueue, wake_now
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now
from switchboard_core.tenancy.models import Business
from switchboard_core.tenancy.service import record_audit

log = get_logger(__name__)


class RunNotFoundError(LookupError):
    """The business has no such run."""


class RunRefusedError(Exception):
    """The run cannot do that now; the message says why and what to do."""


def start_run(session: Session, runtime: Runtime, order: RunCreate) -> OutboundCallRun:
    """Create a run and its ``enqueue_outbound_calls`` job in one transaction; a worker does the rest.

    Raises:
        RunRefusedError: there is no number to call from.
        SchemaTooOldError: the database has to be migrated first.
    """
    business = session.get_one(Business, tenant_of(session))
    if not order.caller_ids and not business.caller_ids:
        msg = "There is no number to call from: pass caller_ids, or set the business's own with PATCH /api/business."
        raise RunRefusedError(msg)
    hours = order.calling_hours
    run = OutboundCallRun(
        business_id=business.id,
        name=order.name,
        message=order.message,
        record=order.record,
        machine_detection=order.machine_detection,
        ring_timeout_s=order.ring_timeout_s,
        max_attempts=order.max_attempts,
        retry_after_s=order.retry_after_s,
        caller_ids=order.caller_ids,
        calling_from=hours.opens if hours else business.calling_from,
        calling_until=hours.closes if hours else business.calling_until,
        calling_days=hours.mask if hours else business.calling_days,
    )
    session.add(run)
    session.flush()
    job = enqueue(
        session,
        runtime.transport,
        "enqueue_outbound_calls",
        {"run_id": run.id, "leads": order.leads.model_dump(mode="json", exclude_defaults=True)},
        admit_limit=runtime.settings.jobs_admitted_per_business,
    )
    run.background_job_id = job.id
    session.flush()
    runtime.tasks.publish_after_commit(session, job)
    log.info("run created", run_id=run.id, job_id=job.id, business_id=business.id)
    return run


def get_run(session: Session, run_id: int, *, lock: bool = False) -> OutboundCallRun:
    """A run of the session's business.

    Raises:
        RunNotFoundError: it has no such run.
    """
    run = session.get(OutboundCallRun, run_id, with_for_update={"key_share": True} if lock else None)
    if run is None:
        msg = f"There is no run {run_id}."
        raise RunNotFoundError(msg)
    return run


def run_of_job(session: Session, job_id: int, *, lock: bool = False) -> OutboundCallRun:
    """The run whose ``enqueue_outbound_calls`` job has this id.

    Raises:
        RunNotFoundError: the business has no such job.
    """
    query = select(OutboundCallRun).where(OutboundCallRun.background_job_id == job_id)
    run = session.scalars(query.with_for_update(key_share=True) if lock else query).first()
    if run is None:
        msg = f"There is no campaign with job {job_id}."
        raise RunNotFoundError(msg)
    return run


def list_runs(session: Session, *, before_id: int | None = None, limit: int = 50) -> list[OutboundCallRun]:
    """Runs of the session's business, newest first, from below ``before_id``."""
    query = select(OutboundCallRun).order_by(OutboundCallRun.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(OutboundCallRun.id < before_id)
    return list(session.scalars(query))


def view(session: Session, run: OutboundCallRun) -> RunView:
    """A run with its counts, which are its rows."""
    by_status = counts(session, run.id)
    waiting_for, next_at = _waiting(session, run, by_status)
    return RunView(
        id=run.id,
        name=run.name,
        status=run.status,
        reason=run.reason,
        job_id=run.background_job_id,
        counts=RunCounts(
            total=sum(by_status.values()),
            active=sum(number for status, number in by_status.items() if status.active),
            **{status.value: number for status, number in by_status.items()},
        ),
        waiting_for=waiting_for,
        next_call_at=next_at,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def _waiting(
    session: Session, run: OutboundCallRun, by_status: dict[CallStatus, int]
) -> tuple[str | None, datetime | None]:
    """Why nothing is dialled, for people: the breaker, no number to call from, or the time of the next call."""
    if run.status is not RunStatus.RUNNING:
        return None, None
    business = session.get_one(Business, run.business_id)
    now = session.execute(select(db_now())).scalar_one()
    breaker = Breaker(business.breaker_failures, business.breaker_open_until)
    # Also while the verdict on a probe is awaited: nothing else is dialled until the carrier is known to work.
    if by_status.get(CallStatus.QUEUED) and breaker.failures >= BREAKER_THRESHOLD:
        return "the carrier fails; calls are tried again later", breaker.open_until if breaker.is_open(now) else None
    if any(status.active for status, number in by_status.items() if number):
        return None, None
    first = session.execute(
        select(OutboundCallJob.next_attempt_at, OutboundCallJob.reason)
        .where(OutboundCallJob.run_id == run.id, OutboundCallJob.status == CallStatus.QUEUED)
        .order_by(OutboundCallJob.next_attempt_at)
        .limit(1)
    ).first()
    if first is not None and not (run.caller_ids or business.caller_ids):
        return NO_CALLER_ID, None
    if first is None or first.next_attempt_at <= now:
        return None, None
    return first.reason or "the next attempt is not due yet", first.next_attempt_at


def call_jobs(
    session: Session, run_id: int, *, status: CallStatus | None = None, after_id: int = 0, limit: int = 50
) -> list[CallJobView]:
    """Call jobs of a run with their attempts, in order of id."""
    query = (
        select(OutboundCallJob)
        .where(OutboundCallJob.run_id == run_id, OutboundCallJob.id > after_id)
        .order_by(OutboundCallJob.id)
        .limit(limit)
    )
    if status is not None:
        query = query.where(OutboundCallJob.status == status)
    jobs = session.scalars(query).all()
    attempts = session.scalars(
        select(CallAttempt).where(CallAttempt.job_id.in_([job.id for job in jobs])).order_by(CallAttempt.created_at)
    ).all()
    by_job: dict[int, list[AttemptView]] = {}
    for attempt in attempts:
        by_job.setdefault(attempt.job_id, []).append(AttemptView.model_validate(attempt, from_attributes=True))
    return [
        CallJobView(
            id=job.id,
            lead_id=job.lead_id,
            to_number=job.to_number,
            timezone=job.timezone,
            status=job.status,
            reason=job.reason,
            attempts=job.attempts,
            next_attempt_at=job.next_attempt_at if job.status is CallStatus.QUEUED else None,
            calls=by_job.get(job.id, []),
        )
        for job in jobs
    ]


def pause_run(session: Session, run_id: int) -> OutboundCallRun:
    """Place no further call until ``resume_run``; live calls go on.

    Raises:
        RunNotFoundError: the business has no such run.
        RunRefusedError: the run is over.
    """
    run = get_run(session, run_id, lock=True)
    if run.status.terminal:
        msg = f"Run {run_id} is {run.status} and cannot be paused."
        raise RunRefusedError(msg)
    run.status = RunStatus.PAUSED
    log.info("run paused", run_id=run_id)
    return run


def pause_every_run(session: Session, *, reason: str) -> list[int]:
    """Pause each open run of the session's business, in the name of the installation's operator.

    Args:
        session: bound to the business.
        reason: shown with each run until it is resumed.

    Returns:
        The ids of the runs that were not paused already, in order.
    """
    paused = session.scalars(
        update(OutboundCallRun)
        .where(OutboundCallRun.status.in_((RunStatus.PENDING, RunStatus.RUNNING)))
        .values(status=RunStatus.PAUSED, reason=reason)
        .returning(OutboundCallRun.id)
        .execution_options(synchronize_session=False)
    ).all()
    for run_id in paused:
        record_audit(session, actor="operator", action="run.paused", subject=f"run {run_id}", detail={"reason": reason})
        log.info("run paused", run_id=run_id)
    return sorted(paused)


def resume_run(session: Session, runtime: Runtime, run_id: int) -> OutboundCallRun:
    """Go on with a paused run.

    Raises:
        RunNotFoundError: the business has no such run.
        RunRefusedError: the run is over.
    """
    run = get_run(session, run_id, lock=True)
    if run.status.terminal:
        msg = f"Run {run_id} is {run.status} and cannot be resumed. Start a new run."
        raise RunRefusedError(msg)
    run.status = RunStatus.RUNNING if run.expanded_at else RunStatus.PENDING
    run.reason = None
    session.flush()
    if run.background_job_id is not None:
        wake_now(session, runtime.transport, run.background_job_id)
    wake_pump(session, runtime, run)
    log.info("run resumed", run_id=run_id)
    return run


def cancel_run(
    session: Session, runtime: Runtime, job_id: int, *, reason: str = "cancelled on request"
) -> OutboundCallRun:
    """Place no further call for a run, for good; live calls go on to their end.

    From the commit on nothing is admitted, and a call that is about to be sent is called off by its last look. The
    queued jobs are ended by the run's background job, slice by slice.

    Args:
        session: bound to the business.
        runtime: of the process.
        job_id: the run's background job.
        reason: shown with the run.

    Raises:
        RunNotFoundError: the business has no such run.
    """
    run = run_of_job(session, job_id, lock=True)
    if run.status.terminal:
        return run
    run.status = RunStatus.CANCELLED
    run.reason = reason
    session.flush()
    row = session.scalars(
        update(BackgroundJob)
        .where(BackgroundJob.id == job_id, BackgroundJob.status.in_(OPEN))
        .values(
            cancel_requested_at=func.coalesce(BackgroundJob.cancel_requested_at, func.clock_timestamp()),
            admitted_at=func.coalesce(BackgroundJob.admitted_at, func.clock_timestamp()),
            version=BackgroundJob.version + 1,
        )
        .returning(BackgroundJob)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).first()
    if row is not None:
        runtime.tasks.publish_after_commit(session, row)
        wake_now(session, runtime.transport, job_id)
    log.info("run cancelled", run_id=run.id, job_id=job_id)
    return run
