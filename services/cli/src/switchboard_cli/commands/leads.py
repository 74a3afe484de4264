"""``switchboard leads``: bring leads in, look at them, change many at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.commands import leads_bulk
from switchboard_cli.errors import CliError
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output

app = typer.Typer(no_args_is_help=True, help="Leads: the people to call.")

_CHUNK_BYTES = 64 * 1024
_ERRORS_SHOWN = 20


@app.callback()
def _group() -> None:
    """Leads: the people to call."""


@app.command("import", epilog="Example: [bold]switchboard leads import examples/leads.csv --region US[/bold]")
def import_leads(
    file: Annotated[Path, typer.Argument(help="A CSV; its first line names the columns, phone is needed.")],
    region: Annotated[
        str | None, typer.Option(help="Country of numbers without a country code, in two letters such as US.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Where neither file nor number says one. Default: that of the business.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Import leads from a CSV and say what became of its rows.

    A malformed file imports nothing. A wrong row is rejected and reported, and the rest goes on. A number that is
    known has its lead updated.
    """
    require_file(file)
    with ApiClient(url, api_key) as api:
        report = upload_leads(api, file, region=region, timezone=timezone)
    output = Output(as_json=as_json)
    if as_json:
        output.json(report)
    else:
        show_import(output, report)


@app.command("list", epilog="Example: [bold]switchboard leads list --tag spring --limit 20[/bold]")
def list_leads(
    tag: Annotated[list[str] | None, typer.Option(help="Has this tag; repeated: one of them.")] = None,
    import_id: Annotated[int | None, typer.Option(help="Was in this import.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA time zone.")] = None,
    search: Annotated[str | None, typer.Option(help="Part of a name, or last digits of a number.")] = None,
    do_not_call: Annotated[
        bool | None, typer.Option("--do-not-call/--callable", help="Is, or is not, on the do-not-call list.")
    ] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List leads, oldest first."""
    params = {
        "tag": tag or None,
        "import_id": import_id,
        "timezone": timezone,
        "search": search,
        "do_not_call": do_not_call,
    }
    with ApiClient(url, api_key) as api:
        leads = api.items("/api/leads", params, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(leads)
        return
    columns = ("id", "phone", "name", "timezone", "tags", "do not call")
    rows = [
        (lead["id"], lead["phone"], lead["name"], lead["timezone"], lead["tags"], lead["do_not_call"]) for lead in leads
    ]
    output.table(columns, rows)
    if len(leads) == limit:
        output.note(f"These are the first {limit}; there may be more (--limit).")


app.command("delete", epilog=leads_bulk.DELETE_EXAMPLE)(leads_bulk.delete)
app.command("update", epilog=leads_bulk.UPDATE_EXAMPLE)(leads_bulk.update)
app.command("delete-import", epilog=leads_bulk.DELETE_IMPORT_EXAMPLE)(leads_bulk.delete_import)
app.command("restore", epilog=leads_bulk.RESTORE_EXAMPLE)(leads_bulk.restore)


def require_file(file: Path) -> None:
    """Check that a CSV can be read.

    Raises:
        CliError: it cannot.
    """
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.") from None


def upload_leads(api: ApiClient, file: Path, *, region: str | None = None, timezone: str | None = None) -> Json:
    """Import a CSV through the api; returns the report.

    Raises:
        ApiError: the api refuses the file; nothing was imported.
    """
    params = {"default_region": region, "default_timezone": timezone, "filename": file.name}
    report: Json = api.upload("/api/leads/import", lambda: _chunks(file), params)
    return report


def show_import(output: Output, report: Json) -> None:
    """Print what became of the rows of a CSV."""
    output.record(
        {
            "import": report["id"],
            "rows": report["total"],
            "created": report["created"],
            "updated": report["updated"],
            "duplicates": report["duplicates"],
            "rejected": report["rejected"],
            "do not call": report["do_not_call"],
        }
    )
    errors = report["errors"]
    if errors:
        rows = [(error["line"], error["column"], error["message"]) for error in errors[:_ERRORS_SHOWN]]
        output.table(("line", "column", "what is wrong"), rows)
    if len(errors) > _ERRORS_SHOWN:
        output.note(f"All errors: GET /api/leads/imports/{report['id']}/errors")


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
