"""Rows of the recordings domain."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Identity, Index, String, Text, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from switchboard_core.db import Base
from switchboard_core.recordings.states import RecordingStatus


class Recording(Base):
    """One recording at the carrier, its copy in our store and its transcript."""

    __tablename__ = "recordings"
    __table_args__ = (
        CheckConstraint(
            f"status IN ({', '.join(repr(status.value) for status in RecordingStatus)})", name="recordings_status"
        ),
        Index("ix_recordings_business_id_id", "business_id", "id"),
        Index("ix_recordings_business_id_run_id", "business_id", "run_id"),
        Index("ix_recordings_attempt_id", "attempt_id"),
        Index(
            "ix_recordings_open",
            "run_after",
            postgresql_where=text("status IN ('pending', 'downloading', 'downloaded', 'transcribing')"),
        ),
        Index("ix_recordings_transcript_search", "transcript_search", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    business_id: Mapped[int] = mapped_column(ForeignKey("businesses.id", ondelete="CASCADE"))
    recording_sid: Mapped[str] = mapped_column(String(64), unique=True)
    call_sid: Mapped[str] = mapped_column(String(64))
    attempt_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("call_attempts.id", ondelete="SET NULL"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("outbound_call_runs.id", ondelete="SET NULL"))
    status: Mapped[RecordingStatus] = mapped_column(server_default=RecordingStatus.PENDING.value)
    reason: Mapped[str | None] = mapped_column(Text, doc="Why it failed or is absent; for people.")
    media_url: Mapped[str] = mapped_column(Text, doc="Where the carrier serves it; checked before it is fetched.")
    carrier_duration_s: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(server_default="0", doc="The fence: only the newest claim may write.")
    retries: Mapped[int] = mapped_column(server_default="0")
    crash_count: Mapped[int] = mapped_column(server_default="0", doc="Claims in a row that ended with no word.")
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    object_key: Mapped[str | None] = mapped_column(Text)
    bytes: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    duration_ms: Mapped[int | None]
    transcript: Mapped[str | None] = mapped_column(Text)
    transcript_engine: Mapped[str | None] = mapped_column(String(64))
    transcript_search: Mapped[str | None] = mapped_column(
        TSVECTOR, Computed("to_tsvector('english', coalesce(transcript, ''))", persisted=True)
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    downloaded_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
