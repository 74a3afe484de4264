"""``switchboard broadcasts``: messages to many leads, by SMS or e-mail."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.commands.leads_bulk import EveryLead, Ids, ImportId, OnList, Tags, WatchIt, Zone, lead_filter
from switchboard_cli.errors import CliError
from switchboard_cli.follow import follow_task
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Limit, Url
from switchboard_cli.output import Json, Output, moment, styled
from switchboard_cli.watching import sight_of_task, watch

app = typer.Typer(no_args_is_help=True, help="Messages to many leads.")

BROADCASTS = "/api/broadcasts"
OPT_OUTS = "/api/opt-outs"


class Channel(StrEnum):
    """How messages travel."""

    SMS = "sms"
    EMAIL = "email"


ByChannel = Annotated[Channel, typer.Option(help="How the messages travel.")]
Body = Annotated[
    str | None, typer.Option(help="The text; {name}, {first_name}, {attr_…} and {name|there} are filled in.")
]
BodyFile = Annotated[Path | None, typer.Option(help="The text, from a file.")]
Subject = Annotated[str | None, typer.Option(help="Of an e-mail.")]


@app.callback()
def _group() -> None:
    """Messages to many leads."""


@app.command(
    "preview",
    epilog='Example: [bold]switchboard broadcasts preview --body "Hello {name|there}" --tag spring[/bold]',
)
def preview(
    body: Body = None,
    body_file: BodyFile = None,
    subject: Subject = None,
    channel: ByChannel = Channel.SMS,
    ids: Ids = None,
    tags: Tags = None,
    import_id: ImportId = None,
    in_timezone: Zone = None,
    do_not_call: OnList = None,
    every_lead: EveryLead = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Show how many messages it would be, who would get none and why, and the text for the first lead."""
    wanted = lead_filter(ids, tags, import_id, in_timezone, do_not_call, every_lead)
    content = _content(channel, subject, _text(body, body_file), wanted)
    with ApiClient(url, api_key) as api:
        found = api.post(f"{BROADCASTS}/preview", content)
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    fields = {"leads": found["selected"], "messages": found["would_be_sent"]}
    fields |= {_words(reason): number for reason, number in found["skipped"].items()}
    fields |= {"subject": found["sample_subject"], "first text": found["sample"], "texts": found["sample_segments"]}
    output.record({name: value for name, value in fields.items() if value is not None})


@app.command(
    "send",
    epilog='Example: [bold]switchboard broadcasts send Spring --body "Hello {name|there}" --tag spring --watch[/bold]',
)
def send(
    name: Annotated[str, typer.Argument(help="For people.")],
    body: Body = None,
    body_file: BodyFile = None,
    subject: Subject = None,
    channel: ByChannel = Channel.SMS,
    from_number: Annotated[
        str | None, typer.Option(help="An SMS is sent from it. Default: the numbers of the business, in turn.")
    ] = None,
    per_minute: Annotated[float | None, typer.Option(help="Messages a minute at most.")] = None,
    ids: Ids = None,
    tags: Tags = None,
    import_id: ImportId = None,
    in_timezone: Zone = None,
    do_not_call: OnList = None,
    every_lead: EveryLead = False,
    watch_it: WatchIt = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Send a message to leads. It answers at once; workers send. Each lead and each number gets one at most."""
    wanted = lead_filter(ids, tags, import_id, in_timezone, do_not_call, every_lead)
    order = _content(channel, subject, _text(body, body_file), wanted) | {"name": name}
    order |= {"from_number": from_number} if from_number else {}
    order |= {"per_minute": per_minute} if per_minute else {}
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        made = api.post(BROADCASTS, order)
        if watch_it:
            _watch(output, api, made)
            return
    if as_json:
        output.json(made)
    else:
        output.line(f"Started broadcast {made['id']}.")
        output.note(f"To cancel it: switchboard tasks cancel {made['task_id']}")


@app.command("list", epilog="Example: [bold]switchboard broadcasts list[/bold]")
def list_broadcasts(limit: Limit = 50, url: Url = DEFAULT_URL, api_key: ApiKey = "", as_json: AsJson = False) -> None:
    """List broadcasts, newest first."""
    with ApiClient(url, api_key) as api:
        found = api.items(BROADCASTS, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    shown = ("total", "sent", "delivered", "failed", "uncertain", "skipped")
    rows = [
        (
            item["id"],
            item["name"],
            item["channel"],
            styled(item["status"]),
            *(item["counts"][count] for count in shown),
            moment(item["created_at"]),
        )
        for item in found
    ]
    output.table(("id", "name", "channel", "status", *shown, "created"), rows)


@app.command("show", epilog="Example: [bold]switchboard broadcasts show 3[/bold]")
def show(
    broadcast_id: Annotated[int, typer.Argument(help="Id of the broadcast.", min=1)],
    recipients: Annotated[str | None, typer.Option(help="Also list the leads in this state, such as failed.")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Show a broadcast with its counts, and the leads in a state."""
    output = Output(as_json=as_json)
    with ApiClient(url, api_key) as api:
        found = api.get(f"{BROADCASTS}/{broadcast_id}")
        if recipients is not None:
            path = f"{BROADCASTS}/{broadcast_id}/recipients"
            found["recipients"] = api.items(path, {"state": recipients}, limit=limit)
    if as_json:
        output.json(found)
        return
    _print(output, found)
    if recipients is not None:
        rows = [(item["lead_id"], item["address"], item["state"], item["reason"]) for item in found["recipients"]]
        output.table(("lead", "address", "state", "reason"), rows)


@app.command("opt-outs", epilog="Example: [bold]switchboard broadcasts opt-outs --add +14155550123[/bold]")
def opt_outs(
    channel: ByChannel = Channel.SMS,
    add: Annotated[list[str] | None, typer.Option(help="Opt this address out; repeatable.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "requested",
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """List who wants no messages, or add to the list. It holds hashes, so it shows no addresses."""
    with ApiClient(url, api_key) as api:
        if add:
            entries = api.post(OPT_OUTS, {"channel": channel.value, "addresses": add, "reason": reason})["items"]
        else:
            entries = api.items(OPT_OUTS, {"channel": channel.value}, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.json(entries)
        return
    rows = [(entry["id"][:16], entry["channel"], entry["reason"], moment(entry["created_at"])) for entry in entries]
    output.table(("entry", "channel", "reason", "since"), rows)


def _text(body: str | None, body_file: Path | None) -> str:
    if (body is None) == (body_file is None):
        raise CliError("Say the text: with --body, or with --body-file.", 2)
    if body_file is None:
        return body or ""
    try:
        return body_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{body_file} cannot be read: {error}.") from None


def _content(channel: Channel, subject: str | None, body: str, wanted: Json) -> Json:
    content: Json = {"channel": channel.value, "body": body, "filter": wanted}
    return content | ({"subject": subject} if subject is not None else {})


def _watch(output: Output, api: ApiClient, made: Json) -> None:
    task_id = made["task_id"]
    stopped = f"Broadcast {made['id']} goes on. To cancel it: switchboard tasks cancel {task_id}"
    task = watch(output, follow_task(api, task_id), sight_of_task, if_stopped=stopped)
    if task["status"] != "completed":
        raise typer.Exit(1)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _print(output: Output, found: Json) -> None:
    counts = dict(found["counts"])
    reasons = counts.pop("skipped_by_reason")
    fields = {
        "broadcast": found["id"],
        "name": found["name"],
        "channel": found["channel"],
        "status": styled(found["status"]),
        "reason": found["reason"],
        "task": found["task_id"],
        "a minute": found["per_minute"],
        "created": moment(found["created_at"]),
        "finished": moment(found["finished_at"]),
        "leads": counts.pop("total"),
    }
    fields |= {name: number for name, number in counts.items() if number}
    fields |= {f"skipped: {_words(name)}": number for name, number in reasons.items()}
    output.record({name: value for name, value in fields.items() if value not in (None, "")})
