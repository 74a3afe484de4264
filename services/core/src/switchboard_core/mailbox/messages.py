"""What is known of folders and messages."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from switchboard_core.mailbox import mime
from switchboard_core.mailbox.mime import Part


@dataclass(frozen=True)
class Folder:
    """A selected folder.

    Attributes:
        name: as people write it.
        uidvalidity: uids mean nothing any more once this has changed.
        uidnext: above every uid there is.
        exists: messages in it.
    """

    name: str
    uidvalidity: int
    uidnext: int
    exists: int


@dataclass(frozen=True)
class MessageHeader:
    """What is known of a message without its content.

    Attributes:
        uid: in the selected folder.
        identity: SHA-256 of the Message-ID, or of the header where there is none.
        message_id: with its angle brackets.
        sender: the From field, decoded.
        recipients: To and Cc, decoded.
        subject: decoded.
        list_id: decoded.
        content_type: of the whole message, lower case, such as ``multipart/report``.
        date: when it says it was written.
        received: when the server got it.
        size: in bytes.
        flags: such as ``\\Seen``.
        parts: its parts; empty when the server could not tell them.
        problem: why it could not be read; then nothing else is known.
    """

    uid: int
    identity: bytes = b""
    message_id: str | None = None
    sender: str = ""
    recipients: str = ""
    subject: str = ""
    list_id: str | None = None
    content_type: str = ""
    date: datetime | None = None
    received: datetime | None = None
    size: int = 0
    flags: frozenset[str] = frozenset()
    parts: tuple[Part, ...] = ()
    problem: str | None = None

    @property
    def has_attachment(self) -> bool:
        """Whether something is attached."""
        return any(part.attachment for part in self.parts)

    @property
    def when(self) -> datetime | None:
        """When it arrived, or else when it says it was written."""
        return self.received or self.date


@dataclass(frozen=True)
class Content:
    """The content of a part.

    Attributes:
        part: which.
        data: decoded from its transport encoding.
        truncated: there is more of it than was fetched.
    """

    part: Part
    data: bytes
    truncated: bool

    @property
    def text(self) -> str:
        """As text, in the charset it claims or a better one."""
        return mime.decode_text(self.data, self.part.charset)


def header_of(uid: int, answer: dict[bytes, Any]) -> MessageHeader:
    """What an answer to FETCH tells about a message."""
    raw = next((value for key, value in answer.items() if key.startswith(b"BODY[HEADER") and value), b"")
    fields = mime.fields_of(raw)

    def first(name: str) -> bytes:
        return fields.get(name, [b""])[0]

    message_id = mime.message_id_of(first("message-id"))
    received = answer.get(b"INTERNALDATE")
    return MessageHeader(
        uid=uid,
        identity=hashlib.sha256((message_id or "").encode() or raw).digest(),
        message_id=message_id,
        sender=mime.decode_field(first("from")),
        recipients=", ".join(mime.decode_field(value) for name in ("to", "cc") for value in fields.get(name, [])[:10]),
        subject=mime.decode_field(first("subject")),
        list_id=mime.decode_field(first("list-id")) or None,
        content_type=mime.decode_field(first("content-type")).partition(";")[0].strip().lower(),
        date=mime.date_of(first("date")),
        received=_aware(received) if isinstance(received, datetime) else None,
        size=int(answer.get(b"RFC822.SIZE", 0)),
        flags=frozenset(mime.decode_text(flag) for flag in answer.get(b"FLAGS", ())),
        parts=mime.parts_of(answer.get(b"BODYSTRUCTURE")),
    )


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
