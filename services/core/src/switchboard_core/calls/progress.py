"""Keeps a run's background job and the fate of its call jobs in one transaction, so that no counter can drift."""

from datetime import datetime

from sqlalchemy import case, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from switchboard_core.calls.models import OutboundCallJob, OutboundCallRun
from switchboard_core.calls.states import CallStatus
from switchboard_core.jobs.kernel import MAX_ERRORS
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import OPEN, wake_now
from switchboard_core.jobs.transport import process_next_wakeup
from switchboard_core.runtime import Runtime


def finish_job(
    session: Session,
    runtime: Runtime,
    run: OutboundCallRun,
    job: OutboundCallJob,
    status: CallStatus,
    reason: str | None,
    *,
    now: datetime,
) -> None:
    """End a call job and count it in the run's background job, in the session's transaction.

    The last one wakes the background job, which closes the run. ``now`` is the database's time.
    """
    job.status = status
    job.reason = reason
    job.finished_at = job.updated_at = now
    session.flush()
    if run.background_job_id is None:
        return
    failed = status is CallStatus.FAILED
    values = {
        "done": BackgroundJob.done + (0 if failed else 1),
        "failed": BackgroundJob.failed + (1 if failed else 0),
        "version": BackgroundJob.version + 1,
    }
    if failed:
        entry = [{"item": f"lead {job.lead_id}", "message": reason or "the call failed"}]
        full = func.jsonb_array_length(BackgroundJob.errors) >= MAX_ERRORS
        values["errors"] = case(
            (full, BackgroundJob.errors), else_=BackgroundJob.errors.op("||")(literal(entry, JSONB))
        )
    row = session.scalars(
        update(BackgroundJob)
        .where(BackgroundJob.id == run.background_job_id, BackgroundJob.status.in_(OPEN))
        .values(values)
        .returning(BackgroundJob)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).first()
    if row is None:
        return
    runtime.tasks.publish_after_commit(session, row)
    if run.expanded_at is not None and row.total is not None and row.done + row.failed >= row.total:
        wake_now(session, runtime.transport, row.id)


def recount(session: Session, runtime: Runtime, run: OutboundCallRun) -> BackgroundJob | None:
    """Make the counters of a run's background job what its call jobs say; None where it has no background job."""
    # Locked before anything is counted: who ends a call job meanwhile counts it behind this, or has been seen by it.
    row = session.get(BackgroundJob, run.background_job_id, with_for_update={"key_share": True}, populate_existing=True)
    if row is None:
        return None
    by_status = counts(session, run.id)
    failed = by_status[CallStatus.FAILED]
    row.done = sum(number for status, number in by_status.items() if status.terminal) - failed
    row.failed = failed
    if run.expanded_at is not None:
        row.total = sum(by_status.values())
    row.version += 1
    session.flush()
    runtime.tasks.publish_after_commit(session, row)
    return row


def wake_pump(session: Session, runtime: Runtime, run: OutboundCallRun) -> None:
    """Wake the pump of the run's business once the transaction is committed."""
    if run.background_job_id is None:
        return
    runtime.transport.wake_after_commit(session, process_next_wakeup(run.background_job_id, run.id, run.business_id))


def counts(session: Session, run_id: int) -> dict[CallStatus, int]:
    """Call jobs of a run by status; statuses without a job are zero."""
    rows = session.execute(
        select(OutboundCallJob.status, func.count())
        .where(OutboundCallJob.run_id == run_id)
        .group_by(OutboundCallJob.status)
    )
    found = {row[0]: row[1] for row in rows}
    return {status: found.get(status, 0) for status in CallStatus}
