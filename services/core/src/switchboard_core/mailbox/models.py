"""Rows of the mailbox domain."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, Numeric, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base
from switchboard_core.mailbox.states import MailboxAuth, Security, SortState


class Mailbox(Base):
    """A connected IMAP mailbox. What opens it lies in the vault."""

    __tablename__ = "mailboxes"
    __table_args__ = (
        Index("uq_mailboxes_business_id_host_username", "business_id", "host", "username", unique=True),
        Index("ix_mailboxes_credential_id", "credential_id"),
        CheckConstraint("security IN ('tls', 'starttls', 'none')", name="mailboxes_security"),
        CheckConstraint("auth IN ('password', 'oauth2')", name="mailboxes_auth"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int]
    security: Mapped[Security] = mapped_column(server_default="tls")
    username: Mapped[str] = mapped_column(String(320))
    auth: Mapped[MailboxAuth] = mapped_column(server_default="password")
    credential_id: Mapped[int] = mapped_column(ForeignKey("credentials.id", ondelete="CASCADE"))
    folder: Mapped[str] = mapped_column(String(255), server_default="INBOX", doc="What is sorted.")
    rules: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"), doc="See mailbox.rules.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SortedMessage(Base):
    """A message that a rule took: once for each Message-ID and mailbox, whatever is killed when.

    The row is committed as ``moving`` before the message is touched. Whoever finds it like that looks where the
    message is.
    """

    __tablename__ = "sorted_messages"
    __table_args__ = (
        Index("uq_sorted_messages_mailbox_id_identity", "mailbox_id", "identity", unique=True),
        Index(
            "ix_sorted_messages_moving",
            "mailbox_id",
            "id",
            postgresql_where=text("state = 'moving'"),
        ),
        Index("ix_sorted_messages_business_id", "business_id"),
        CheckConstraint("state IN ('moving', 'moved')", name="sorted_messages_state"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    identity: Mapped[bytes] = mapped_column(LargeBinary, doc="SHA-256 of the Message-ID, or of the header without one.")
    job_id: Mapped[int] = mapped_column(doc="The task that claimed it.")
    uidvalidity: Mapped[int]
    uid: Mapped[int] = mapped_column(doc="In the folder that it came from.")
    size: Mapped[int] = mapped_column(doc="In bytes.")
    rule: Mapped[str] = mapped_column(String(100))
    folder: Mapped[str | None] = mapped_column(String(255), doc="Where it goes; None where it is only marked as read.")
    mark_seen: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[SortState] = mapped_column(server_default="moving")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    settled_at: Mapped[datetime | None]


class MailboxPosition(Base):
    """How far ``receipts_sync`` has read a folder; the next run goes on behind it."""

    __tablename__ = "mailbox_positions"
    __table_args__ = (
        Index("uq_mailbox_positions_mailbox_id_folder", "mailbox_id", "folder", unique=True),
        Index("ix_mailbox_positions_business_id", "business_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    folder: Mapped[str] = mapped_column(String(255))
    uidvalidity: Mapped[int] = mapped_column(doc="The uid means nothing once the folder has another one.")
    after_uid: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class MailboxReceipt(Base):
    """A receipt that a mail holds; each mail of a mailbox once, wherever it is moved."""

    __tablename__ = "mailbox_receipts"
    __table_args__ = (
        Index("uq_mailbox_receipts_mailbox_id_identity", "mailbox_id", "identity", unique=True),
        Index("ix_mailbox_receipts_business_id_id", "business_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    identity: Mapped[bytes] = mapped_column(LargeBinary, doc="SHA-256 of the Message-ID, or of the header without one.")
    folder: Mapped[str] = mapped_column(String(255), doc="Where it was found.")
    sender_name: Mapped[str] = mapped_column(String(255))
    sender_address: Mapped[str] = mapped_column(String(320))
    subject: Mapped[str] = mapped_column(String(500))
    amount: Mapped[Decimal] = mapped_column(Numeric(18, 3))
    currency: Mapped[str] = mapped_column(String(3), doc="ISO 4217.")
    date: Mapped[datetime | None]
    attachment_name: Mapped[str | None] = mapped_column(String(255))
    attachment_type: Mapped[str | None] = mapped_column(String(127))
    attachment_bytes: Mapped[int | None] = mapped_column(doc="About, where it was too large to be read.")
    attachment_sha256: Mapped[str | None] = mapped_column(String(64))
    confidence: Mapped[Decimal] = mapped_column(Numeric(3, 2), doc="That this is a receipt, between 0 and 1.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class VoiceQuery(Base):
    """What somebody said to search for; deleted with the search, or after an hour."""

    __tablename__ = "voice_queries"
    __table_args__ = (
        Index("ix_voice_queries_business_id", "business_id"),
        Index("ix_voice_queries_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    audio: Mapped[bytes] = mapped_column(LargeBinary, doc="A WAV; empty once it was understood.")
    heard: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
