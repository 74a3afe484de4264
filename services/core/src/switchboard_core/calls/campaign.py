"""The task ``enqueue_outbound_calls``: gives every lead of a run its call job, then watches the run to its end."""

from functools import partial
from typing import Any

from sqlalchemy import BigInteger, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from switchboard_core.calls.models import OutboundCallJob, OutboundCallRun
from switchboard_core.calls.progress import counts, wake_pump
from switchboard_core.calls.states import CallStatus, RunStatus
from switchboard_core.jobs.slices import Cursor, OwningTask, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.models import Lead
from switchboard_core.leads.service import select_ids_after
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

WATCH_S = 30.0
"""How often the run's heartbeat is renewed and its end looked for, when no event wakes it earlier."""

_ENDS_AS = {
    RunStatus.CANCELLED: JobStatus.CANCELLED,
    RunStatus.FAILED: JobStatus.FAILED,
    RunStatus.COMPLETED: JobStatus.COMPLETED,
}


def task(runtime: Runtime) -> OwningTask:
    """``enqueue_outbound_calls``, with what becomes of its run when it fails."""
    return OwningTask(partial(enqueue_outbound_calls, runtime), run_failed)


def enqueue_outbound_calls(
    runtime: Runtime, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None
) -> Slice:
    """One slice of a run's life: expand leads into call jobs, wind down after a cancel, or watch.

    Args:
        runtime: of the worker.
        ctx: of the slice.
        payload: ``run_id`` and the ``leads`` filter.
        cursor: ``after_lead`` while it expands, ``watch`` afterwards.
    """
    run = ctx.session.get(OutboundCallRun, int(payload["run_id"]), with_for_update={"key_share": True})
    if run is None:
        return Slice(ends_as=JobStatus.FAILED, reason="The run was deleted.")
    run.heartbeat_at = ctx.session.execute(select(db_now())).scalar_one()
    if run.status.terminal:
        return _wind_down(ctx, run, cursor)
    if run.expanded_at is None:
        return _expand(runtime, ctx, run, payload, cursor or {"after_lead": 0})
    return _watch(runtime, ctx, run)


def run_failed(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None, reason: str) -> Slice:
    """End the run of a task that the kernel fails: no further call is placed, and live calls go on to their end.

    From the commit on nothing is admitted, as after a cancel, and further slices wind the run down.

    Args:
        ctx: of the slice.
        payload: of the task.
        cursor: of the task.
        reason: shown with the run and with the calls that are not placed any more.
    """
    run = ctx.session.get(OutboundCallRun, int(payload["run_id"]), with_for_update={"key_share": True})
    if run is None:
        return Slice(ends_as=JobStatus.FAILED, reason=reason)
    run.heartbeat_at = ctx.session.execute(select(db_now())).scalar_one()
    if not run.status.terminal:
        run.status, run.reason = RunStatus.FAILED, reason
        log.error("run failed", run_id=run.id, reason=reason)
    return _wind_down(ctx, run, cursor)


def _expand(
    runtime: Runtime, ctx: SliceContext, run: OutboundCallRun, payload: dict[str, Any], cursor: Cursor
) -> Slice:
    session = ctx.session
    lead_filter = LeadFilter.model_validate(payload["leads"])
    if run.started_at is None:
        run.started_at = run.heartbeat_at
    after = int(cursor["after_lead"])
    while True:
        ids = select_ids_after(session, lead_filter, after, ctx.limit)
        if not ids:
            return _expanded(runtime, ctx, run)
        leads = select(Lead.business_id, literal(run.id, BigInteger), Lead.id, Lead.phone, Lead.timezone).where(
            Lead.id.in_(ids)
        )
        session.execute(
            insert(OutboundCallJob)
            .from_select(["business_id", "run_id", "lead_id", "to_number", "timezone"], leads)
            .on_conflict_do_nothing(index_elements=["run_id", "to_number"])
        )
        after = ids[-1]
        # Looked at behind a batch: a slice that did nothing would come again and again on a machine that is too slow.
        if ctx.out_of_time:
            break
    total = sum(counts(session, run.id).values())
    log.debug("run expanding", run_id=run.id, after_lead=after, jobs=total)
    return Slice(next_cursor={"after_lead": after}, total=total)


def _expanded(runtime: Runtime, ctx: SliceContext, run: OutboundCallRun) -> Slice:
    by_status = counts(ctx.session, run.id)
    run.expanded_at = ctx.session.execute(select(db_now())).scalar_one()
    if run.status is RunStatus.PENDING:
        run.status = RunStatus.RUNNING
    total = sum(by_status.values())
    log.info("run expanded", run_id=run.id, jobs=total)
    wake_pump(ctx.session, runtime, run)
    # The last job may have ended while the run was still expanding: look at once, not only when woken.
    return Slice(next_cursor={"watch": True}, total=total)


def _watch(runtime: Runtime, ctx: SliceContext, run: OutboundCallRun) -> Slice:
    by_status = counts(ctx.session, run.id)
    log.debug("run watched", run_id=run.id, **{state.value: number for state, number in by_status.items() if number})
    if all(status.terminal for status, number in by_status.items() if number):
        return _close(ctx, run, RunStatus.COMPLETED, by_status)
    if run.status is RunStatus.RUNNING and by_status[CallStatus.QUEUED]:
        wake_pump(ctx.session, runtime, run)
    return Slice(next_cursor={"watch": True}, sleep_s=WATCH_S)


def _wind_down(ctx: SliceContext, run: OutboundCallRun, cursor: Cursor | None) -> Slice:
    """After a cancel or a failure: end the queued jobs, a chunk a slice, then wait for the live calls."""
    chunk = (
        select(OutboundCallJob.id)
        .where(OutboundCallJob.run_id == run.id, OutboundCallJob.status == CallStatus.QUEUED)
        .limit(5 * ctx.limit)
        .with_for_update(skip_locked=True)
    )
    ended = ctx.session.scalars(
        update(OutboundCallJob)
        .where(OutboundCallJob.id.in_(chunk.scalar_subquery()))
        .values(status=CallStatus.CANCELED, reason=run.reason, finished_at=db_now(), updated_at=db_now())
        .returning(OutboundCallJob.id)
        .execution_options(synchronize_session=False)
    ).all()
    ctx.done += len(ended)
    by_status = counts(ctx.session, run.id)
    if by_status[CallStatus.QUEUED]:
        return Slice(next_cursor=cursor or {"watch": True})
    if any(status.active for status, number in by_status.items() if number):
        return Slice(next_cursor=cursor or {"watch": True}, sleep_s=WATCH_S, total=sum(by_status.values()))
    return _close(ctx, run, run.status, by_status)


def _close(ctx: SliceContext, run: OutboundCallRun, status: RunStatus, by_status: dict[CallStatus, int]) -> Slice:
    run.status = status
    if run.expanded_at is None:
        run.expanded_at = run.heartbeat_at
    run.finished_at = ctx.session.execute(select(db_now())).scalar_one()
    result = {state.value: number for state, number in by_status.items() if number}
    log.info("run finished", run_id=run.id, status=str(status), **result)
    return Slice(total=sum(by_status.values()), result={"calls": result}, ends_as=_ENDS_AS[status], reason=run.reason)
