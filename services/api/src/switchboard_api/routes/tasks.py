"""Background tasks: what they do, how far they are, what failed."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from switchboard_api.auth import Agent, Caller, RuntimeDep, Viewer
from switchboard_api.csvs import csv_response
from switchboard_api.idempotency import IdempotencyDep
from switchboard_api.pagination import Page, Paging, RowId
from switchboard_api.tickets import Ticket, issue_ticket
from switchboard_core.calls.service import cancel_run
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.jobs.states import JobStatus
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import record_audit

router = APIRouter(prefix="/api/tasks", tags=["tasks"])

CAMPAIGN = "enqueue_outbound_calls"


@router.get("", summary="List tasks")
def list_tasks(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    status: Annotated[JobStatus | None, Query(description="Only tasks in this state.")] = None,
    job_type: Annotated[
        str | None, Query(max_length=64, description="Only tasks of this type, such as `delete_leads`.")
    ] = None,
) -> Page[TaskSnapshot]:
    """Newest first."""
    with runtime.database.tenant(caller.business_id) as session:
        tasks = runtime.tasks.list(
            session, status=status, job_type=job_type, before_id=paging.after_id, limit=paging.fetch
        )
        return paging.page(tasks)


@router.get("/{task_id}", summary="Show a task")
def show_task(task_id: RowId, caller: Viewer, runtime: RuntimeDep) -> TaskSnapshot:
    """The same numbers as on the WebSocket, for pollers."""
    with runtime.database.tenant(caller.business_id) as session:
        return runtime.tasks.get(session, task_id)


@router.post("/{task_id}/cancel", summary="Cancel a task", response_model=TaskSnapshot)
def cancel_task(task_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """What was done so far stays done. A task that is over stays as it is.

    Cancelling a campaign's task cancels the campaign: no further call is placed, calls that live go on to their end.
    """
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> TaskSnapshot:
            before = runtime.tasks.get(session, task_id)
            if before.status.terminal:
                return before
            if before.job_type == CAMPAIGN:
                cancel_run(session, runtime, job_id=task_id)
                session.expire_all()
                after = runtime.tasks.get(session, task_id)
            else:
                after = runtime.tasks.cancel(session, task_id)
            record_audit(session, actor=caller.actor, action="task.cancelled", subject=f"task {task_id}")
            return after

        return once.run(session, effect, status=200)


@router.get(
    "/{task_id}/errors.csv",
    summary="Download a task's errors",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/csv": {"example": "item,message\r\n4711,The lead was deleted meanwhile.\r\n"}},
            "description": "One line for each item that failed, the first 1,000 at most.",
        }
    },
)
def task_errors(task_id: RowId, caller: Viewer, runtime: RuntimeDep) -> StreamingResponse:
    """Cells that a spreadsheet would take for a formula begin with an apostrophe."""
    task = _task(runtime, caller, task_id)
    rows = [(error.item, error.message) for error in task.errors]
    return csv_response(f"task-{task_id}-errors.csv", ("item", "message"), rows)


@router.post("/{task_id}/ticket", summary="Get a ticket for the WebSocket", status_code=201)
def ticket(task_id: RowId, caller: Viewer, runtime: RuntimeDep) -> Ticket:
    """For browsers, which cannot send an Authorization header with a WebSocket.

    Open `/ws/tasks/{id}?ticket=…` within 30 seconds; the ticket opens this one task once. The socket sends a snapshot
    of the task as JSON at once and after each change, each with a higher `version`, and closes (1000) after the last
    one; `{"type": "ping"}` comes when nothing has changed for a while. It closes with 4401 without a valid key or
    ticket, 4404 when there is no such task, 1011 on an error: then poll `GET /api/tasks/{id}`.
    """
    task = _task(runtime, caller, task_id)
    return issue_ticket(runtime.redis, caller, task.id)


def _task(runtime: Runtime, caller: Caller, task_id: int) -> TaskSnapshot:
    with runtime.database.tenant(caller.business_id) as session:
        return runtime.tasks.get(session, task_id)
