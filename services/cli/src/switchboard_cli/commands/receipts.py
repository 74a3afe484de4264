"""``switchboard receipts``: users, payments, and the receipts that they get by mail."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.commands import receipts_settings
from switchboard_cli.errors import CliError
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, moment, styled

app = typer.Typer(no_args_is_help=True, help="Users, payments and receipts.")

UserId = Annotated[int, typer.Argument(help="Id of the user.", min=1)]
PaymentId = Annotated[int, typer.Argument(help="Id of the payment.", min=1)]
ReceiptId = Annotated[int, typer.Argument(help="Id of the receipt.", min=1)]


class State(StrEnum):
    """Where the mail with a receipt is."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    BOUNCED = "bounced"
    UNCERTAIN = "uncertain"
    SKIPPED = "skipped"


@app.callback()
def _group() -> None:
    """Users, payments and receipts."""


@app.command("add-user", epilog='Example: [bold]switchboard receipts add-user "Ada Moreno" ada@example.com[/bold]')
def add_user(
    name: Annotated[str, typer.Argument(help="Full name.")],
    email: Annotated[str, typer.Argument(help="Where receipts go.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Add somebody who pays and gets receipts."""
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.post("/api/users", {"name": name, "email": email}))


@app.command(
    "change-user", epilog='Example: [bold]switchboard receipts change-user 1 "Ada Moreno" new@example.com[/bold]'
)
def change_user(
    user_id: UserId,
    name: Annotated[str, typer.Argument(help="Full name.")],
    email: Annotated[str, typer.Argument(help="Where receipts go from now on.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Change name and address of a user."""
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.put(f"/api/users/{user_id}", {"name": name, "email": email}))


@app.command("users", epilog="Example: [bold]switchboard receipts users[/bold]")
def list_users(limit: Limit = 50, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """List users, oldest first."""
    with ApiClient(url, api_key) as api:
        users = api.items("/api/users", limit=limit)
    _list(Output(as_json=as_json), users, ("id", "name", "email", "created_at"))


@app.command(
    "add-payment",
    epilog='Example: [bold]switchboard receipts add-payment 1 49.90 EUR "Subscription, January" --send[/bold]',
)
def add_payment(
    user_id: UserId,
    amount: Annotated[str, typer.Argument(help="In the currency, such as 49.90.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217, such as EUR.")],
    description: Annotated[str, typer.Argument(help="What it was for.")],
    reference: Annotated[str | None, typer.Option(help="Your own number of it.")] = None,
    paid_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: now.")] = None,
    send: Annotated[bool, typer.Option("--send", help="Send its receipt.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Note a payment of a user, and send its receipt if wanted."""
    order: Json = {
        "user_id": user_id,
        "amount": amount,
        "currency": currency,
        "description": description,
        "reference": reference,
        "paid_at": paid_at or datetime.now(UTC).isoformat(),
    }
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        payment = api.post("/api/payments", order)
        _show(output, payment)
        if send:
            task = api.post("/api/receipts/send", {"payment_id": payment["id"]})
            output.note(f"Its receipt is on its way: task {task['id']}.")


@app.command("payments", epilog="Example: [bold]switchboard receipts payments --user 1[/bold]")
def list_payments(
    user: Annotated[int | None, typer.Option(help="Only those of this user.")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List payments, oldest first, each with where its receipt is."""
    with ApiClient(url, api_key) as api:
        payments = api.items("/api/payments", {"user_id": user}, limit=limit)
    columns = ("id", "user_id", "amount", "currency", "description", "paid_at", "receipt_id", "receipt_state")
    _list(Output(as_json=as_json), payments, columns)


@app.command("send", epilog="Example: [bold]switchboard receipts send 1[/bold]")
def send(payment_id: PaymentId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Send the receipt of a payment: once, however often this is asked for."""
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.post("/api/receipts/send", {"payment_id": payment_id}))


@app.command("list", epilog="Example: [bold]switchboard receipts list --state uncertain[/bold]")
def list_receipts(
    state: Annotated[State | None, typer.Option(help="Only those whose mail is in this state.")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List receipts, oldest first."""
    with ApiClient(url, api_key) as api:
        receipts = api.items("/api/receipts", {"state": state.value if state else None}, limit=limit)
    _list(Output(as_json=as_json), receipts, ("id", "payment_id", "user_id", "state", "reason", "sent_at"))


@app.command("show", epilog="Example: [bold]switchboard receipts show 1[/bold]")
def show(receipt_id: ReceiptId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Show where the mail with a receipt is, and why."""
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.get(f"/api/receipts/{receipt_id}"))


@app.command("save", epilog="Example: [bold]switchboard receipts save 1 receipt.pdf[/bold]")
def save(
    receipt_id: ReceiptId,
    file: Annotated[Path, typer.Argument(help="Where to; .html for HTML, anything else for PDF.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Save a receipt exactly as it was sent."""
    with ApiClient(url, api_key) as api:
        content = api.document("GET", f"/api/receipts/{receipt_id}/document", receipts_settings.form_of(file))
    receipts_settings.write(file, content)
    Output().note(f"Saved as {file}.")


@app.command("resend", epilog="Example: [bold]switchboard receipts resend 1[/bold]")
def resend(receipt_id: ReceiptId, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """Send a receipt again that failed, bounced or is uncertain, to the address that its user has now."""
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.post(f"/api/receipts/{receipt_id}/resend"))


@app.command("delete-all", epilog="Example: [bold]switchboard receipts delete-all --yes[/bold]")
def delete_all(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Delete all receipts and the content of their mails; payments stay."""
    if not yes and not typer.confirm("Delete all receipts of the business?"):
        raise CliError("Nothing was deleted.")
    with ApiClient(url, api_key) as api:
        _show(Output(as_json=as_json), api.post("/api/receipts/delete-all"))


app.command("connect", epilog=receipts_settings.CONNECT_EXAMPLE)(receipts_settings.connect)
app.command("account", epilog=receipts_settings.ACCOUNT_EXAMPLE)(receipts_settings.account)
app.command("test-account", epilog=receipts_settings.TEST_EXAMPLE)(receipts_settings.try_account)
app.command("disconnect", epilog=receipts_settings.DISCONNECT_EXAMPLE)(receipts_settings.disconnect)
app.command("template", epilog=receipts_settings.TEMPLATE_EXAMPLE)(receipts_settings.template)
app.command("set-template", epilog=receipts_settings.SET_TEMPLATE_EXAMPLE)(receipts_settings.set_template)
app.command("preview", epilog=receipts_settings.PREVIEW_EXAMPLE)(receipts_settings.preview)


def _show(output: Output, thing: Json) -> None:
    if output.as_json:
        output.json(thing)
        return
    hidden = {"errors", "version", "cancel_requested"}
    fields = {name.replace("_", " "): _cell(name, value) for name, value in thing.items() if name not in hidden}
    output.record(fields)


def _list(output: Output, things: list[Json], columns: tuple[str, ...]) -> None:
    if output.as_json:
        output.json(things)
        return
    rows = [tuple(_cell(name, thing[name]) for name in columns) for thing in things]
    output.table(tuple(name.removesuffix("_at").replace("_", " ") for name in columns), rows)


def _cell(name: str, value: object) -> object:
    if name.endswith("_at"):
        return moment(value if isinstance(value, str) else None)
    return styled(value) if name in {"state", "status", "receipt_state"} else value
