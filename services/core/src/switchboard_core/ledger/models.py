"""Rows of the ledger domain."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base
from switchboard_core.ledger.states import ConnectionKind, ConnectionState, TransactionStatus


class LedgerConnection(Base):
    """An accounting system, or a set of CSV files, that documents come from.

    ``cursors`` says for each collection how far it was read; it moves only in the transaction that writes the
    documents up to there.
    """

    __tablename__ = "ledger_connections"
    __table_args__ = (
        UniqueConstraint("business_id", "id"),
        UniqueConstraint("business_id", "name"),
        CheckConstraint("kind IN ('api', 'csv')", name="ledger_connections_kind"),
        CheckConstraint("state IN ('ready', 'failed')", name="ledger_connections_state"),
        CheckConstraint("(kind = 'api') = (base_url IS NOT NULL)", name="ledger_connections_base_url"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[ConnectionKind] = mapped_column(server_default=ConnectionKind.CSV.value)
    base_url: Mapped[str | None] = mapped_column(Text)
    credential_id: Mapped[int | None] = mapped_column(ForeignKey("credentials.id", ondelete="SET NULL"), index=True)
    state: Mapped[ConnectionState] = mapped_column(server_default=ConnectionState.READY.value)
    reason: Mapped[str | None] = mapped_column(Text, doc="Why the last sync failed; for people.")
    cursors: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    last_synced_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


# Both kinds of documents refer to their connection by business and id: the unique index of each table begins with
# them, so deleting a connection finds its documents, and no document can hang on another tenant's connection.


class Counterparty(Base):
    """Somebody whom a business pays or is paid by."""

    __tablename__ = "counterparties"
    __table_args__ = (
        ForeignKeyConstraint(
            ["business_id", "connection_id"],
            ["ledger_connections.business_id", "ledger_connections.id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("business_id", "connection_id", "external_id"),
        Index("ix_counterparties_business_id_id", "business_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int]
    connection_id: Mapped[int]
    external_id: Mapped[str] = mapped_column(String(128), doc="Its id in the accounting system.")
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(320))
    deleted: Mapped[bool] = mapped_column(server_default=text("false"))
    source_version: Mapped[int] = mapped_column(doc="Of the document; an older one never overwrites a newer one.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Transaction(Base):
    """An entry in the books of a business."""

    __tablename__ = "transactions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["business_id", "connection_id"],
            ["ledger_connections.business_id", "ledger_connections.id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("business_id", "connection_id", "external_id"),
        CheckConstraint("status IN ('pending', 'posted', 'voided')", name="transactions_status"),
        Index("ix_transactions_business_id_id", "business_id", "id"),
        Index("ix_transactions_counterparty_id_id", "counterparty_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int]
    connection_id: Mapped[int]
    external_id: Mapped[str] = mapped_column(String(128), doc="Its id in the accounting system.")
    counterparty_id: Mapped[int | None] = mapped_column(ForeignKey("counterparties.id", ondelete="CASCADE"))
    amount: Mapped[Decimal] = mapped_column(Numeric(18, 4))
    currency: Mapped[str] = mapped_column(String(3), doc="ISO 4217.")
    booked_on: Mapped[date]
    status: Mapped[TransactionStatus] = mapped_column(server_default=TransactionStatus.POSTED.value)
    description: Mapped[str | None] = mapped_column(String(500))
    deleted: Mapped[bool] = mapped_column(server_default=text("false"))
    source_version: Mapped[int] = mapped_column(doc="Of the document; an older one never overwrites a newer one.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
