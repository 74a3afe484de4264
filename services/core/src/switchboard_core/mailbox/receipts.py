"""The verbs of the receipts in mailboxes: sync, list."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.mailbox import service
from switchboard_core.mailbox.currencies import decimals_of
from switchboard_core.mailbox.models import MailboxReceipt
from switchboard_core.mailbox.receipt_schemas import MailboxReceiptOut
from switchboard_core.runtime import Runtime


@dataclass(frozen=True)
class ReceiptQuery:
    """Which receipts are meant; None: whatever it is.

    Attributes:
        mailbox_id: found in this mailbox.
        sender: part of the sender's name or address.
        currency: ISO 4217.
        since: written on this day (UTC) or later.
        until: written on this day (UTC) or earlier.
        min_amount: paid at least so much.
        max_amount: paid at most so much.
    """

    mailbox_id: int | None = None
    sender: str | None = None
    currency: str | None = None
    since: date | None = None
    until: date | None = None
    min_amount: Decimal | None = None
    max_amount: Decimal | None = None

    def clauses(self) -> list[ColumnElement[bool]]:
        """The conditions as SQL."""
        row = MailboxReceipt
        found: list[ColumnElement[bool]] = []
        if self.mailbox_id is not None:
            found.append(row.mailbox_id == self.mailbox_id)
        if self.sender is not None:
            found.append(
                or_(
                    row.sender_name.icontains(self.sender, autoescape=True),
                    row.sender_address.icontains(self.sender, autoescape=True),
                )
            )
        if self.currency is not None:
            found.append(row.currency == self.currency)
        if self.since is not None:
            found.append(row.date >= _midnight(self.since))
        if self.until is not None:
            found.append(row.date < _midnight(self.until) + timedelta(days=1))
        if self.min_amount is not None:
            found.append(row.amount >= self.min_amount)
        if self.max_amount is not None:
            found.append(row.amount <= self.max_amount)
        return found


def sync(session: Session, runtime: Runtime, mailbox_id: int, folder: str | None = None) -> TaskSnapshot:
    """Look for receipts in a mailbox in the background; while that goes on, the task that does it.

    Args:
        session: bound to the business.
        runtime: of the process.
        mailbox_id: which mailbox.
        folder: where in it; by default the mailbox's own folder.

    Raises:
        MailboxNotFoundError: the business has no such mailbox.
    """
    mailbox = service.row_of(session, mailbox_id)
    payload: dict[str, object] = {"credentials_json": service.credentials_reference(mailbox.id)}
    chosen = folder or mailbox.folder
    if chosen != mailbox.folder:
        payload["folder"] = chosen
    return runtime.tasks.create(session, "receipts_sync", payload, dedupe_key=f"receipts_sync:{mailbox.id}:{chosen}")


def list_receipts(
    session: Session, query: ReceiptQuery, *, before_id: int | None = None, limit: int = 50
) -> list[MailboxReceiptOut]:
    """Receipts of the session's business that meet the conditions, the latest found first, from below ``before_id``."""
    statement = (
        select(MailboxReceipt)
        .where(MailboxReceipt.business_id == tenant_of(session), *query.clauses())
        .order_by(MailboxReceipt.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        statement = statement.where(MailboxReceipt.id < before_id)
    return [_out(row) for row in session.scalars(statement)]


def _out(row: MailboxReceipt) -> MailboxReceiptOut:
    found = MailboxReceiptOut.model_validate(row, from_attributes=True)
    # Three places are stored for the few currencies that have them.
    usual = found.amount.quantize(Decimal(1).scaleb(-decimals_of(found.currency)))
    return found.model_copy(update={"amount": usual}) if usual == found.amount else found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
