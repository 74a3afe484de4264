"""Rows of the tenancy domain."""

from datetime import datetime, time
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base


class Role(StrEnum):
    """What an API key may do: viewer reads, agent also works, owner also manages keys and settings."""

    OWNER = "owner"
    AGENT = "agent"
    VIEWER = "viewer"


class Business(Base):
    """A tenant, with the limits of its calls and the state of its rate limiter and breaker.

    The row is also the lock under which calls of the business are admitted.
    """

    __tablename__ = "businesses"
    __table_args__ = (
        CheckConstraint("call_cap BETWEEN 0 AND 1000", name="businesses_call_cap"),
        CheckConstraint("calls_per_second > 0", name="businesses_calls_per_second"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    timezone: Mapped[str] = mapped_column(String(64), server_default="UTC")
    call_cap: Mapped[int] = mapped_column(server_default="3", doc="Calls at once.")
    calls_per_second: Mapped[float] = mapped_column(server_default="1")
    caller_ids: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"), doc="E.164 numbers to call from.")
    calling_from: Mapped[time] = mapped_column(server_default="09:00", doc="Local time of the lead.")
    calling_until: Mapped[time] = mapped_column(server_default="20:00")
    calling_days: Mapped[int] = mapped_column(server_default="127", doc="Bit mask, Monday is bit 0.")
    rate_tokens: Mapped[float] = mapped_column(server_default="0")
    rate_refilled_at: Mapped[datetime] = mapped_column(server_default=func.now())
    breaker_failures: Mapped[int] = mapped_column(server_default="0")
    breaker_open_until: Mapped[datetime | None]
    next_wake_at: Mapped[datetime | None] = mapped_column(doc="When the sweep wakes the pump of this business.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CarrierAccount(Base):
    """Rate limiter of a carrier account, shared by all businesses that call through it. Holds no secret."""

    __tablename__ = "carrier_accounts"

    account_sid: Mapped[str] = mapped_column(String(64), primary_key=True)
    rate_tokens: Mapped[float] = mapped_column(server_default="0")
    rate_refilled_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """A key of a business; only its SHA-256 is stored (the secret has 256 bits, so no slow hash is needed)."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(16))
    prefix: Mapped[str] = mapped_column(String(16), doc="First characters, to recognise a key by.")
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """The remembered answer to a POST, written in the transaction of its effect."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("business_id", "route", "key"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    route: Mapped[str] = mapped_column(String(200))
    key: Mapped[str] = mapped_column(String(255))
    body_hash: Mapped[bytes] = mapped_column(LargeBinary)
    response_status: Mapped[int | None]
    response: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class AuditEvent(Base):
    """Who did what, for the business's own eyes."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "business_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(100))
    subject: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
