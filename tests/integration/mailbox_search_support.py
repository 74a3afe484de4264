"""What the tests of receipts in mailboxes and of the search over them have in common."""

import io
import struct
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from imap_server import mail
from integration.mailbox_support import IMPATIENT, MailboxBench
from switchboard_core.jobs.kernel import Kernel
from switchboard_core.mailbox import receipts, search
from switchboard_core.mailbox.receipts_sync import receipts_sync_slice

PDF = b"%PDF-1.7 not a real one"
DATE = datetime(2026, 1, 26, 11, 5, 20, tzinfo=UTC)

ACME = mail(
    "<acme@example.com>",
    subject="Your receipt from Acme",
    sender="Acme <billing@acme.example>",
    text="Subtotal: $10.00\nTotal due: $12.50",
    date=DATE,
    attachment=("invoice.pdf", "application/pdf", PDF),
)
RAIL = mail("<rail@example.com>", subject="Ihre Rechnung", text="Gesamtbetrag: 1.234,56 EUR", date=DATE)
LUNCH = mail("<lunch@example.com>", subject="Lunch?", text="It is about $10.")

MAILS = (
    mail("<1@example.com>", subject="Your invoice", sender="Acme <billing@acme.example>", text="For the office."),
    mail("<2@example.com>", subject="Hello", text="I have not seen the invoice of Acme yet. " + "More. " * 60),
    mail("<3@example.com>", subject="Lunch", text="At noon?"),
)
"""A mailbox in which people search."""

SAID = "03-rms.wav"
"""Somebody asks for an invoice, for his office."""


@dataclass
class ReceiptsBench(MailboxBench):
    """A business with a mailbox, for receipts."""

    def start_sync(self, mailbox_id: int, folder: str | None = None) -> int:
        """Enqueue the sync as the api does; the task's id."""
        with self.jobs.runtime.database.tenant(self.jobs.business_id) as session:
            return receipts.sync(session, self.jobs.runtime, mailbox_id, folder).id

    def sync_kernel(self) -> Kernel:
        """What a worker process has."""
        task = partial(receipts_sync_slice, self.jobs.runtime, patience=IMPATIENT)
        return self.jobs.kernel(task, job_type="receipts_sync")

    def sync(self, mailbox_id: int, folder: str | None = None) -> dict[str, Any]:
        """Sync to the end; the task's row."""
        return self.finish(self.start_sync(mailbox_id, folder), self.sync_kernel())

    def receipts(self, columns: Sequence[str] = ("sender_address", "amount", "currency")) -> list[tuple[Any, ...]]:
        """What was found, in the order of finding."""
        rows = self.jobs.sql("SELECT * FROM mailbox_receipts ORDER BY id")
        return [tuple(row[name] for name in columns) for row in rows]


@dataclass
class SearchBench(MailboxBench):
    """A business with a mailbox and calls, for searches."""

    def add_call(self, transcript: str, *, age_days: int = 0) -> int:
        """A recorded call; its recording's id."""
        [row] = self.jobs.sql(
            "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url, status, transcript, created_at) "
            "VALUES (%s, 'RE' || gen_random_uuid(), 'CA1', 'http://127.0.0.1/', 'completed', %s, "
            "now() - make_interval(days => %s)) RETURNING id",
            self.jobs.business_id,
            transcript,
            age_days,
        )
        return int(row["id"])

    def start_search(
        self, text: str | None = None, *, audio: bytes | None = None, mailbox_id: int | None = None
    ) -> int:
        """Enqueue a search as the api does; the task's id."""
        runtime = self.jobs.runtime
        with runtime.database.tenant(self.jobs.business_id) as session:
            reference = search.reference_to(session, mailbox_id)
            return search.start(session, runtime, reference, text=text, audio=audio).id

    def search_kernel(self) -> Kernel:
        """What a worker process has."""
        return self.jobs.kernel(partial(search.voice_search_slice, self.jobs.runtime), job_type=search.JOB)

    def search(self, text: str | None = None, **wanted: Any) -> dict[str, Any]:
        """Search to the end; the task's row."""
        return self.finish(self.start_search(text, **wanted), self.search_kernel())

    def voice_queries(self) -> list[dict[str, Any]]:
        """The spoken queries that are kept."""
        return self.jobs.sql("SELECT * FROM voice_queries")


def wav(samples: Sequence[int], *, rate: int = 16_000, channels: int = 1) -> bytes:
    """A WAV of 16-bit PCM."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()
