"""Rows of the receipts domain."""

import uuid
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ForeignKey, Identity, Index, LargeBinary, Numeric, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base


class AppUser(Base):
    """A customer of a business who pays and gets receipts."""

    __tablename__ = "app_users"
    __table_args__ = (Index("ix_app_users_business_id_id", "business_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str] = mapped_column(String(320))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Payment(Base):
    """Money that a user has paid."""

    __tablename__ = "payments"
    __table_args__ = (
        Index("ix_payments_business_id_id", "business_id", "id"),
        Index("ix_payments_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("app_users.id", ondelete="CASCADE"))
    amount: Mapped[Decimal] = mapped_column(Numeric(18, 3))
    currency: Mapped[str] = mapped_column(String(3), doc="ISO 4217.")
    description: Mapped[str] = mapped_column(String(500))
    reference: Mapped[str | None] = mapped_column(String(100), doc="The business's own number of it.")
    paid_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReceiptTemplate(Base):
    """How the receipts of a business look; without a row they look as the built-in template says."""

    __tablename__ = "receipt_templates"
    __table_args__ = (Index("uq_receipt_templates_business_id", "business_id", unique=True),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Receipt(Base):
    """The receipt of a payment, as it was rendered, and the mail that carries it. One per payment."""

    __tablename__ = "receipts"
    __table_args__ = (
        Index("uq_receipts_payment_id", "payment_id", unique=True),
        Index("ix_receipts_business_id_id", "business_id", "id"),
        Index("ix_receipts_message_id", "message_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    payment_id: Mapped[int] = mapped_column(ForeignKey("payments.id", ondelete="CASCADE"))
    message_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("outgoing_messages.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(500))
    html: Mapped[str] = mapped_column(Text, deferred=True)
    pdf: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
