"""``switchboard mailbox``: connected mailboxes: connect, rules, sort, remove."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.commands import mailbox_search
from switchboard_cli.errors import CliError
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, moment, styled

app = typer.Typer(no_args_is_help=True, help="Connected mailboxes: sort, receipts, search.")

MailboxId = Annotated[int, typer.Argument(help="Id of the mailbox.", min=1)]


class Security(StrEnum):
    """How the connection to the mail server is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@app.callback()
def _group() -> None:
    """Connected mailboxes: sort, receipts, search."""


@app.command(
    "connect",
    epilog="Example: [bold]switchboard mailbox connect imap.example.com --user office@example.com[/bold]",
)
def connect(
    host: Annotated[str, typer.Argument(help="The IMAP server.")],
    user: Annotated[str, typer.Option("--user", help="User name there.")],
    name: Annotated[str | None, typer.Option(help="For people. Default: the user name.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: 993 with TLS, otherwise 143.")] = None,
    security: Annotated[
        Security, typer.Option(help="none: only for hosts that the installation trusts.")
    ] = Security.TLS,
    folder: Annotated[str, typer.Option(help="The folder that is sorted.")] = "INBOX",
    token_url: Annotated[
        str | None, typer.Option(help="OAuth2: the provider's token endpoint; the refresh token is asked for.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="OAuth2: id of the application.")] = None,
    client_secret: Annotated[
        bool, typer.Option("--client-secret", help="OAuth2: the application has a secret too; it is asked for.")
    ] = False,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Read the password, or the refresh token, from the first line of standard input; "
            "the client secret from the second.",
        ),
    ] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Connect an IMAP mailbox. It logs in first: what does not work is not kept.

    The password is asked for, or read from standard input: it is never an argument, which every process could see.
    """
    login: Json
    if token_url is None:
        login = {"kind": "password", "password": _secret("Password", from_stdin=password_stdin)}
    else:
        if client_id is None:
            raise CliError("OAuth2 needs the id of the application: pass --client-id.", 2)
        login = {"kind": "oauth2", "token_url": token_url, "client_id": client_id}
        login["refresh_token"] = _secret("Refresh token", from_stdin=password_stdin)
        if client_secret:
            login["client_secret"] = _secret("Client secret", from_stdin=password_stdin)
    order = {"name": name, "host": host, "port": port, "security": security, "username": user, "folder": folder}
    # The mail server is asked before the api answers.
    with ApiClient(url, api_key, timeout_s=90.0) as api:
        made = api.post("/api/mailboxes", {**order, "login": login})
    _show(Output(as_json=as_json), made)


@app.command("list", epilog="Example: [bold]switchboard mailbox list[/bold]")
def list_mailboxes(limit: Limit = 50, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """List the connected mailboxes."""
    with ApiClient(url, api_key) as api:
        mailboxes = api.items("/api/mailboxes", limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(mailboxes)
        return
    columns = ("id", "name", "host", "user", "login", "folder", "rules")
    rows = [
        (box["id"], box["name"], box["host"], box["username"], box["auth"], box["folder"], len(box["rules"]))
        for box in mailboxes
    ]
    output.table(columns, rows)


@app.command("rules", epilog="Example: [bold]switchboard mailbox rules 4 --set rules.json[/bold]")
def rules(
    mailbox_id: MailboxId,
    new: Annotated[
        Path | None, typer.Option("--set", help='Replace them by those of a JSON file: {"rules": […]}.')
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Show the rules of a mailbox, or replace them. The first rule that matches a message decides."""
    order = _read(new) if new is not None else None
    path = f"/api/mailboxes/{mailbox_id}"
    with ApiClient(url, api_key) as api:
        mailbox = api.get(path) if order is None else api.put(f"{path}/rules", order)
    output = Output(as_json=as_json)
    if as_json:
        output.json({"rules": mailbox["rules"]})
        return
    output.table(
        ("rule", "when", "then"),
        [(rule["name"], _words(rule["match"]), _words(rule["action"])) for rule in mailbox["rules"]],
    )


@app.command("sort", epilog="Example: [bold]switchboard mailbox sort[/bold]")
def sort(
    mailbox_id: Annotated[
        int | None, typer.Argument(help="Id of the mailbox; needed where there are several.", min=1)
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Sort a mailbox by its rules, in the background."""
    path = "/sort" if mailbox_id is None else f"/sort?mailbox_id={mailbox_id}"
    with ApiClient(url, api_key) as api:
        task = api.post(path)
    output = Output(as_json=as_json)
    if as_json:
        output.json(task)
        return
    output.record({"task": task["id"], "status": styled(task["status"])})
    output.note(f"To watch it: switchboard tasks watch {task['id']}")


@app.command("remove", epilog="Example: [bold]switchboard mailbox remove 4[/bold]")
def remove(mailbox_id: MailboxId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Forget a mailbox and its password. The messages in it stay as they are."""
    with ApiClient(url, api_key) as api:
        api.delete(f"/api/mailboxes/{mailbox_id}")
    output = Output(as_json=as_json)
    if as_json:
        output.json({"removed": mailbox_id})
    else:
        output.line(f"Mailbox {mailbox_id} is removed.")


def _secret(question: str, *, from_stdin: bool) -> str:
    if not from_stdin:
        return str(typer.prompt(question, hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise CliError(f"--password-stdin: standard input has no line for this: {question.lower()}.", 2)
    return line


def _read(file: Path) -> Json:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise CliError(f"{file} is not JSON: {error}.") from None
    # A list alone is what --json without its wrapping would be.
    return {"rules": found} if isinstance(found, list) else found


def _words(fields: Json) -> str:
    """What a rule asks for or does, without what it leaves open."""
    return ", ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, False))


def _show(output: Output, mailbox: Json) -> None:
    if output.as_json:
        output.json(mailbox)
        return
    output.record(
        {
            "mailbox": mailbox["id"],
            "name": mailbox["name"],
            "host": f"{mailbox['host']}:{mailbox['port']} ({mailbox['security']})",
            "user": mailbox["username"],
            "login": mailbox["auth"],
            "folder": mailbox["folder"],
            "rules": len(mailbox["rules"]),
            "connected": moment(mailbox["created_at"]),
        }
    )


mailbox_search.register(app)
