"""``switchboard receipts``: the mail account that receipts leave from, and how they look."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.errors import CliError
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from switchboard_cli.output import Json, Output

ACCOUNT = "/api/receipts/mail-account"
TEMPLATE = "/api/receipts/template"

CONNECT_EXAMPLE = (
    "Example: [bold]switchboard receipts connect smtp.example.com billing@example.com --user billing@example.com[/bold]"
)
ACCOUNT_EXAMPLE = "Example: [bold]switchboard receipts account[/bold]"
TEST_EXAMPLE = "Example: [bold]switchboard receipts test-account[/bold]"
DISCONNECT_EXAMPLE = "Example: [bold]switchboard receipts disconnect[/bold]"
TEMPLATE_EXAMPLE = "Example: [bold]switchboard receipts template > receipt.html[/bold]"
SET_TEMPLATE_EXAMPLE = (
    'Example: [bold]switchboard receipts set-template receipt.html --subject "Receipt {{ receipt.number }}"[/bold]'
)
PREVIEW_EXAMPLE = "Example: [bold]switchboard receipts preview preview.pdf --template receipt.html[/bold]"


class Security(StrEnum):
    """How a connection is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


def connect(
    host: Annotated[str, typer.Argument(help="SMTP server.")],
    from_address: Annotated[str, typer.Argument(help="Address that receipts come from.")],
    port: Annotated[int, typer.Option(help="Its port.")] = 587,
    security: Annotated[Security, typer.Option(help="tls (465), starttls (587), or none (inside only).")] = (
        Security.STARTTLS
    ),
    user: Annotated[str | None, typer.Option(help="User name; the password is asked for.")] = None,
    from_name: Annotated[str | None, typer.Option(help="Name beside the address.")] = None,
    archive: Annotated[str | None, typer.Option(help="Address that gets a blind copy of every mail.")] = None,
    archive_host: Annotated[str | None, typer.Option(help="IMAP server of that mailbox.")] = None,
    archive_port: Annotated[int, typer.Option(help="Its port.")] = 993,
    archive_security: Annotated[Security, typer.Option(help="tls (993) or starttls (143).")] = Security.TLS,
    archive_user: Annotated[str | None, typer.Option(help="Its user name. Default: the address.")] = None,
    archive_folder: Annotated[str, typer.Option(help="In which the copies arrive.")] = "INBOX",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Connect the mail account that receipts leave from.

    Passwords are asked for, or read from SWITCHBOARD_SMTP_PASSWORD and SWITCHBOARD_ARCHIVE_PASSWORD; they are
    encrypted at rest and never shown.
    """
    order: Json = {
        "host": host,
        "port": port,
        "security": security.value,
        "username": user,
        "password": _password("SWITCHBOARD_SMTP_PASSWORD", f"Password of {user}") if user else None,
        "from_address": from_address,
        "from_name": from_name,
    }
    if archive is not None:
        if archive_host is None:
            raise CliError("An archive needs its IMAP server too: add --archive-host.", 2)
        order["archive"] = {
            "address": archive,
            "host": archive_host,
            "port": archive_port,
            "security": archive_security.value,
            "username": archive_user or archive,
            "folder": archive_folder,
            "password": _password("SWITCHBOARD_ARCHIVE_PASSWORD", f"Password of {archive_user or archive}"),
        }
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.put(ACCOUNT, order))


def account(url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Show the mail account, without its passwords."""
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.get(ACCOUNT))


def try_account(url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Try the mail account: connect and log in. Nothing is sent."""
    with ApiClient(url, api_key, timeout_s=90) as api:
        found = api.post(f"{ACCOUNT}/test")
    _show(Output(as_json=as_json), found)
    if not found["ok"]:
        raise typer.Exit(1)


def disconnect(url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Disconnect the mail account and delete its passwords."""
    with ApiClient(url, api_key) as api:
        api.delete(ACCOUNT)
    Output().note("The mail account is disconnected.")


def template(url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Print the template of receipts; its subject goes to standard error."""
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        found = api.get(TEMPLATE)
    if as_json:
        output.json(found)
        return
    output.note(f"Subject: {found['subject']}")
    output.line(found["body"])


def set_template(
    file: Annotated[Path, typer.Argument(help="HTML of the receipt.")],
    subject: Annotated[str | None, typer.Option(help="Subject of the mail. Default: stays.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Save how receipts look. A template that does not work is refused with line and reason."""
    body = _read(file)
    with ApiClient(url, api_key) as api:
        order = {"subject": subject or api.get(TEMPLATE)["subject"], "body": body}
        saved = api.put(TEMPLATE, order)
    output = Output(as_json=as_json)
    if as_json:
        output.json(saved)
    else:
        output.note("Saved: receipts look like this from now on.")


def preview(
    file: Annotated[Path, typer.Argument(help="Where to; .html for HTML, anything else for PDF.")],
    template_file: Annotated[
        Path | None, typer.Option("--template", help="Try this HTML instead of the saved template.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Save the receipt of an invented payment."""
    with ApiClient(url, api_key) as api:
        order = None
        if template_file is not None:
            order = {"subject": api.get(TEMPLATE)["subject"], "body": _read(template_file)}
        content = api.document("POST", f"{TEMPLATE}/preview", form_of(file), order)
    write(file, content)
    Output().note(f"Saved as {file}.")


def form_of(file: Path) -> dict[str, str]:
    """What a file's name says of its form, as a query."""
    return {"as": "html" if file.suffix.lower() in {".html", ".htm"} else "pdf"}


def write(file: Path, content: bytes) -> None:
    """Write a document.

    Raises:
        CliError: it cannot be written.
    """
    try:
        file.write_bytes(content)
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror}.") from None


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CliError(f"{file} is not text in UTF-8.") from None


def _password(variable: str, question: str) -> str:
    """A password from the environment, or asked for; never an argument, which others on the machine could see."""
    given = os.environ.get(variable)
    return given if given is not None else str(typer.prompt(question, hide_input=True))


def _show(output: Output, thing: Json) -> None:
    if output.as_json:
        output.json(thing)
        return
    archive = thing.get("archive")
    fields = {name.replace("_", " "): value for name, value in thing.items() if name != "archive"}
    if isinstance(archive, dict):
        fields |= {f"archive {name}": value for name, value in archive.items()}
    else:
        fields["archive"] = archive
    output.record(fields)
