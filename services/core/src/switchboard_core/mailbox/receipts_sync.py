"""``receipts_sync``: finds the receipts in a mailbox, a page of messages at a time, and goes on there the next time.

Reading a mailbox changes nothing in it, so one transaction is enough: the receipts of a slice, how far the folder has
been read and the task's counters are committed together, by the kernel. Whatever is killed before that has never
happened, and the next slice reads the same messages again. A message is known by its Message-ID, so one that was moved,
copied or renumbered is not counted twice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from switchboard_core.jobs.slices import Cursor, ItemError, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.logs import get_logger
from switchboard_core.mailbox import service
from switchboard_core.mailbox.errors import MailboxError, MailboxRefusedError
from switchboard_core.mailbox.extraction import Document, Mail, Receipt, Text, clean, extract_receipt
from switchboard_core.mailbox.imap import ImapSession
from switchboard_core.mailbox.messages import MessageHeader
from switchboard_core.mailbox.models import MailboxPosition, MailboxReceipt
from switchboard_core.mailbox.progress import Patience
from switchboard_core.runtime import Runtime
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError
from switchboard_core.vault.service import CredentialNotFoundError

log = get_logger(__name__)

PAGE = 50
MAX_TEXT_BYTES = 256 * 1024
MAX_TEXTS = 4
MAX_DOCUMENT_BYTES = 10 * 1024 * 1024
"""Encoded; of a larger document only name and size are kept. Receipts are far smaller, and a slice has a minute."""

_UNUSABLE = (
    service.MailboxNotFoundError,
    service.NotAReferenceError,
    CredentialNotFoundError,
    KeysMissingError,
    UnreadableSecretError,
)


@dataclass
class Progress:
    """The task's cursor; how far the folder has been read is kept beyond the task, in ``mailbox_positions``.

    Attributes:
        folder: that is read; None before the first look.
        up_to_uid: the last message that was there at the start.
        seen: messages that were read.
        found: receipts that are new.
        known: receipts that were there before.
        failures: of the connection, in a row and without progress between them.
    """

    folder: str | None = None
    up_to_uid: int = 0
    seen: int = 0
    found: int = 0
    known: int = 0
    failures: int = 0

    def result(self) -> dict[str, Any]:
        """What to show with the finished task."""
        return {"folder": self.folder, "found": self.found, "known": self.known}


@dataclass(frozen=True)
class Found:
    """A receipt and the message that it was found in.

    Attributes:
        header: of the message.
        receipt: what it says.
        document_bytes: size of its document; about, where that was not read.
        sha256: of its document, in hexadecimal; None where that was not read or there is none.
    """

    header: MessageHeader
    receipt: Receipt
    document_bytes: int | None = None
    sha256: str | None = None

    @property
    def unread_document(self) -> bool:
        """Whether its document was too large."""
        return self.receipt.document is not None and self.sha256 is None

    def row(self, business_id: int, mailbox_id: int, folder: str) -> dict[str, Any]:
        """The values of its row."""
        document = self.receipt.document
        return {
            "business_id": business_id,
            "mailbox_id": mailbox_id,
            "identity": self.header.identity,
            "folder": folder,
            "sender_name": self.receipt.sender_name,
            "sender_address": self.receipt.sender_address,
            "subject": clean(self.header.subject)[:500],
            "amount": self.receipt.amount,
            "currency": self.receipt.currency,
            "date": self.receipt.date,
            "attachment_name": document.name if document else None,
            "attachment_type": document.content_type if document else None,
            "attachment_bytes": self.document_bytes,
            "attachment_sha256": self.sha256,
            "confidence": self.receipt.confidence,
        }


def receipts_sync_slice(
    runtime: Runtime,
    ctx: SliceContext,
    payload: dict[str, Any],
    cursor: Cursor | None,
    *,
    patience: Patience | None = None,
) -> Slice:
    """Look for receipts in the next messages of a mailbox.

    Args:
        runtime: of the worker.
        ctx: of the slice.
        payload: ``credentials_json``, the reference to the mailbox, and perhaps ``folder``.
        cursor: a ``Progress``.
        patience: with a mail server that is away.
    """
    try:
        sync = _Sync(runtime, ctx, payload, cursor)
        try:
            sync.read()
        except MailboxError as error:
            return sync.interrupted(error, patience or Patience())
    except _UNUSABLE as error:
        return Slice(ends_as=JobStatus.FAILED, reason=str(error))
    return sync.outcome()


class _Sync:
    """One slice of the sync of one mailbox."""

    def __init__(self, runtime: Runtime, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> None:
        self._runtime = runtime
        self._ctx = ctx
        self._progress = Progress(**cursor) if cursor else Progress()
        self._mailbox_id = service.mailbox_id_of(payload["credentials_json"])
        self._found: list[Found] = []
        self._nothing_in = 0
        self._total: int | None = None
        self._finished = False
        with runtime.database.tenant(ctx.business_id) as session:
            mailbox = service.row_of(session, self._mailbox_id)
            self._folder: str = self._progress.folder or payload.get("folder") or mailbox.folder
            position = session.scalars(
                select(MailboxPosition).where(
                    MailboxPosition.mailbox_id == self._mailbox_id, MailboxPosition.folder == self._folder
                )
            ).first()
        self._uidvalidity = position.uidvalidity if position else None
        self._after_uid = position.after_uid if position else 0

    def read(self) -> None:
        """Talk to the mail server; writes nothing.

        Raises:
            MailboxError: what was read up to then counts.
        """
        with service.imap_session(self._runtime, self._ctx.business_id, self._mailbox_id) as imap:
            waiting = self._begin(imap)
            touched = 0
            while waiting:
                page = waiting[: min(PAGE, self._ctx.limit - touched)]
                read = self._read_page(imap, page)
                waiting, touched = waiting[read:], touched + read
                if waiting and (self._ctx.out_of_time or touched >= self._ctx.limit):
                    return
            self._finished = True

    def outcome(self) -> Slice:
        """Write down what was found."""
        self._store()
        if not self._finished:
            return Slice(next_cursor=asdict(self._progress), total=self._total)
        log.info("receipts synced", mailbox_id=self._mailbox_id, found=self._progress.found, seen=self._progress.seen)
        return Slice(total=self._total, result=self._progress.result())

    def interrupted(self, error: MailboxError, patience: Patience) -> Slice:
        """Write down what was found before the error, and try again later where that makes sense."""
        self._store()
        self._progress.failures += 1
        failures = self._progress.failures
        log.warning("receipts not synced further", mailbox_id=self._mailbox_id, error=type(error).__name__)
        if error.retryable and failures < patience.tries:
            return Slice(next_cursor=asdict(self._progress), total=self._total, sleep_s=patience.pause_s(failures))
        reason = str(error)
        if error.retryable:
            reason = f"{error} It was tried {failures} times: sync again once the mail server answers."
        return Slice(total=self._total, result=self._progress.result(), ends_as=JobStatus.FAILED, reason=reason)

    def _begin(self, imap: ImapSession) -> list[int]:
        """The uids that wait, ascending."""
        progress = self._progress
        folder = imap.select(self._folder, readonly=True)
        if self._uidvalidity != folder.uidvalidity:
            # The uids up to now mean nothing any more. What was found is known by Message-ID.
            self._uidvalidity, self._after_uid, progress.folder = folder.uidvalidity, 0, None
        first_look = progress.folder is None
        if first_look:
            progress.folder, progress.up_to_uid = self._folder, folder.uidnext - 1
        # All of them once, to be counted; then no more than it takes to see that this slice leaves some.
        limit = None if first_look else self._ctx.limit + 1
        waiting = imap.uids_after(self._after_uid, up_to=progress.up_to_uid, limit=limit)
        if first_look:
            self._total = progress.seen + len(waiting)
        return waiting

    def _read_page(self, imap: ImapSession, uids: Sequence[int]) -> int:
        """Read messages until the slice's time is over; how many."""
        headers = {header.uid: header for header in imap.headers(uids)}
        for number, uid in enumerate(uids, start=1):
            # One that is not there any more is done with, too.
            if uid in headers:
                self._read_message(imap, headers[uid])
            else:
                self._nothing_in += 1
            self._after_uid = uid
            # Not before: getting in is no progress where the connection always breaks at the same message.
            self._progress.failures = 0
            if self._ctx.out_of_time:
                return number
        return len(uids)

    def _read_message(self, imap: ImapSession, header: MessageHeader) -> None:
        if header.problem is not None:
            self._report(header.uid, header.problem)
            return
        try:
            found = _find(imap, header)
        except MailboxRefusedError as error:
            self._report(header.uid, str(error))
            return
        if found is None:
            self._nothing_in += 1
            return
        self._found.append(found)

    def _report(self, uid: int, sentence: str) -> None:
        self._ctx.errors.append(ItemError(self._name(uid), sentence))

    def _name(self, uid: int) -> str:
        return f"message {uid} in {self._folder}"

    def _store(self) -> None:
        """Write receipts and position in the slice's own transaction."""
        ctx = self._ctx
        self._progress.seen += len(self._found) + self._nothing_in + len(ctx.errors)
        ctx.done += self._nothing_in
        ctx.each(self._found, self._insert, name=lambda found: self._name(found.header.uid))
        failed = {error.item for error in ctx.errors}
        for found in self._found:
            if found.unread_document and self._name(found.header.uid) not in failed:
                sentence = (
                    f"Its attachment has about {found.document_bytes:,} bytes and was not read: the receipt was kept "
                    "without the attachment's checksum."
                )
                self._report(found.header.uid, sentence)
                ctx.done -= 1  # each message counts once, and people should look at this one
        if self._uidvalidity is not None:
            self._keep_position(self._uidvalidity)

    def _insert(self, batch: Sequence[Found]) -> None:
        assert self._progress.folder is not None
        rows = {
            found.header.identity: found.row(self._ctx.business_id, self._mailbox_id, self._progress.folder)
            for found in batch
        }
        inserted = self._ctx.session.scalars(
            insert(MailboxReceipt)
            .values(list(rows.values()))
            .on_conflict_do_nothing(index_elements=["mailbox_id", "identity"])
            .returning(MailboxReceipt.id)
        ).all()
        self._progress.found += len(inserted)
        self._progress.known += len(batch) - len(inserted)

    def _keep_position(self, uidvalidity: int) -> None:
        values = {"uidvalidity": uidvalidity, "after_uid": self._after_uid, "updated_at": func.clock_timestamp()}
        statement = insert(MailboxPosition).values(
            business_id=self._ctx.business_id, mailbox_id=self._mailbox_id, folder=self._folder, **values
        )
        self._ctx.session.execute(statement.on_conflict_do_update(index_elements=["mailbox_id", "folder"], set_=values))


def _find(imap: ImapSession, header: MessageHeader) -> Found | None:
    """The receipt in a message; its document is fetched only when there is one.

    Raises:
        MailboxError: the message cannot be read, or the connection broke.
    """
    attached = {part.section: part for part in header.parts if part.attachment}
    documents = [Document(part.filename or "", part.content_type, section) for section, part in attached.items()]
    mail = Mail(
        sender=header.sender,
        subject=header.subject,
        texts=_texts(imap, header),
        documents=documents,
        date=next((moment for moment in (header.date, header.received) if _plausible(moment)), None),
        bulk=header.list_id is not None,
    )
    receipt = extract_receipt(mail)
    if receipt is None or receipt.document is None:
        return None if receipt is None else Found(header, receipt)
    part = attached[receipt.document.section]
    if part.size <= MAX_DOCUMENT_BYTES:
        content = imap.content(header.uid, part, max_bytes=MAX_DOCUMENT_BYTES)
        if not content.truncated:
            return Found(header, receipt, len(content.data), hashlib.sha256(content.data).hexdigest())
    return Found(header, receipt, part.size * 3 // 4 if part.encoding == "base64" else part.size)


def _texts(imap: ImapSession, header: MessageHeader) -> list[Text]:
    """The shown parts: the plain ones, and the HTML only where those do not have a number in them."""
    shown = [part for part in header.parts if not part.attachment]
    texts: list[Text] = []
    for kind in ("text/plain", "text/html"):
        wanted = [part for part in shown if part.content_type == kind][:MAX_TEXTS]
        texts += [
            Text(kind, imap.content(header.uid, part, max_bytes=MAX_TEXT_BYTES).text) for part in wanted if part.size
        ]
        if any(character.isdigit() for text in texts for character in text.text):
            break
    return texts


def _plausible(moment: datetime | None) -> bool:
    """Whether a date can be one of a mail: senders write what they like, and not all of it can be stored and read."""
    return moment is not None and 1980 <= moment.year <= 2100
