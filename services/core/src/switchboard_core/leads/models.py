"""Rows of the leads domain."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, LargeBinary, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base


class Lead(Base):
    """A person whom a business may call. One live lead per number and business."""

    __tablename__ = "leads"
    __table_args__ = (
        Index(
            "uq_leads_business_id_phone",
            "business_id",
            "phone",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_leads_business_id_import_id", "business_id", "import_id"),
        Index("ix_leads_business_id_id", "business_id", "id"),
        Index(
            "ix_leads_deleted_by_job_id_id",
            "deleted_by_job_id",
            "id",
            postgresql_where=text("deleted_by_job_id IS NOT NULL"),
        ),
        Index("ix_leads_purgeable", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL AND phone <> ''")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    phone: Mapped[str] = mapped_column(String(20), doc="E.164; empty once a deleted lead is anonymised.")
    name: Mapped[str | None] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(320))
    timezone: Mapped[str] = mapped_column(String(64), doc="IANA name; decides the calling hours.")
    tags: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    import_id: Mapped[int | None] = mapped_column(ForeignKey("lead_imports.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]
    # No foreign key: finished tasks are cleaned up on their own, and their ids are never used again.
    deleted_by_job_id: Mapped[int | None] = mapped_column(doc="The task that deleted it, which can be undone.")


class LeadImport(Base):
    """One uploaded CSV and what became of its rows: ``total = created + updated + duplicates + rejected``.

    It is written in one transaction with the leads that it creates, and ``created_at`` of all of them is that
    transaction's moment. As a business imports one file at a time, this tells the leads that an import *created* from
    those that it only updated, whatever later imports did to them (``import_id`` names the last one).
    """

    __tablename__ = "lead_imports"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(255))
    total: Mapped[int] = mapped_column(server_default="0")
    created: Mapped[int] = mapped_column(server_default="0")
    updated: Mapped[int] = mapped_column(server_default="0")
    duplicates: Mapped[int] = mapped_column(server_default="0")
    rejected: Mapped[int] = mapped_column(server_default="0")
    do_not_call: Mapped[int] = mapped_column(server_default="0", doc="Rows that were put on the do-not-call list.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LeadImportError(Base):
    """A row of a CSV that was rejected, and why."""

    __tablename__ = "lead_import_errors"
    __table_args__ = (Index(None, "business_id", "import_id", "line"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    import_id: Mapped[int] = mapped_column(ForeignKey("lead_imports.id", ondelete="CASCADE"))
    line: Mapped[int] = mapped_column(doc="Line of the file, the header is line 1.")
    column: Mapped[str | None] = mapped_column(String(100))
    message: Mapped[str] = mapped_column(Text)


class DoNotCall(Base):
    """A number that a business must never dial, kept as a hash so that it survives the erasure of the lead."""

    __tablename__ = "do_not_call"

    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), primary_key=True)
    phone_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    reason: Mapped[str] = mapped_column(String(200), server_default="requested")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
