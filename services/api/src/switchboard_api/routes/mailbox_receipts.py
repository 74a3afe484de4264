"""Receipts that were found in connected mailboxes."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from switchboard_api.auth import Agent, RuntimeDep, Viewer
from switchboard_api.csvs import csv_response, every_item
from switchboard_api.idempotency import IdempotencyDep
from switchboard_api.pagination import MAX_ID, Page, Paging, RowId
from switchboard_api.problems import not_found
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.mailbox import receipts
from switchboard_core.mailbox.receipt_schemas import MailboxReceiptOut, ReceiptsSyncOrder
from switchboard_core.mailbox.receipts import ReceiptQuery
from switchboard_core.mailbox.service import MailboxNotFoundError
from switchboard_core.tenancy.service import record_audit

router = APIRouter(prefix="/api", tags=["mailbox"])

_COLUMNS = (
    "id",
    "date",
    "sender_name",
    "sender_address",
    "subject",
    "amount",
    "currency",
    "attachment_name",
    "attachment_bytes",
    "attachment_sha256",
    "confidence",
    "mailbox_id",
    "folder",
)
_CSV_EXAMPLE = (
    "id,date,sender_name,sender_address,subject,amount,currency,attachment_name,attachment_bytes,attachment_sha256,"
    "confidence,mailbox_id,folder\r\n"
    "42,2026-01-26T11:05:20+00:00,Acme,billing@example.com,Your receipt,12.50,USD,invoice.pdf,48213,,0.95,1,INBOX\r\n"
)
Day = Annotated[date | None, Query(ge=date(1970, 1, 1), le=date(2200, 1, 1), examples=["2026-01-31"])]
Amount = Annotated[Decimal | None, Query(ge=0, max_digits=15, decimal_places=3, examples=["10.00"])]


@router.post(
    "/mailboxes/{mailbox_id}/receipts-sync",
    summary="Look for receipts in a mailbox",
    status_code=202,
    response_model=TaskSnapshot,
)
def sync_receipts(
    mailbox_id: RowId,
    caller: Agent,
    runtime: RuntimeDep,
    once: IdempotencyDep,
    order: ReceiptsSyncOrder | None = None,
) -> Response:
    """In the background, from where the last sync of the folder ended. While one is running the answer is its task.

    `done` of the task are the messages that were read; those that could not be are its errors.
    """
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> TaskSnapshot:
            try:
                task = receipts.sync(session, runtime, mailbox_id, order.folder if order else None)
            except MailboxNotFoundError:
                raise not_found(f"mailbox {mailbox_id}") from None
            record_audit(session, actor=caller.actor, action="mailbox.receipts_synced", subject=f"task {task.id}")
            return task

        return once.run(session, effect, status=202, headers=lambda task: {"Location": f"/api/tasks/{task.id}"})


def _query(
    mailbox_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Found in this mailbox.")] = None,
    sender: Annotated[
        str | None, Query(min_length=2, max_length=100, description="Part of the sender's name or address.")
    ] = None,
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])] = None,
    since: Day = None,
    until: Day = None,
    min_amount: Amount = None,
    max_amount: Amount = None,
) -> ReceiptQuery:
    return ReceiptQuery(mailbox_id, sender, currency, since, until, min_amount, max_amount)


Wanted = Annotated[ReceiptQuery, Depends(_query)]


@router.get("/mailbox-receipts", summary="List receipts found in mailboxes")
def list_receipts(caller: Viewer, runtime: RuntimeDep, paging: Paging, wanted: Wanted) -> Page[MailboxReceiptOut]:
    """The latest found first. `since` and `until` are days in UTC, both included."""
    with runtime.database.tenant(caller.business_id) as session:
        found = receipts.list_receipts(session, wanted, before_id=paging.after_id, limit=paging.fetch)
        return paging.page(found)


@router.get(
    "/mailbox-receipts.csv",
    summary="Download receipts found in mailboxes",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"example": _CSV_EXAMPLE}}, "description": "One line for each receipt."}},
)
def download_receipts(caller: Viewer, runtime: RuntimeDep, wanted: Wanted) -> StreamingResponse:
    """The same receipts as the list, all of them. Cells that a spreadsheet would take for a formula are quoted."""

    def read(before_id: int | None, limit: int) -> list[MailboxReceiptOut]:
        with runtime.database.tenant(caller.business_id) as session:
            return receipts.list_receipts(session, wanted, before_id=before_id, limit=limit)

    return csv_response("mailbox-receipts.csv", _COLUMNS, (_cells(receipt) for receipt in every_item(read)))


def _cells(receipt: MailboxReceiptOut) -> list[object]:
    cells = receipt.model_dump()
    return [cells["date"].isoformat() if name == "date" and cells["date"] else cells[name] for name in _COLUMNS]
