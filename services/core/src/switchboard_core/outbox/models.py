"""Rows of the outbox: messages, and the mail account that a business sends from."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, Text, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base
from switchboard_core.outbox.states import Channel, MessageState


class Security(StrEnum):
    """How a connection to a mail server is protected."""

    TLS = "tls"
    """TLS from the first byte (SMTP port 465, IMAP port 993)."""
    STARTTLS = "starttls"
    """Plain at first; nothing but the greeting goes over it before TLS stands (SMTP port 587, IMAP port 143)."""
    NONE = "none"
    """Not at all; carries no password."""


def _one_of(column: str, states: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(state.value) for state in states)})"


class OutgoingMessage(Base):
    """One mail or SMS. A key is in the table once and for all, so nothing that has it is ever sent twice.

    The row outlives the content: erased, it still says that its key was used.
    """

    __tablename__ = "outgoing_messages"
    __table_args__ = (
        CheckConstraint(_one_of("channel", Channel), name="outgoing_messages_channel"),
        CheckConstraint(_one_of("state", MessageState), name="outgoing_messages_state"),
        Index("uq_outgoing_messages_business_id_dedupe_key", "business_id", "dedupe_key", unique=True),
        Index(
            "uq_outgoing_messages_business_id_provider_id",
            "business_id",
            "provider_id",
            unique=True,
            postgresql_where=text("provider_id IS NOT NULL"),
        ),
        Index("ix_outgoing_messages_sending", "lease_until", postgresql_where=text("state = 'sending'")),
        Index(
            "ix_outgoing_messages_archive",
            "business_id",
            "archive",
            "handed_over_at",
            postgresql_where=text("archive IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    channel: Mapped[Channel]
    dedupe_key: Mapped[str] = mapped_column(String(255), doc="What it is for, such as receipt:7.")
    recipient: Mapped[str | None] = mapped_column(String(320), doc="Address or E.164 number; null once erased.")
    state: Mapped[MessageState] = mapped_column(server_default=MessageState.QUEUED.value)
    reason: Mapped[str | None] = mapped_column(Text, doc="One sentence for people.")
    attempt: Mapped[int] = mapped_column(server_default="0", doc="The fence: counts claims.")
    tries: Mapped[int] = mapped_column(server_default="0", doc="Failed tries since it was last put in the queue.")
    run_after: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    lease_until: Mapped[datetime | None]
    handed_over_at: Mapped[datetime | None] = mapped_column(
        doc="Set by the newest attempt just before the byte that makes the message count."
    )
    header: Mapped[str | None] = mapped_column(String(320), doc="Message-ID of a mail, the same in every attempt.")
    archive: Mapped[str | None] = mapped_column(String(320), doc="Address that got a blind copy of this attempt.")
    provider_id: Mapped[str | None] = mapped_column(String(64), doc="The carrier's id of an SMS.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    sent_at: Mapped[datetime | None] = mapped_column(doc="When it was accepted.")
    erased_at: Mapped[datetime | None] = mapped_column(doc="When its content was deleted; it is never sent again.")


class MailAccount(Base):
    """Where a business's mail leaves from, and where a copy of it can be looked for."""

    __tablename__ = "mail_accounts"
    __table_args__ = (
        CheckConstraint(_one_of("security", Security), name="mail_accounts_security"),
        CheckConstraint(_one_of("archive_security", Security), name="mail_accounts_archive_security"),
        Index("uq_mail_accounts_business_id", "business_id", unique=True),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int]
    security: Mapped[Security] = mapped_column(server_default=Security.STARTTLS.value)
    username: Mapped[str | None] = mapped_column(String(320))
    from_address: Mapped[str] = mapped_column(String(320))
    from_name: Mapped[str | None] = mapped_column(String(200))
    credential_id: Mapped[int | None] = mapped_column(
        ForeignKey("credentials.id", ondelete="SET NULL"), doc="Passwords of the account and of its archive."
    )
    archive_address: Mapped[str | None] = mapped_column(String(320), doc="Gets a blind copy of every mail.")
    archive_host: Mapped[str | None] = mapped_column(String(255), doc="IMAP server on which the copies are.")
    archive_port: Mapped[int | None]
    archive_security: Mapped[Security | None]
    archive_username: Mapped[str | None] = mapped_column(String(320))
    archive_folder: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
