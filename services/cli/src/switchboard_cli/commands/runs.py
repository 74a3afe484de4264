"""``switchboard run``: start a campaign, watch it, pause, resume, cancel."""

from typing import Annotated, Any

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.commands.run_order import Detection, RunOrder, parse_retries
from switchboard_cli.follow import follow_run
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, moment, styled
from switchboard_cli.watching import COUNTED, sight_of_run, watch

app = typer.Typer(no_args_is_help=True, help="Campaign runs: calls to many leads.")

RunId = Annotated[int, typer.Argument(help="Id of the run.", min=1)]
RUNS = "/api/outbound_calls/runs"


@app.callback()
def _group() -> None:
    """Campaign runs: calls to many leads."""


@app.command(
    "start",
    epilog='Example: [bold]switchboard run start "Spring renewal" --message "Hello {name}, please call us back." '
    "--tag spring --retry busy=300 --watch[/bold]",
)
def start(
    name: Annotated[str, typer.Argument(help="For people.")],
    message: Annotated[str, typer.Option(help="Spoken to who answers; {name} is the lead's name.")],
    every_lead: Annotated[bool, typer.Option("--all", help="Call every lead.", rich_help_panel="Whom")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="Leads with this tag.", rich_help_panel="Whom")] = None,
    import_id: Annotated[int | None, typer.Option(help="Leads of this import.", rich_help_panel="Whom")] = None,
    lead: Annotated[list[int] | None, typer.Option(help="This lead, by id.", rich_help_panel="Whom")] = None,
    caller_id: Annotated[
        list[str] | None, typer.Option(help="Call from this number. Default: those of the business.")
    ] = None,
    max_attempts: Annotated[int, typer.Option(help="Calls to one lead at most.")] = 3,
    retry: Annotated[
        list[str] | None,
        typer.Option(help="outcome=seconds until the next attempt: busy, no_answer, machine, failed."),
    ] = None,
    detect: Annotated[Detection, typer.Option(help="Answering machines: detect and note, or hang up.")] = Detection.OFF,
    record: Annotated[bool, typer.Option("--record/--no-record", help="Record the calls.")] = True,
    ring_timeout: Annotated[int, typer.Option(help="Seconds to let it ring.")] = 30,
    hours: Annotated[
        str | None,
        typer.Option(help="Calling hours, local time of the lead: 09:00-20:00. Default: those of the business."),
    ] = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Watch it until its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Start a campaign run. It answers at once; workers place the calls."""
    order = RunOrder(
        name=name,
        message=message,
        every_lead=every_lead,
        tags=tag or [],
        import_id=import_id,
        lead_ids=lead or [],
        caller_ids=caller_id or [],
        max_attempts=max_attempts,
        retries=parse_retries(retry) if retry else None,
        detection=detect,
        record=record,
        ring_timeout_s=ring_timeout,
        hours=hours,
    )
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        run = api.post(RUNS, order.body())
        if watch_it:
            _watch(output, api, run["id"])
            return
    if as_json:
        output.json(run)
    else:
        output.line(f"Started run {run['id']}.")
        output.note(f"To watch it: switchboard run watch {run['id']}")


@app.command("list", epilog="Example: [bold]switchboard run list[/bold]")
def list_runs(limit: Limit = 50, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """List runs, newest first."""
    with ApiClient(url, api_key) as api:
        runs = api.items(RUNS, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(runs)
        return
    rows = [
        (
            run["id"],
            run["name"],
            styled(run["status"]),
            run["counts"]["active"],
            run["counts"]["queued"],
            run["counts"]["completed"],
            run["counts"]["total"],
            moment(run["created_at"]),
            moment(run["finished_at"]),
        )
        for run in runs
    ]
    output.table(("id", "name", "status", "active", "queued", "completed", "total", "created", "finished"), rows)


@app.command("show", epilog="Example: [bold]switchboard run show 3[/bold]")
def show(run_id: RunId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Show a run with its calls by status."""
    with ApiClient(url, api_key) as api:
        run = api.get(f"{RUNS}/{run_id}")
    _print(Output(as_json=as_json), run)


@app.command("watch", epilog="Example: [bold]switchboard run watch 3[/bold]")
def watch_run(run_id: RunId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Watch a run until its end; exits with 0 when it completed, otherwise with 1.

    Ctrl-C stops the watching only. With --json each change is one line.
    """
    with ApiClient(url, api_key) as api:
        _watch(Output(as_json=as_json), api, run_id)


@app.command("pause", epilog="Example: [bold]switchboard run pause 3[/bold]")
def pause(run_id: RunId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Place no further call until it is resumed; calls that live go on."""
    with ApiClient(url, api_key) as api:
        run = api.post(f"{RUNS}/{run_id}/pause")
    _print(Output(as_json=as_json), run)


@app.command("resume", epilog="Example: [bold]switchboard run resume 3[/bold]")
def resume(run_id: RunId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Go on with a paused run."""
    with ApiClient(url, api_key) as api:
        run = api.post(f"{RUNS}/{run_id}/resume")
    _print(Output(as_json=as_json), run)


@app.command("cancel", epilog="Example: [bold]switchboard run cancel 3 --force[/bold]")
def cancel(
    run_id: RunId,
    force: Annotated[bool, typer.Option("--force", help="Also hang up the calls that live.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Place no further call, for good; calls that live go on to their end unless --force hangs them up."""
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        job_id = api.get(f"{RUNS}/{run_id}")["job_id"]
        verb = "force-cancel" if force else "cancel"
        answer: Json = api.post(f"/api/outbound_calls/jobs/{job_id}/{verb}")
    if not force:
        _print(output, answer)
    elif as_json:
        output.json(answer)
    else:
        output.record({"run": run_id, **{name: answer[name] for name in ("canceled", "hung_up", "pending")}})


def _watch(output: Output, api: ApiClient, run_id: int) -> None:
    stopped = f"Run {run_id} goes on. To cancel it: switchboard run cancel {run_id}"
    run = watch(output, follow_run(api, run_id), sight_of_run, if_stopped=stopped)
    if run["status"] != "completed":
        raise typer.Exit(1)


def _print(output: Output, run: Json) -> None:
    if output.as_json:
        output.json(run)
        return
    counts = run["counts"]
    fields: dict[str, Any] = {
        "run": run["id"],
        "name": run["name"],
        "status": styled(run["status"]),
        "reason": run["reason"],
        "waiting for": run["waiting_for"],
        "next call": moment(run["next_call_at"]),
        "task": run["job_id"],
        "created": moment(run["created_at"]),
        "started": moment(run["started_at"]),
        "finished": moment(run["finished_at"]),
        "leads": counts["total"],
        "active": counts["active"],
    }
    fields |= {status: counts[status] for status in COUNTED if counts[status]}
    output.record({name: value for name, value in fields.items() if value not in (None, "")})
