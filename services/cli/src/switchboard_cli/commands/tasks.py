"""``switchboard tasks``: background work, how far it is and what failed."""

from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.follow import follow_task
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, moment, styled
from switchboard_cli.watching import sight_of_task, watch

app = typer.Typer(no_args_is_help=True, help="Background tasks: campaigns, bulk changes and the like.")

TaskId = Annotated[int, typer.Argument(help="Id of the task.", min=1)]


@app.callback()
def _group() -> None:
    """Background tasks: campaigns, bulk changes and the like."""


@app.command("list", epilog="Example: [bold]switchboard tasks list --status running[/bold]")
def list_tasks(
    status: Annotated[
        str | None, typer.Option(help="pending, running, completed, failed or cancelled.", metavar="STATUS")
    ] = None,
    job_type: Annotated[str | None, typer.Option("--type", help="Such as delete_leads.")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with ApiClient(url, api_key) as api:
        tasks = api.items("/api/tasks", {"status": status, "job_type": job_type}, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(tasks)
        return
    rows = [
        (
            task["id"],
            task["job_type"],
            styled(task["status"]),
            task["done"],
            task["failed"],
            task["total"],
            moment(task["created_at"]),
            moment(task["finished_at"]),
        )
        for task in tasks
    ]
    output.table(("id", "type", "status", "done", "failed", "total", "created", "finished"), rows)


@app.command("show", epilog="Example: [bold]switchboard tasks show 123[/bold]")
def show(task_id: TaskId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Show a task with its first errors."""
    with ApiClient(url, api_key) as api:
        task = api.get(f"/api/tasks/{task_id}")
    _print(Output(as_json=as_json), task)


@app.command("cancel", epilog="Example: [bold]switchboard tasks cancel 123[/bold]")
def cancel(task_id: TaskId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Cancel a task. What was done so far stays done."""
    with ApiClient(url, api_key) as api:
        task = api.post(f"/api/tasks/{task_id}/cancel")
    _print(Output(as_json=as_json), task)


@app.command("watch", epilog="Example: [bold]switchboard tasks watch 123[/bold]")
def watch_task(task_id: TaskId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Watch a task until its end; exits with 0 when it completed, otherwise with 1.

    Ctrl-C stops the watching only. With --json each change is one line.
    """
    output = Output(as_json=as_json)
    stopped = f"Task {task_id} goes on. To cancel it: switchboard tasks cancel {task_id}"
    with ApiClient(url, api_key) as api:
        task = watch(output, follow_task(api, task_id), sight_of_task, if_stopped=stopped)
    if task["status"] != "completed":
        raise typer.Exit(1)


def _print(output: Output, task: Json) -> None:
    if output.as_json:
        output.json(task)
        return
    output.record(
        {
            "task": task["id"],
            "type": task["job_type"],
            "queue": task["queue"],
            "status": styled(task["status"]),
            "reason": task["reason"],
            "done": task["done"],
            "failed": task["failed"],
            "total": task["total"],
            "cancel requested": task["cancel_requested"],
            "created": moment(task["created_at"]),
            "started": moment(task["started_at"]),
            "finished": moment(task["finished_at"]),
        }
    )
    if task["errors"]:
        output.table(("item", "what is wrong"), [(error["item"], error["message"]) for error in task["errors"]])
