"""What people send and see of the receipts in mailboxes."""

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from switchboard_core.mailbox.schemas import FolderName


class ReceiptsSyncOrder(BaseModel):
    """Where to look for receipts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"folder": "Receipts"}})

    folder: FolderName | None = Field(None, description="By default the mailbox's own folder.")


class MailboxReceiptOut(BaseModel):
    """A receipt that was found in a mail."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 42,
                "mailbox_id": 1,
                "folder": "INBOX",
                "sender_name": "Acme, Inc.",
                "sender_address": "billing@example.com",
                "subject": "Your receipt from Acme",
                "amount": "1234.56",
                "currency": "EUR",
                "date": "2026-01-26T11:05:20Z",
                "attachment_name": "invoice-4711.pdf",
                "attachment_type": "application/pdf",
                "attachment_bytes": 48213,
                "attachment_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "confidence": "0.95",
                "created_at": "2026-01-26T11:06:00Z",
            }
        }
    )

    id: int
    mailbox_id: int
    folder: str = Field(description="Where it was found.")
    sender_name: str
    sender_address: str
    subject: str
    amount: Decimal = Field(description="What was paid in all.")
    currency: str = Field(description="ISO 4217.")
    date: datetime | None = Field(description="When the mail was written.")
    attachment_name: str | None = Field(description="The receipt as a document, where one came along.")
    attachment_type: str | None
    attachment_bytes: int | None = Field(description="About, where there is no checksum.")
    attachment_sha256: str | None = Field(description="None where the attachment was too large to be read.")
    confidence: Decimal = Field(description="That this is a receipt and the amount the right one, from 0.5 to 1.")
    created_at: datetime
