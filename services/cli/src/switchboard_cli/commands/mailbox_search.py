"""``switchboard mailbox receipts-sync``, ``receipts`` and ``search``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.errors import CliError
from switchboard_cli.follow import follow_task
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, moment, styled

_CHUNK_BYTES = 64 * 1024


def register(app: typer.Typer) -> None:
    """Add the commands to the group ``mailbox``."""
    app.command("receipts-sync", epilog="Example: [bold]switchboard mailbox receipts-sync 4[/bold]")(receipts_sync)
    app.command("receipts", epilog="Example: [bold]switchboard mailbox receipts --currency EUR[/bold]")(receipts)
    app.command("search", epilog='Example: [bold]switchboard mailbox search "the invoice from Acme"[/bold]')(search)


def receipts_sync(
    mailbox_id: Annotated[int, typer.Argument(help="Id of the mailbox.", min=1)],
    folder: Annotated[str | None, typer.Option(help="Where to look. Default: the mailbox's own folder.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Look for receipts in the mails that are new since the last time, in the background."""
    with ApiClient(url, api_key) as api:
        task = api.post(f"/api/mailboxes/{mailbox_id}/receipts-sync", {"folder": folder} if folder else None)
    output = Output(as_json=as_json)
    if as_json:
        output.json(task)
        return
    output.record({"task": task["id"], "status": styled(task["status"])})
    output.note(f"To watch it: switchboard tasks watch {task['id']}")


def receipts(
    sender: Annotated[str | None, typer.Option(help="Part of the sender's name or address.")] = None,
    currency: Annotated[str | None, typer.Option(help="In three letters such as EUR.")] = None,
    mailbox: Annotated[int | None, typer.Option(help="Found in this mailbox.")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List the receipts that were found in mailboxes, the latest found first."""
    with ApiClient(url, api_key) as api:
        params = {"sender": sender, "currency": currency, "mailbox_id": mailbox}
        found = api.items("/api/mailbox-receipts", params, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    rows = [
        (
            receipt["id"],
            moment(receipt["date"]),
            receipt["sender_name"] or receipt["sender_address"],
            f"{receipt['amount']} {receipt['currency']}",
            receipt["subject"],
            receipt["attachment_name"],
        )
        for receipt in found
    ]
    output.table(("id", "date", "from", "amount", "subject", "attachment"), rows)


def search(
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Say it instead: a WAV of 16-bit PCM at 8 or 16 kHz, 30 s at most.")
    ] = None,
    mailbox: Annotated[int | None, typer.Option(help="Id of the mailbox; needed where there are several.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Search mails and calls by typed or spoken words, and wait for what is found, best first."""
    if (text is None) == (audio is None):
        raise CliError('Say what to look for: either "some words" or --audio FILE.', 2)
    with ApiClient(url, api_key) as api:
        task = _ask(api, text, audio, mailbox)
        for snapshot in follow_task(api, task["id"]):
            task = snapshot
    output = Output(as_json=as_json)
    if as_json:
        output.json(task)
    if task["status"] != "completed":
        raise CliError(task["reason"] or f"The search ended as {task['status']}.")
    if not as_json:
        _show(output, task["result"])


def _ask(api: ApiClient, text: str | None, audio: Path | None, mailbox: int | None) -> Json:
    path = "/voice/search"
    if audio is None:
        found: Json = api.post(path if mailbox is None else f"{path}?mailbox_id={mailbox}", {"text": text})
        return found
    try:
        with audio.open("rb"):
            pass
    except OSError as error:
        raise CliError(f"{audio} cannot be read: {error.strerror}.") from None
    spoken: Json = api.upload(path, lambda: _chunks(audio), {"mailbox_id": mailbox}, content_type="audio/wav")
    return spoken


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _show(output: Output, result: Json) -> None:
    rows = [
        (
            one["kind"],
            moment(one["when"]),
            one["title"] if one["kind"] == "call" else f"{one['sender']}: {one['title']}",
            one["snippet"],
            one["score"],
        )
        for one in result["results"]
    ]
    output.record({"query": result["query"], "found": len(rows)})
    output.table(("kind", "when", "what", "where it says so", "score"), rows)
    for note in result["notes"]:
        output.note(note)
