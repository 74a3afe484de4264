"""A short tour of the work around the calls: each stop does one thing through the api and says what came of it."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from rich.text import Text

from switchboard_cli.client import ApiClient
from switchboard_cli.errors import CliError
from switchboard_cli.follow import follow_task, is_over
from switchboard_cli.output import Json, Output, clean

TEXTED = 12
"""Leads that get an SMS."""

_TAG = "demo-tour"
_LONGEST_S = 60.0
_LOOK_EVERY_S = 0.2
_UNDECIDED = ("queued", "sending", "sent")
_ENDED = ("delivered", "failed", "bounced", "uncertain", "skipped")
_COUNTERPARTIES = "id,name,email\nC-17,Harbour Dental,books@harbour.example\nC-18,Lakeside Clinic,\n"
_TRANSACTIONS = (
    "id,amount,currency,date,counterparty,description\n"
    "T-2041,119.90,EUR,2026-01-26,C-17,Invoice 2041\n"
    "T-2042,80.00,EUR,2026-01-27,C-18,Invoice 2042\n"
    "T-2043,12.50,EUR,2026-02-30,C-18,A day that does not exist\n"
)
_PAYMENT: Json = {
    "amount": "49.90",
    "currency": "EUR",
    "description": "Subscription, January",
    "paid_at": "2026-01-26T11:05:20Z",
}


@dataclass(frozen=True)
class Stop:
    """One stop of the tour.

    Attributes:
        what: was done.
        outcome: what came of it, with figures.
        command: that does the same by hand.
        ok: it ended as it should.
    """

    what: str
    outcome: str
    command: str
    ok: bool

    def as_json(self) -> Json:
        """The stop for programs."""
        return asdict(self)


def stops(api: ApiClient, word: str) -> Iterator[Stop]:
    """Take the tour; one stop after the other.

    Args:
        api: of the demo, whose campaign is over.
        word: that was said in some call.

    Raises:
        ApiError: the api refused a step.
        CliError: a step took too long.
    """
    yield _bulk_change(api)
    yield _delete_and_undo(api)
    yield _broadcast(api)
    yield _receipt(api)
    yield _ledger(api)
    yield _search(api, word)


def tell(output: Output, seen: list[Stop]) -> None:
    """Print the stops for people."""
    output.line()
    output.line(Text("The rest of the work, in short:", "bold"))
    for stop in seen:
        mark = Text("  ok  ", "green") if stop.ok else Text("  not as it should be  ", "bold red")
        output.line(Text.assemble(mark, (stop.what, "bold"), f": {clean(stop.outcome)}"))
        output.line(Text(f"      {stop.command}", "dim"))
    output.line(Text("A mailbox is sorted and searched too, once one is connected: switchboard mailbox connect", "dim"))


def _bulk_change(api: ApiClient) -> Stop:
    leads = api.items("/api/leads", limit=TEXTED)
    selection: Json = {"ids": [lead["id"] for lead in leads]}
    counted = api.post("/api/leads/count", {"filter": selection})["count"]
    order = {"filter": selection, "changes": {"add_tags": [_TAG]}}
    task = _ended(api, api.post("/api/leads/bulk-update", order))
    return Stop(
        "Change leads in bulk",
        f"{counted} counted beforehand, {task['done']} tagged, {task['failed']} failed",
        f"switchboard leads update --tag vip --add-tag {_TAG}",
        task["status"] == "completed" and task["done"] == counted,
    )


def _delete_and_undo(api: ApiClient) -> Stop:
    gone = _ended(api, api.post("/api/leads/bulk-delete", {"filter": {"tags": [_TAG]}}))
    back = _ended(api, api.post("/api/leads/restore", {"task_id": gone["id"]}))
    return Stop(
        "Delete them and undo it",
        f"{gone['done']} deleted, {back['done']} restored",
        f"switchboard leads delete --tag {_TAG}; switchboard leads restore TASK",
        bool(gone["done"]) and gone["done"] == back["done"],
    )


def _broadcast(api: ApiClient) -> Stop:
    order = {
        "name": "Tour",
        "channel": "sms",
        "body": "Hello {first_name|there}, your plan renews next week. Reply STOP to opt out.",
        "filter": {"tags": [_TAG]},
        "per_minute": 6000,
    }
    expected = api.post("/api/broadcasts/preview", {key: order[key] for key in ("channel", "body", "filter")})
    begun = api.post("/api/broadcasts", order)
    _ended(api, {"id": begun["task_id"]})
    counts = _awaited(lambda: _settled(api, begun["id"]), "the deliveries of the broadcast")
    delivered = counts.get("delivered", 0)
    told = ", ".join(f"{counts[state]} {state}" for state in _ENDED if counts.get(state))
    return Stop(
        "Text them",
        f"{expected['would_be_sent']} of {expected['selected']} may be written to: {told}",
        f'switchboard broadcasts send "Tour" --tag {_TAG} --body "Hello …"',
        delivered > 0 and delivered <= expected["would_be_sent"],
    )


def _settled(api: ApiClient, broadcast_id: int) -> Json | None:
    """Recipients by state, once none of them is under way."""
    counts: Json = api.get(f"/api/broadcasts/{broadcast_id}")["counts"]
    return None if any(counts.get(state) for state in _UNDECIDED) else counts


def _receipt(api: ApiClient) -> Stop:
    user = api.post("/api/users", {"name": "Ada Moreno", "email": "ada@example.com"})
    payment = api.post("/api/payments", {**_PAYMENT, "user_id": user["id"]})
    pdf = api.document("POST", "/api/receipts/template/preview", {"as": "pdf"})
    return Stop(
        "Receipts",
        f"payment {payment['id']} is noted; a receipt is a PDF of {len(pdf) / 1000:.0f} kB, mailed once "
        "(the demo has no mail server)",
        f"switchboard receipts send {payment['id']}",
        pdf.startswith(b"%PDF"),
    )


def _ledger(api: ApiClient) -> Stop:
    connection = api.post("/api/ledger/connections", {"name": "Demo books", "kind": "csv"})
    reports = [
        api.upload(
            "/api/ledger/import",
            lambda content=content: io.BytesIO(content.encode()),  # type: ignore[misc]
            {"connection_id": connection["id"], "collection": collection},
        )
        for collection, content in (("counterparties", _COUNTERPARTIES), ("transactions", _TRANSACTIONS))
    ]
    created, rejected = (sum(report[name] for report in reports) for name in ("created", "rejected"))
    return Stop(
        "Import the books",
        f"{created} documents, {rejected} row left out and reported",
        f"switchboard ledger import FILE --connection {connection['id']} --collection transactions",
        (created, rejected) == (4, 1),
    )


def _search(api: ApiClient, word: str) -> Stop:
    task = _ended(api, api.post("/voice/search", {"text": word}))
    found = len(task["result"]["results"]) if task["result"] else 0
    return Stop(
        "Search the calls",
        f"“{word}” was heard in {found} of them",
        f'switchboard mailbox search "{word}"',
        task["status"] == "completed" and found > 0,
    )


def _ended(api: ApiClient, task: Json) -> Json:
    """The last snapshot of a task."""
    begun = time.monotonic()
    for snapshot in follow_task(api, task["id"], every_s=_LOOK_EVERY_S):
        if is_over(snapshot):
            return snapshot
        if time.monotonic() - begun > _LONGEST_S:
            break
    raise CliError(f"Task {task['id']} was not over after {_LONGEST_S:g} s.")


def _awaited(look: Callable[[], Json | None], what: str) -> Json:
    begun = time.monotonic()
    while time.monotonic() - begun < _LONGEST_S:
        if (found := look()) is not None:
            return found
        time.sleep(_LOOK_EVERY_S)
    raise CliError(f"Waited {_LONGEST_S:g} s for {what} in vain.")
