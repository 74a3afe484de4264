"""``switchboard ledger``: transactions and counterparties of an accounting system."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient, Params
from switchboard_cli.errors import CliError
from switchboard_cli.follow import follow_task
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, cell, moment, styled
from switchboard_cli.watching import sight_of_task, watch

app = typer.Typer(no_args_is_help=True, help="Transactions and counterparties of an accounting system.")

_CHUNK_BYTES = 64 * 1024
_ERRORS_SHOWN = 20

ConnectionId = Annotated[int, typer.Argument(help="Id of the connection.", min=1)]
OfConnection = Annotated[int | None, typer.Option("--connection", help="Came through this connection.", min=1)]
Deleted = Annotated[bool, typer.Option("--deleted", help="Those that were deleted in the accounting system.")]


@app.callback()
def _group() -> None:
    """Transactions and counterparties of an accounting system."""


@app.command(
    "connect", epilog="Example: [bold]switchboard ledger connect Books --base-url https://books.example.com/api[/bold]"
)
def connect(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    base_url: Annotated[
        str | None, typer.Option(help="Of the accounting system's API. Without one, the connection takes CSV files.")
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="SWITCHBOARD_LEDGER_TOKEN",
            show_envvar=True,
            show_default=False,
            help="The API's bearer token; asked for where it is not in the environment.",
        ),
    ] = "",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Connect an accounting system, whose first page is tried at once, or make room for CSV files."""
    order: Json = {"name": name, "kind": "csv"}
    if base_url is not None:
        secret = token or typer.prompt("Token", hide_input=True, err=True)
        order = {"name": name, "kind": "api", "base_url": base_url, "token": secret}
    with ApiClient(url, api_key) as api:
        made = api.post("/api/ledger/connections", order)
    output = Output(as_json=as_json)
    if as_json:
        output.json(made)
        return
    output.record(_connection(made))
    if made["kind"] == "api":
        output.note(f"Next: switchboard ledger sync {made['id']}")


@app.command("connections", epilog="Example: [bold]switchboard ledger connections[/bold]")
def connections(limit: Limit = 50, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """List connections, and how the last sync of each ended."""
    with ApiClient(url, api_key) as api:
        found = api.items("/api/ledger/connections", limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    columns = ("connection", "name", "kind", "state", "last synced", "reason")
    output.table(columns, [[_connection(each)[name] for name in columns] for each in found])


@app.command("sync", epilog="Example: [bold]switchboard ledger sync 3 --watch[/bold]")
def sync(
    connection_id: ConnectionId,
    watching: Annotated[
        bool, typer.Option("--watch", help="Watch it until its end; exits with 1 if it fails.")
    ] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Sync a connection in the background: what is new or changed since the last time."""
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        task = api.post(f"/api/ledger/connections/{connection_id}/sync")
        if watching:
            stopped = f"The sync goes on. To cancel it: switchboard tasks cancel {task['id']}"
            task = watch(output, follow_task(api, task["id"]), sight_of_task, if_stopped=stopped)
            if task["status"] != "completed":
                raise typer.Exit(1)
            return
    if as_json:
        output.json(task)
        return
    output.record({"task": task["id"], "status": styled(task["status"])})
    output.note(f"Watch it: switchboard tasks watch {task['id']}")


@app.command(
    "import",
    epilog="Example: [bold]switchboard ledger import transactions.csv --connection 4 --collection transactions[/bold]",
)
def import_documents(
    file: Annotated[Path, typer.Argument(help="A CSV; its first line names the columns, id is needed.")],
    connection_id: Annotated[int, typer.Option("--connection", help="A connection for CSV files.", min=1)],
    collection: Annotated[str, typer.Option(help="counterparties or transactions.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Import counterparties or transactions from a CSV. A wrong row is left out and reported, the rest goes on."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.") from None
    params: Params = {"connection_id": connection_id, "collection": collection}
    with ApiClient(url, api_key) as api:
        report = api.upload("/api/ledger/import", lambda: _chunks(file), params)
    output = Output(as_json=as_json)
    if as_json:
        output.json(report)
        return
    counts = ("total", "created", "updated", "deleted", "unchanged", "rejected")
    output.record({name: report[name] for name in counts})
    shown = report["errors"][:_ERRORS_SHOWN]
    if shown:
        rows = [(error["line"], error["column"], error["message"]) for error in shown]
        output.table(("line", "column", "what is wrong"), rows)
    if len(report["errors"]) > _ERRORS_SHOWN:
        output.note("There are more; --json shows the first 1,000.")


@app.command("transactions", epilog="Example: [bold]switchboard ledger transactions --from 2026-01-01[/bold]")
def transactions(
    connection_id: OfConnection = None,
    counterparty_id: Annotated[int | None, typer.Option("--counterparty", help="With this counterparty.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, posted or voided.", metavar="STATUS")] = None,
    currency: Annotated[str | None, typer.Option(help="Such as EUR.")] = None,
    booked_from: Annotated[str | None, typer.Option("--from", help="Booked on this day or later.")] = None,
    booked_until: Annotated[str | None, typer.Option("--until", help="Booked on this day or earlier.")] = None,
    deleted: Deleted = False,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List transactions, in the order in which they came."""
    params: Params = {
        "connection_id": connection_id,
        "counterparty_id": counterparty_id,
        "status": status,
        "currency": currency,
        "booked_from": booked_from,
        "booked_until": booked_until,
        "deleted": deleted,
    }
    fields = ("id", "external_id", "booked_on", "amount", "currency", "status", "counterparty_id", "description")
    _list("/api/ledger/transactions", params, fields, limit, ApiClient(url, api_key), Output(as_json=as_json))


@app.command("counterparties", epilog="Example: [bold]switchboard ledger counterparties --search moreno[/bold]")
def counterparties(
    connection_id: OfConnection = None,
    search: Annotated[str | None, typer.Option(help="Part of the name.")] = None,
    deleted: Deleted = False,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List counterparties, in the order in which they came."""
    params: Params = {"connection_id": connection_id, "search": search, "deleted": deleted}
    fields = ("id", "external_id", "name", "email")
    _list("/api/ledger/counterparties", params, fields, limit, ApiClient(url, api_key), Output(as_json=as_json))


def _list(path: str, params: Params, fields: tuple[str, ...], limit: int, client: ApiClient, output: Output) -> None:
    with client as api:
        found = api.items(path, params, limit=limit)
    if output.as_json:
        output.json(found)
        return
    output.table([name.replace("_", " ") for name in fields], [[each[name] for name in fields] for each in found])
    if len(found) == limit:
        output.note(f"These are the first {limit}; there may be more (--limit).")


def _connection(made: Json) -> dict[str, object]:
    return {
        "connection": made["id"],
        "name": cell(made["name"]),
        "kind": made["kind"],
        "state": styled(made["state"]),
        "last synced": moment(made["last_synced_at"]),
        "reason": made["reason"],
    }


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
