"""The verbs of recordings: note, list, search, and the claims that the recorder works under."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.models import CallAttempt
from switchboard_core.db import tenant_of
from switchboard_core.jobs.transport import recording_wakeup
from switchboard_core.logs import get_logger
from switchboard_core.metrics import RECORDINGS
from switchboard_core.recordings.models import Recording
from switchboard_core.recordings.states import RecordingStatus
from switchboard_core.runtime import Runtime
from switchboard_core.sql import after_seconds, db_now

log = get_logger(__name__)

_TO_DO = (
    RecordingStatus.PENDING,
    RecordingStatus.DOWNLOADING,
    RecordingStatus.DOWNLOADED,
    RecordingStatus.TRANSCRIBING,
)


class RecordingNotFoundError(LookupError):
    """The business has no such recording."""


def note_recording(
    session: Session,
    runtime: Runtime,
    attempt: CallAttempt,
    *,
    recording_sid: str,
    media_url: str,
    duration_s: int | None,
    absent_code: str | None = None,
) -> None:
    """Insert the row of a recording and wake the recorder after the commit; a doubled webhook changes nothing."""
    absent = absent_code is not None
    row = session.scalars(
        insert(Recording)
        .values(
            business_id=attempt.business_id,
            recording_sid=recording_sid,
            call_sid=attempt.call_sid or "",
            attempt_id=attempt.id,
            run_id=attempt.run_id,
            media_url=media_url,
            carrier_duration_s=duration_s,
            status=RecordingStatus.ABSENT if absent else RecordingStatus.PENDING,
            reason=f"The carrier made no recording (code {absent_code})." if absent else None,
            finished_at=db_now() if absent else None,
        )
        .on_conflict_do_nothing(index_elements=["recording_sid"])
        .returning(Recording.id)
    ).first()
    session.execute(
        update(CallAttempt)
        .where(CallAttempt.id == attempt.id, CallAttempt.recordings_listed_at.is_(None))
        .values(recordings_listed_at=db_now())
        .execution_options(synchronize_session=False)
    )
    if row is not None and not absent:
        runtime.transport.wake_after_commit(session, recording_wakeup(row, attempt.business_id))


@dataclass(frozen=True)
class RecordingClaim:
    """A recording that this process may work on.

    Attributes:
        recording: the row, as claimed: ``downloading`` or ``transcribing``.
        downloading: how many downloads of its business are under way, this one included.
    """

    recording: Recording
    downloading: int


def claim(session: Session, recording_id: int, *, lease_s: float, per_business: int) -> RecordingClaim | None:
    """Take the lease of a recording and, for a download, a slot of its business.

    Returns:
        None where nothing is to do, where somebody else works on it, or where the business has no free slot (then the
        recording waits two seconds and the sweep wakes it).
    """
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"recordings:{tenant_of(session)}"}
    )
    active = downloads_active(session)
    needs_slot = Recording.status.in_((RecordingStatus.PENDING, RecordingStatus.DOWNLOADING))
    mine = (
        Recording.id == recording_id,
        Recording.status.in_(_TO_DO),
        Recording.lease_until.is_(None) | (Recording.lease_until < func.clock_timestamp()),
    )
    if active >= per_business:
        session.execute(
            update(Recording)
            .where(*mine, needs_slot)
            .values(run_after=after_seconds(2))
            .execution_options(synchronize_session=False)
        )
    recording = session.scalars(
        update(Recording)
        .where(*mine, Recording.run_after <= func.clock_timestamp())
        .values(
            attempt=Recording.attempt + 1,
            # A lease that is still set was never given back: its holder died with no word.
            crash_count=Recording.crash_count + case((Recording.lease_until.is_(None), 0), else_=1),
            lease_until=after_seconds(lease_s),
            status=case((needs_slot, RecordingStatus.DOWNLOADING), else_=RecordingStatus.TRANSCRIBING),
        )
        .returning(Recording)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).first()
    return RecordingClaim(recording, active + 1) if recording else None


def downloads_active(session: Session) -> int:
    """How many downloads of the session's business are under way: its taken slots."""
    query = (
        select(func.count())
        .select_from(Recording)
        .where(Recording.status == RecordingStatus.DOWNLOADING, Recording.lease_until > func.clock_timestamp())
    )
    return session.scalar(query) or 0


def record(session: Session, claimed: Recording, values: dict[str, Any], *, release: bool) -> bool:
    """Write progress of a claimed recording, guarded by its fence; false where somebody else has it now.

    Who gives the claim back lives: that ends a row of crashes, however the stage went.
    """
    if release:
        values = values | {"lease_until": None, "crash_count": 0}
    status = values.get("status")
    if isinstance(status, RecordingStatus) and status.terminal:
        values = values | {"finished_at": db_now()}
        RECORDINGS.labels(status=str(status)).inc()
    row = session.execute(
        update(Recording)
        .where(Recording.id == claimed.id, Recording.attempt == claimed.attempt)
        .values(values)
        .returning(Recording.id)
        .execution_options(synchronize_session=False)
    ).first()
    return row is not None


def get_recording(session: Session, recording_id: int) -> Recording:
    """A recording of the session's business.

    Raises:
        RecordingNotFoundError: it has no such recording.
    """
    recording = session.get(Recording, recording_id)
    if recording is None:
        msg = f"There is no recording {recording_id}."
        raise RecordingNotFoundError(msg)
    return recording


def list_recordings(
    session: Session,
    *,
    run_id: int | None = None,
    status: RecordingStatus | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> list[Recording]:
    """Recordings of the session's business, newest first, from below ``before_id``."""
    query = select(Recording).order_by(Recording.id.desc()).limit(limit)
    if run_id is not None:
        query = query.where(Recording.run_id == run_id)
    if status is not None:
        query = query.where(Recording.status == status)
    if before_id is not None:
        query = query.where(Recording.id < before_id)
    return list(session.scalars(query))


def search(session: Session, query: str, *, limit: int = 20, offset: int = 0) -> list[Recording]:
    """Recordings whose transcript matches, best first; ``query`` as one would type it into a search box."""
    refs = crossing.search_transcripts(session, query, limit, offset)
    found = {
        row.id: row for row in session.scalars(select(Recording).where(Recording.id.in_([ref.id for ref in refs])))
    }
    return [found[ref.id] for ref in refs if ref.id in found]
