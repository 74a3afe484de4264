"""Rows of the calls domain."""

import uuid
from datetime import datetime, time
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.calls.states import AttemptState, CallStatus, RunStatus
from switchboard_core.db import Base


def _one_of(column: str, values: type[RunStatus | CallStatus | AttemptState]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class OutboundCallRun(Base):
    """A campaign run. Its counters are its jobs: nothing is counted twice."""

    __tablename__ = "outbound_call_runs"
    __table_args__ = (
        CheckConstraint(_one_of("status", RunStatus), name="outbound_call_runs_status"),
        Index("ix_outbound_call_runs_business_id_id", "business_id", "id"),
        Index("ix_outbound_call_runs_background_job_id", "background_job_id"),
        Index(
            "ix_outbound_call_runs_open",
            "business_id",
            "last_admitted_at",
            postgresql_where=text("status IN ('pending', 'running', 'paused')"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    status: Mapped[RunStatus] = mapped_column(server_default=RunStatus.PENDING.value)
    reason: Mapped[str | None] = mapped_column(Text, doc="Why it failed or was cancelled; for people.")
    background_job_id: Mapped[int | None] = mapped_column(ForeignKey("background_jobs.id", ondelete="SET NULL"))
    message: Mapped[str] = mapped_column(Text, doc="Spoken to who answers; {name} is the lead's name.")
    record: Mapped[bool] = mapped_column(server_default=text("true"))
    machine_detection: Mapped[str] = mapped_column(String(16), server_default="off", doc="off, detect or hangup.")
    ring_timeout_s: Mapped[int] = mapped_column(server_default="30")
    max_attempts: Mapped[int] = mapped_column(server_default="3", doc="Calls to one lead at most.")
    retry_after_s: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'::jsonb"), doc="Seconds until the next attempt, per outcome; absent: no retry."
    )
    caller_ids: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    calling_from: Mapped[time] = mapped_column(doc="Local time of the lead.")
    calling_until: Mapped[time]
    calling_days: Mapped[int] = mapped_column(doc="Bit mask, Monday is bit 0.")
    expanded_at: Mapped[datetime | None] = mapped_column(doc="When every lead had its job.")
    last_admitted_at: Mapped[datetime | None] = mapped_column(doc="Runs of a business take turns by it.")
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class OutboundCallJob(Base):
    """One number of a run."""

    __tablename__ = "outbound_call_jobs"
    __table_args__ = (
        CheckConstraint(_one_of("status", CallStatus), name="outbound_call_jobs_status"),
        UniqueConstraint("run_id", "to_number"),
        Index(
            "ix_outbound_call_jobs_queued",
            "run_id",
            "next_attempt_at",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_outbound_call_jobs_run_id_status", "run_id", "status"),
        Index("ix_outbound_call_jobs_lead_id", "lead_id"),
        Index("ix_outbound_call_jobs_business_id_id", "business_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    run_id: Mapped[int] = mapped_column(ForeignKey("outbound_call_runs.id", ondelete="CASCADE"))
    lead_id: Mapped[int | None] = mapped_column(ForeignKey("leads.id", ondelete="SET NULL"))
    to_number: Mapped[str] = mapped_column(String(20))
    timezone: Mapped[str] = mapped_column(String(64))
    status: Mapped[CallStatus] = mapped_column(server_default=CallStatus.QUEUED.value)
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="0", doc="Calls placed, or possibly placed.")
    setbacks: Mapped[int] = mapped_column(server_default="0", doc="Attempts in a row that certainly sent nothing.")
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class RateLine(Base):
    """A business that waits for its turn at the rate of a carrier account, which others want too."""

    __tablename__ = "rate_line"
    __table_args__ = (Index("ix_rate_line_account_sid_since", "account_sid", "since"),)

    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"), primary_key=True)
    account_sid: Mapped[str] = mapped_column(String(64))
    since: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime] = mapped_column(doc="Who has not come back by then no longer holds up the others.")


class CallAttempt(Base):
    """One try at one job. While ``settled_at`` is null the row *is* a slot of its business."""

    __tablename__ = "call_attempts"
    __table_args__ = (
        CheckConstraint(_one_of("state", AttemptState), name="call_attempts_state"),
        CheckConstraint(
            "(settled_at IS NOT NULL) = "
            "(state IN ('completed', 'busy', 'no_answer', 'failed', 'canceled', 'not_placed'))",
            name="call_attempts_settled",
        ),
        Index("uq_call_attempts_job_id_live", "job_id", unique=True, postgresql_where=text("settled_at IS NULL")),
        Index(
            "uq_call_attempts_account_number_live",
            "account_sid",
            "to_number",
            unique=True,
            postgresql_where=text("settled_at IS NULL"),
        ),
        Index("ix_call_attempts_live", "business_id", postgresql_where=text("settled_at IS NULL")),
        Index(
            "ix_call_attempts_unlisted",
            "settled_at",
            postgresql_where=text("state = 'completed' AND recordings_listed_at IS NULL"),
        ),
        Index("ix_call_attempts_business_id_created_at", "business_id", "created_at"),
        Index("ix_call_attempts_job_id", "job_id"),
        Index("ix_call_attempts_run_id", "run_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    run_id: Mapped[int] = mapped_column(ForeignKey("outbound_call_runs.id", ondelete="CASCADE"))
    job_id: Mapped[int] = mapped_column(ForeignKey("outbound_call_jobs.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(doc="1 for the first call to this lead.")
    account_sid: Mapped[str] = mapped_column(String(64))
    from_number: Mapped[str] = mapped_column(String(20))
    to_number: Mapped[str] = mapped_column(String(20))
    state: Mapped[AttemptState] = mapped_column(server_default=AttemptState.DIALING.value)
    reason: Mapped[str | None] = mapped_column(Text)
    call_sid: Mapped[str | None] = mapped_column(String(64), unique=True)
    carrier_status: Mapped[str | None] = mapped_column(String(32), doc="The carrier's own last word.")
    answered_by: Mapped[str | None] = mapped_column(String(32))
    duration_s: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    sent_at: Mapped[datetime | None] = mapped_column(doc="Set just before the create call leaves; set once.")
    checked_at: Mapped[datetime | None] = mapped_column(doc="When the carrier was last asked about it.")
    hangup_requested_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    recordings_listed_at: Mapped[datetime | None] = mapped_column(
        doc="When the carrier was asked for recordings whose webhook never came."
    )
