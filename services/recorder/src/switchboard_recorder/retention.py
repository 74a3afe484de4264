"""Deletes recordings past their retention: the object, then what the row says of its content."""

import threading

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core import crossing
from switchboard_core.logs import get_logger
from switchboard_core.recordings.models import Recording
from switchboard_core.runtime import Runtime
from switchboard_core.sql import after_seconds
from switchboard_recorder.store import RecordingStore, StoreError

log = get_logger(__name__)

EVERY_S = 3600.0
BATCH = 500


def delete_expired(runtime: Runtime, store: RecordingStore) -> int:
    """Delete the recordings of every business that are older than ``RECORDING_RETENTION_DAYS``; returns how many.

    The object goes first: a row whose object is gone already is only tidied up the next time.

    Raises:
        StoreError: the store does not answer; the rest is deleted the next time.
    """
    with runtime.database.crossing() as session:
        businesses = crossing.businesses(session)
    return sum(_of_business(runtime, store, ref.business_id) for ref in businesses)


def _of_business(runtime: Runtime, store: RecordingStore, business_id: int) -> int:
    days = runtime.settings.recording_retention_days
    with runtime.database.tenant(business_id) as session:
        expired = session.execute(
            select(Recording.id, Recording.object_key)
            .where(Recording.finished_at < after_seconds(-86_400.0 * days), Recording.object_key.is_not(None))
            .order_by(Recording.id)
            .limit(BATCH)
        ).all()
    for row in expired:
        store.delete(row.object_key)
        with runtime.database.tenant(business_id) as session:
            session.execute(
                update(Recording)
                .where(Recording.id == row.id)
                .values(object_key=None, transcript=None, reason=f"Deleted after {days} days.")
            )
    if expired:
        log.info("expired recordings deleted", business_id=business_id, number=len(expired))
    return len(expired)


class Retention:
    """Deletes expired recordings every hour from one thread; several recorders at once do no harm."""

    def __init__(self, runtime: Runtime, store: RecordingStore) -> None:
        self._runtime = runtime
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Go on from a thread until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Delete no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                delete_expired(self._runtime, self._store)
            except (SQLAlchemyError, StoreError) as error:
                log.warning("expired recordings not deleted; tried again in an hour", reason=str(error)[:300])
