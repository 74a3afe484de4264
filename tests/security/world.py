"""Businesses with one of everything, each marked so that a row of it is known wherever it shows."""

import itertools
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from integration.api_support import NOBODY, RunningApi, Tenant, fresh_api
from migration_support import connected
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.models import CallAttempt, OutboundCallJob
from switchboard_core.calls.states import AttemptState, CallStatus
from switchboard_core.ledger import service as ledger
from switchboard_core.ledger.schemas import NewConnection
from switchboard_core.ledger.states import ConnectionKind
from switchboard_core.mailbox import service as mailboxes
from switchboard_core.mailbox.schemas import MailboxOrder
from switchboard_core.outbox import accounts
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.schemas import MailAccountIn
from switchboard_core.outbox.states import Channel
from switchboard_core.receipts.models import Receipt
from switchboard_core.recordings.models import Recording
from switchboard_core.sql import db_now
from switchboard_core.tenancy.models import Role

METHODS = ("get", "put", "post", "patch", "delete")
SHARED_TABLES = ("alembic_version", "carrier_accounts", "maintenance_marks", "schema_state", "worker_heartbeats")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Operation:
    """One route of the OpenAPI document."""

    method: str
    path: str
    ids: tuple[str, ...]
    query: tuple[str, ...]
    body: tuple[str, Any] | None
    secured: bool

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every route of an OpenAPI document, with the example of its body."""
    return [
        Operation(
            method,
            path,
            _parameters(found, "path"),
            _parameters(found, "query"),
            _example(found),
            bool(found.get("security")),
        )
        for path, methods in document["paths"].items()
        for method, found in methods.items()
        if method in METHODS
    ]


def _parameters(operation: dict[str, Any], place: str) -> tuple[str, ...]:
    return tuple(parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == place)


def _example(operation: dict[str, Any]) -> tuple[str, Any] | None:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        examples = [example["value"] for example in content.get("examples", {}).values()]
        return media_type, content.get("example", examples[0] if examples else None)
    return None


@dataclass(frozen=True)
class Marked:
    """A business with one of everything.

    Attributes:
        tenant: its clients.
        mark: in every text of its rows that a person wrote, and nowhere else.
        number: ends each of its phone numbers.
        ids: by the name of the path's parameter; those of ``entry_id`` by their path.
    """

    tenant: Tenant
    mark: str
    number: str
    ids: dict[str, int | str]

    @property
    def password(self) -> str:
        """What it entrusted to the vault."""
        return f"{self.mark}-password"

    @property
    def lead_email(self) -> str:
        """The address of its lead; the mark is not in it."""
        return f"lead{self.number}@people.example"

    @property
    def caller_id(self) -> str:
        """The number that it calls from."""
        return f"+1212555{self.number}"

    @property
    def lead_phone(self) -> str:
        """The number of its lead."""
        return f"+1415555{self.number}"

    @property
    def listed_phone(self) -> str:
        """The number that it must neither call nor text."""
        return f"+1650555{self.number}"

    def private(self) -> tuple[str, ...]:
        """What of it nobody else may read; numbers without their plus sign, which a URL may write otherwise."""
        numbers = (self.lead_phone, self.caller_id, self.listed_phone)
        return (self.mark, self.lead_email, *(number.lstrip("+") for number in numbers))

    def path(self, operation: Operation) -> str:
        """The path of an operation with the ids of this business."""
        path = operation.path
        for name in operation.ids:
            path = path.replace(f"{{{name}}}", str(self.id_of(operation.path, name)))
        return path

    def id_of(self, path: str, name: str) -> int | str:
        """The id that a parameter of a path stands for."""
        if name == "entry_id":
            return self.ids["opt_out" if "opt-outs" in path else "do_not_call"]
        return self.ids[name]


def furnish(api: RunningApi) -> Marked:
    """A new business with one of everything that has an id."""
    number = next(_numbers)
    mark = f"mark{number}of{'abcdefgh'[number % 8] * 6}"
    tenant = api.tenant(mark)
    ids: dict[str, int | str] = {"channel": "sms"}
    marked = Marked(tenant, mark, f"{number:04d}", ids)
    ids |= _calls(marked)
    ids |= _mail(api, tenant, mark)
    with api.runtime.database.tenant(tenant.id) as session:
        _called(session, marked)
        ids["recording_id"] = _recording(session, tenant, mark)
        order = NewConnection(
            name=mark, kind=ConnectionKind.API, base_url=f"http://{NOBODY}", token=SecretStr(f"{mark}-password")
        )
        ids["connection_id"] = ledger.connect(session, api.runtime.settings, order).id
    return marked


def _made(answer: Any) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def _calls(marked: Marked) -> dict[str, int | str]:
    owner, mark = marked.tenant.owner, marked.mark
    owner.patch("/api/business", json={"caller_ids": [marked.caller_id]}).raise_for_status()
    table = f"phone,name,email,tags\n{marked.lead_phone},{mark},{marked.lead_email},{mark}\n{mark},,,\n"
    imported = _made(owner.post("/api/leads/import", content=table, headers={"Content-Type": "text/csv"}))
    key = _made(owner.post("/api/keys", json={"name": mark, "role": "viewer"}))
    run = _made(owner.post("/api/outbound_calls/runs", json={"name": mark, "message": mark, "leads": {"all": True}}))
    filtered = {"filter": {"tags": [mark]}}
    message = {"name": mark, "channel": "sms", "body": mark, **filtered}
    broadcast = _made(owner.post("/api/broadcasts", json=message))
    task = _made(owner.post("/api/leads/bulk-update", json={**filtered, "changes": {"add_tags": [mark]}}))
    listed = {"phones": [marked.listed_phone], "reason": mark}
    _made(owner.post("/api/do-not-call", json=listed))
    _made(owner.post("/api/opt-outs", json={"channel": "sms", "addresses": listed["phones"], "reason": mark}))
    return {
        "import_id": imported["id"],
        "lead_id": _made(owner.get("/api/leads"))["items"][0]["id"],
        "key_id": key["id"],
        "run_id": run["id"],
        "job_id": run["job_id"],
        "broadcast_id": broadcast["id"],
        "task_id": task["id"],
        "do_not_call": _made(owner.get("/api/do-not-call"))["items"][0]["id"],
        "opt_out": _made(owner.get("/api/opt-outs", params={"channel": "sms"}))["items"][0]["id"],
    }


def _mail(api: RunningApi, tenant: Tenant, mark: str) -> dict[str, int | str]:
    settings = api.runtime.settings
    address = f"{mark}@example.org"
    user = _made(tenant.owner.post("/api/users", json={"name": mark, "email": address}))
    payment = {"amount": "1.00", "currency": "EUR", "description": mark, "paid_at": "2026-01-26T11:05:20Z"}
    paid = _made(tenant.owner.post("/api/payments", json={"user_id": user["id"], **payment}))
    server = {"host": "127.0.0.1", "port": 9, "security": "none"}
    account = MailAccountIn.model_validate({**server, "from_address": address, "from_name": mark})
    login = {"kind": "password", "password": f"{mark}-password"}
    mailbox = MailboxOrder.model_validate({**server, "name": mark, "username": address, "login": login})
    with api.runtime.database.tenant(tenant.id) as session:
        accounts.put(session, settings, account)
        mailbox_id = mailboxes.connect(session, settings, mailbox, None).id
        message = outbox.put(session, channel=Channel.EMAIL, dedupe_key=mark, recipient=address)
        receipt = Receipt(
            business_id=tenant.id, payment_id=paid["id"], message_id=message.id, subject=mark, html=mark, pdf=b"%PDF"
        )
        session.add(receipt)
        session.flush()
        receipt_id = receipt.id
    ids = {"user_id": user["id"], "payment_id": paid["id"], "receipt_id": receipt_id, "mailbox_id": mailbox_id}
    return dict(ids)


def _called(session: Session, marked: Marked) -> None:
    """A call that has ended: rows without a text, which only their numbers give away."""
    now = session.execute(select(db_now())).scalar_one()
    business_id, run_id = marked.tenant.id, int(marked.ids["run_id"])
    job = OutboundCallJob(
        business_id=business_id,
        run_id=run_id,
        lead_id=int(marked.ids["lead_id"]),
        to_number=marked.lead_phone,
        timezone="UTC",
        status=CallStatus.COMPLETED,
        attempts=1,
        finished_at=now,
    )
    session.add(job)
    session.flush()
    attempt = CallAttempt(
        business_id=business_id,
        run_id=run_id,
        job_id=job.id,
        number=1,
        account_sid="AC00000000000000000000000000000001",
        from_number=marked.caller_id,
        to_number=marked.lead_phone,
        state=AttemptState.COMPLETED,
        call_sid=f"CA{marked.number:0>32}",
        answered_by="human",
        duration_s=42,
        sent_at=now,
        settled_at=now,
        recordings_listed_at=now,
    )
    session.add(attempt)
    session.flush()


def _recording(session: Session, tenant: Tenant, mark: str) -> int:
    recording = Recording(
        business_id=tenant.id, recording_sid=mark, call_sid=mark, media_url=f"http://{NOBODY}/{mark}", transcript=mark
    )
    session.add(recording)
    session.flush()
    return recording.id


def rows_of(api: RunningApi, business_id: int) -> dict[str, str]:
    """A digest of each tenant table's rows of a business, read as the owner."""
    with connected(api.owner_url) as connection:
        tables = connection.execute(
            text(
                "SELECT table_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND column_name = 'business_id' ORDER BY table_name"
            )
        ).scalars()
        wanted = dict.fromkeys(tables, "business_id") | {"businesses": "id"}
        return {
            table: str(
                connection.execute(
                    text(
                        f"SELECT count(*) || ' ' || md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), ''))"
                        f" FROM {table} r WHERE {column} = :id"
                    ),
                    {"id": business_id},
                ).scalar()
            )
            for table, column in wanted.items()
        }


@contextmanager
def fenced_network() -> Iterator[None]:
    """Names and addresses of elsewhere do not resolve meanwhile: what is made up must not be knocked at."""
    real = socket.getaddrinfo

    def fenced(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in {None, "127.0.0.1", "localhost", "::1"}:
            return real(host, *arguments, **options)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", fenced)
        yield


@contextmanager
def furnished_api(
    postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey, businesses: int, **values: Any
) -> Iterator[tuple[RunningApi, Sequence[Marked]]]:
    """An api with so many businesses, whose requests to hosts of elsewhere lead nowhere."""
    options = {"rate_limit_per_minute": 1_000_000, "twilio_base_url": f"http://{NOBODY}", **values}
    with fresh_api(postgres, template, valkey, **options) as api, fenced_network():
        yield api, [furnish(api) for _ in range(businesses)]


ROLES = tuple(Role)
