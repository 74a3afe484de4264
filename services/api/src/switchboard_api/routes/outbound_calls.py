"""Campaign runs: start, look, pause, resume, cancel."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from switchboard_api.auth import Agent, Caller, RuntimeDep, Viewer
from switchboard_api.csvs import csv_response, every_item
from switchboard_api.idempotency import IdempotencyDep
from switchboard_api.pagination import Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_core.calls import service
from switchboard_core.calls.cleanup import cleanup_business
from switchboard_core.calls.force_cancel import force_cancel
from switchboard_core.calls.models import OutboundCallRun
from switchboard_core.calls.schemas import CallJobView, CleanupReport, ForceCancelReport, RunCreate, RunView
from switchboard_core.calls.states import CallStatus
from switchboard_core.logs import get_logger
from switchboard_core.tenancy.service import record_audit

log = get_logger(__name__)

router = APIRouter(prefix="/api", tags=["campaigns"])


@router.post("/outbound_calls/runs", summary="Start a campaign", status_code=201, response_model=RunView)
def start_run(order: RunCreate, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Answers at once: workers give every lead its job and place the calls. `job_id` is the task to watch or cancel.

    Numbers are called once per run, in the lead's own calling hours, never if they are on the do-not-call list, and
    never more at once than the business's cap.
    """
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> RunView:
            try:
                run = service.start_run(session, runtime, order)
            except service.RunRefusedError as error:
                raise Problem(422, "Run refused", str(error)) from None
            record_audit(session, actor=caller.actor, action="run.started", subject=f"run {run.id}")
            log.debug("run requested", run_id=run.id, job_id=run.background_job_id, leads=str(order.leads))
            return service.view(session, run)

        return once.run(
            session, effect, status=201, headers=lambda run: {"Location": f"/api/outbound_calls/runs/{run.id}"}
        )


@router.get("/outbound_calls/runs", summary="List campaigns")
def list_runs(caller: Viewer, runtime: RuntimeDep, paging: Paging) -> Page[RunView]:
    """Newest first."""
    with runtime.database.tenant(caller.business_id) as session:
        runs = service.list_runs(session, before_id=paging.after_id, limit=paging.fetch)
        return paging.page([service.view(session, run) for run in runs])


@router.get("/outbound_calls/runs/{run_id}", summary="Show a campaign")
def show_run(run_id: RowId, caller: Viewer, runtime: RuntimeDep) -> RunView:
    """Counts are the rows themselves: `active` is how many calls live right now."""
    with runtime.database.tenant(caller.business_id) as session:
        return service.view(session, _run(session, run_id))


@router.get("/outbound_calls/runs/{run_id}/calls", summary="List the calls of a campaign")
def list_calls(
    run_id: RowId,
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    status: Annotated[CallStatus | None, Query(description="Only jobs in this state.")] = None,
) -> Page[CallJobView]:
    """One job a lead, with each attempt."""
    with runtime.database.tenant(caller.business_id) as session:
        _run(session, run_id)
        jobs = service.call_jobs(session, run_id, status=status, after_id=paging.after_id or 0, limit=paging.fetch)
        return paging.page(jobs)


@router.get(
    "/outbound_calls/runs/{run_id}/results.csv",
    summary="Download the results of a campaign",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "text/csv": {
                    "example": "lead_id,to_number,status,reason,attempts,answered_by,duration_s\r\n"
                    "17,'+14155550117,completed,,1,human,42\r\n"
                }
            },
            "description": "One line a lead.",
        }
    },
)
def results(run_id: RowId, caller: Viewer, runtime: RuntimeDep) -> StreamingResponse:
    """One line a lead, with the last call to it, however many there are."""
    with runtime.database.tenant(caller.business_id) as session:
        _run(session, run_id)

    def read(after_id: int | None, limit: int) -> list[CallJobView]:
        with runtime.database.tenant(caller.business_id) as session:
            return service.call_jobs(session, run_id, after_id=after_id or 0, limit=limit)

    rows = (
        (
            job.lead_id,
            job.to_number,
            job.status.value,
            job.reason,
            job.attempts,
            job.calls[-1].answered_by if job.calls else None,
            job.calls[-1].duration_s if job.calls else None,
        )
        for job in every_item(read)
    )
    header = ("lead_id", "to_number", "status", "reason", "attempts", "answered_by", "duration_s")
    return csv_response(f"run-{run_id}-results.csv", header, rows)


@router.post("/outbound_calls/runs/{run_id}/pause", summary="Pause a campaign", response_model=RunView)
def pause(run_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """No further call is placed until it is resumed; calls that live go on."""
    with runtime.database.tenant(caller.business_id) as session:
        return _change(session, caller, once, "run.paused", lambda: service.pause_run(session, run_id))


@router.post("/outbound_calls/runs/{run_id}/resume", summary="Resume a campaign", response_model=RunView)
def resume(run_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Goes on where it was paused."""
    with runtime.database.tenant(caller.business_id) as session:
        return _change(session, caller, once, "run.resumed", lambda: service.resume_run(session, runtime, run_id))


@router.post("/outbound_calls/jobs/{job_id}/cancel", summary="Cancel a campaign", response_model=RunView)
def cancel(job_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """No further call is placed, for good; calls that live go on to their end. `job_id` is the run's task."""
    with runtime.database.tenant(caller.business_id) as session:
        return _change(session, caller, once, "run.cancelled", lambda: service.cancel_run(session, runtime, job_id))


@router.post("/outbound_calls/jobs/{job_id}/force-cancel", summary="Cancel a campaign and hang up")
def force(job_id: RowId, caller: Agent, runtime: RuntimeDep) -> ForceCancelReport:
    """Also ends the calls that live, from this request, with or without workers.

    Repeating it does no harm. `pending` calls are being ended still and keep their slots until the carrier's word.
    """
    try:
        report = force_cancel(runtime, caller.business_id, job_id)
    except service.RunNotFoundError:
        raise not_found(f"campaign with job {job_id}") from None
    with runtime.database.tenant(caller.business_id) as session:
        record_audit(session, actor=caller.actor, action="run.force_cancelled", subject=f"run {report.run_id}")
    return report


@router.post("/outbound/cleanup-stuck-jobs", summary="Clean up stuck calls and campaigns")
def cleanup(caller: Agent, runtime: RuntimeDep) -> CleanupReport:
    """Of your business only, and on evidence: the carrier is asked about every call that fell silent."""
    return cleanup_business(runtime, caller.business_id)


def _run(session: Session, run_id: int) -> OutboundCallRun:
    try:
        return service.get_run(session, run_id)
    except service.RunNotFoundError:
        raise not_found(f"run {run_id}") from None


def _change(
    session: Session, caller: Caller, once: IdempotencyDep, action: str, change: Callable[[], OutboundCallRun]
) -> Response:
    def effect() -> RunView:
        try:
            run = change()
        except service.RunNotFoundError as error:
            raise Problem(404, "Not found", str(error)) from None
        except service.RunRefusedError as error:
            raise Problem(409, "Run is over", str(error)) from None
        record_audit(session, actor=caller.actor, action=action, subject=f"run {run.id}")
        return service.view(session, run)

    return once.run(session, effect, status=200)
