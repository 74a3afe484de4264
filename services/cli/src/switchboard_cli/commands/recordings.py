"""``switchboard recordings``: what was recorded, and what was said."""

from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, styled

app = typer.Typer(no_args_is_help=True, help="Recordings of calls and their transcripts.")

_COLUMNS = ("id", "run", "status", "seconds", "bytes", "transcript")


@app.callback()
def _group() -> None:
    """Recordings of calls and their transcripts."""


@app.command("list", epilog="Example: [bold]switchboard recordings list --run 3[/bold]")
def list_recordings(
    run: Annotated[int | None, typer.Option(help="Only those of this campaign run.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those in this state, such as completed or absent.")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List recordings, newest first."""
    with ApiClient(url, api_key) as api:
        found = api.items("/api/recordings", {"run_id": run, "status": status}, limit=limit)
    _show(Output(as_json=as_json), found)


@app.command("search", epilog='Example: [bold]switchboard recordings search "call me back"[/bold]')
def search(
    words: Annotated[str, typer.Argument(help='What was said. "a phrase", -without, or.')],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="Show so many at most.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Search what was said in calls, best match first."""
    with ApiClient(url, api_key) as api:
        found = api.get("/api/recordings/search", {"q": words, "limit": limit})
    _show(Output(as_json=as_json), found)


def _show(output: Output, recordings: list[Json]) -> None:
    if output.as_json:
        output.json(recordings)
        return
    rows = [
        (
            recording["id"],
            recording["run_id"],
            styled(recording["status"]),
            None if recording["duration_ms"] is None else round(recording["duration_ms"] / 1000, 1),
            recording["bytes"],
            recording["transcript"] or recording["reason"],
        )
        for recording in recordings
    ]
    output.table(_COLUMNS, rows)
