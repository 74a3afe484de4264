"""The row behind every background job."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base
from switchboard_core.jobs.states import JobStatus


class BackgroundJob(Base):
    """A background job. Its RQ job is only a wake-up with the id ``{job_type}_{id}``."""

    __tablename__ = "background_jobs"
    __table_args__ = (
        CheckConstraint(
            f"status IN ({', '.join(repr(status.value) for status in JobStatus)})", name="background_jobs_status"
        ),
        Index(
            "uq_background_jobs_dedupe_key",
            "business_id",
            "dedupe_key",
            unique=True,
            postgresql_where=text("status IN ('pending', 'running') AND dedupe_key IS NOT NULL"),
        ),
        Index("ix_background_jobs_business_id_status_id", "business_id", "status", "id"),
        Index(
            "ix_background_jobs_open",
            "business_id",
            "queue",
            "id",
            postgresql_where=text("status IN ('pending', 'running')"),
        ),
        Index(
            "ix_background_jobs_admitted",
            "business_id",
            "queue",
            "run_after",
            postgresql_where=text("status IN ('pending', 'running') AND admitted_at IS NOT NULL"),
        ),
        Index(
            "ix_background_jobs_waiting",
            "business_id",
            "queue",
            "id",
            postgresql_where=text("status IN ('pending', 'running') AND admitted_at IS NULL"),
        ),
        Index(
            "ix_background_jobs_wakeable",
            "run_after",
            "id",
            postgresql_where=text("status IN ('pending', 'running') AND admitted_at IS NOT NULL"),
        ),
        Index("ix_background_jobs_business_id_id", "business_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    job_type: Mapped[str] = mapped_column(String(64), doc="chk_job_type lists what the schema allows.")
    queue: Mapped[str] = mapped_column(String(32))
    status: Mapped[JobStatus] = mapped_column(server_default=JobStatus.PENDING.value)
    payload: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    payload_version: Mapped[int] = mapped_column(server_default="1")
    cursor: Mapped[dict[str, Any] | None] = mapped_column(doc="Where the next slice starts; null at the start.")
    total: Mapped[int | None] = mapped_column(doc="Items in all, where known.")
    done: Mapped[int] = mapped_column(server_default="0", doc="Items that succeeded.")
    failed: Mapped[int] = mapped_column(server_default="0", doc="Items that failed, each with an entry in errors.")
    errors: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"), doc="The first 1,000 errors.")
    result: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(Text, doc="Why it failed, was cancelled or is parked; for people.")
    attempt: Mapped[int] = mapped_column(server_default="0", doc="The fence: only the newest claim may write.")
    crash_count: Mapped[int] = mapped_column(server_default="0", doc="Claims in a row that ended with no word.")
    setbacks: Mapped[int] = mapped_column(server_default="0", doc="Slices in a row that the database refused.")
    admitted_at: Mapped[datetime | None] = mapped_column(doc="When it was let into Redis; null while it waits.")
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    dedupe_key: Mapped[str | None] = mapped_column(String(255))
    version: Mapped[int] = mapped_column(server_default="1", doc="Grows with every change; orders live updates.")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class WorkerHeartbeat(Base):
    """A worker or recorder process that was alive at ``seen_at``. For people and for telling a stuck run."""

    __tablename__ = "worker_heartbeats"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    queues: Mapped[list[Any]]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
