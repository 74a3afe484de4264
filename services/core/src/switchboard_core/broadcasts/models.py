"""Rows of the broadcasts domain."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, Text, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.broadcasts.states import SkipReason
from switchboard_core.db import Base
from switchboard_core.jobs.states import JobStatus
from switchboard_core.outbox.states import Channel

_CHANNELS = ", ".join(repr(channel.value) for channel in Channel)
_REASONS = ", ".join(repr(reason.value) for reason in SkipReason)
_STATUSES = ", ".join(repr(status.value) for status in JobStatus)


class Broadcast(Base):
    """One message to a filtered set of leads. Its counters are its recipients: nothing is counted twice."""

    __tablename__ = "broadcasts"
    __table_args__ = (
        CheckConstraint(f"channel IN ({_CHANNELS})", name="broadcasts_channel"),
        CheckConstraint(f"status IN ({_STATUSES})", name="broadcasts_status"),
        CheckConstraint("(channel = 'email') = (subject IS NOT NULL)", name="broadcasts_subject"),
        CheckConstraint("per_minute > 0", name="broadcasts_per_minute"),
        Index("ix_broadcasts_business_id_id", "business_id", "id"),
        Index("ix_broadcasts_background_job_id", "background_job_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    channel: Mapped[Channel]
    status: Mapped[JobStatus] = mapped_column(
        server_default=JobStatus.PENDING.value, doc="The task's, kept for when the task is deleted."
    )
    reason: Mapped[str | None] = mapped_column(Text, doc="Why it failed or was cancelled; for people.")
    background_job_id: Mapped[int | None] = mapped_column(ForeignKey("background_jobs.id", ondelete="SET NULL"))
    subject: Mapped[str | None] = mapped_column(String(500), doc="Of an e-mail; a template like the body.")
    body: Mapped[str] = mapped_column(Text, doc="A template; {name} is the lead's name.")
    from_number: Mapped[str | None] = mapped_column(String(20), doc="Of an SMS; null: the business's caller ids.")
    filter: Mapped[dict[str, Any]] = mapped_column(doc="Which leads, as LeadFilter.")
    up_to_id: Mapped[int] = mapped_column(doc="The newest lead that was there at the start: later ones are not meant.")
    per_minute: Mapped[float] = mapped_column(doc="Messages a minute at most.")
    rate_tokens: Mapped[float] = mapped_column(server_default="1")
    rate_refilled_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class BroadcastRecipient(Base):
    """One lead of a broadcast. Where its message is says the outbox; why there is none says ``skip_reason``.

    The two unique indexes are the promise: never twice to one lead, never twice to one number or address.
    """

    __tablename__ = "broadcast_recipients"
    __table_args__ = (
        CheckConstraint(f"skip_reason IN ({_REASONS})", name="broadcast_recipients_skip_reason"),
        Index("uq_broadcast_recipients_broadcast_id_lead_id", "broadcast_id", "lead_id", unique=True),
        Index(
            "uq_broadcast_recipients_broadcast_id_address",
            "broadcast_id",
            "address",
            unique=True,
            postgresql_where=text("skip_reason IS NULL"),
        ),
        Index("uq_broadcast_recipients_message_id", "message_id", unique=True),
        Index("uq_broadcast_recipients_unsubscribe_hash", "unsubscribe_hash", unique=True),
        Index("ix_broadcast_recipients_open", "broadcast_id", "id", postgresql_where=text("done_at IS NULL")),
        Index(
            "ix_broadcast_recipients_begun",
            "broadcast_id",
            "id",
            postgresql_where=text("done_at IS NULL AND message_id IS NOT NULL"),
        ),
        Index("ix_broadcast_recipients_broadcast_id_id", "broadcast_id", "id"),
        Index("ix_broadcast_recipients_check_at", "check_at", postgresql_where=text("check_at IS NOT NULL")),
        Index("ix_broadcast_recipients_address_from_number", "address", "from_number"),
        Index("ix_broadcast_recipients_lead_id", "lead_id"),
        Index("ix_broadcast_recipients_business_id", "business_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id", ondelete="CASCADE"))
    lead_id: Mapped[int | None] = mapped_column(ForeignKey("leads.id", ondelete="SET NULL"))
    address: Mapped[str | None] = mapped_column(String(320), doc="E.164 number, or address in lower case.")
    address_hash: Mapped[bytes | None] = mapped_column(LargeBinary, doc="What is left of an erased address.")
    skip_reason: Mapped[SkipReason | None] = mapped_column(doc="Why it gets no message.")
    message_id: Mapped[uuid.UUID | None] = mapped_column(
        Uuid, ForeignKey("outgoing_messages.id", ondelete="SET NULL"), doc="In the outbox, once its turn has come."
    )
    from_number: Mapped[str | None] = mapped_column(String(20), doc="That the newest attempt was sent from.")
    body_hash: Mapped[bytes | None] = mapped_column(LargeBinary, doc="SHA-256 of what the newest attempt said.")
    unsubscribe_hash: Mapped[bytes | None] = mapped_column(LargeBinary, doc="SHA-256 of the token in its link.")
    released_at: Mapped[datetime | None] = mapped_column(doc="When the newest attempt passed the last look.")
    check_at: Mapped[datetime | None] = mapped_column(doc="When to ask the carrier about it; null: nothing to ask.")
    done_at: Mapped[datetime | None] = mapped_column(doc="When the task was through with it.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class OptOut(Base):
    """An address that wants no messages of a business, kept as a hash so that it survives the erasure of the lead."""

    __tablename__ = "opt_outs"
    __table_args__ = (CheckConstraint(f"channel IN ({_CHANNELS})", name="opt_outs_channel"),)

    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), primary_key=True)
    channel: Mapped[Channel] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    reason: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class IncomingMessage(Base):
    """A message of somebody that was applied. Neither who sent it nor what it said: only that it counts no more."""

    __tablename__ = "incoming_messages"
    __table_args__ = (Index("ix_incoming_messages_business_id_received_at", "business_id", "received_at"),)

    message_sid: Mapped[str] = mapped_column(String(64), primary_key=True, doc="The carrier's id of it.")
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), primary_key=True)
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class MessageRate(Base):
    """The rate limiter that all broadcasts of a business share, per channel. The row is also its lock."""

    __tablename__ = "message_rates"
    __table_args__ = (CheckConstraint(f"channel IN ({_CHANNELS})", name="message_rates_channel"),)

    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), primary_key=True)
    channel: Mapped[Channel] = mapped_column(primary_key=True)
    rate_tokens: Mapped[float] = mapped_column(server_default="1")
    rate_refilled_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
