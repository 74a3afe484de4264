"""Deletes recordings past their retention: the object, then what the row says of its content."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

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
FIRST_AFTER_S = 60.0
"""A recorder that is started anew more often than every hour must get to it too."""
BATCH = 500
_order = random.Random()  # noqa: S311 - shares time out, protects nothing


@dataclass
class _Business:
    """How far a pass is with the recordings of a business."""

    id: int
    after_id: int = 0
    deleted: int = 0
    warned: bool = False


def delete_expired(runtime: Runtime, store: RecordingStore, go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete the recordings of every business that are older than ``RECORDING_RETENTION_DAYS``; returns how many.

    Businesses take turns, a batch each, in an order that is new in every pass. A recording that the store does not
    delete is passed over until the next one.

    Args:
        runtime: of the process.
        store: where the objects are. The object goes first: a row whose object is gone is tidied up the next time.
        go_on: asked before each recording; false ends the pass.
    """
    with runtime.database.crossing() as session:
        businesses = [_Business(ref.business_id) for ref in crossing.businesses(session)]
    _order.shuffle(businesses)
    unfinished = businesses
    while unfinished and go_on():
        unfinished = [business for business in unfinished if _batch(runtime, store, business, go_on)]
    return sum(business.deleted for business in businesses)


def _batch(runtime: Runtime, store: RecordingStore, business: _Business, go_on: Callable[[], bool]) -> bool:
    """Delete the next expired recordings of a business; whether there may be more."""
    days = runtime.settings.recording_retention_days
    with runtime.database.tenant(business.id) as session:
        expired = session.execute(
            select(Recording.id, Recording.object_key)
            .where(Recording.finished_at < after_seconds(-86_400.0 * days), Recording.object_key.is_not(None))
            .where(Recording.id > business.after_id)
            .order_by(Recording.id)
            .limit(BATCH)
        ).all()
    before = business.deleted
    for row in expired:
        if not go_on():
            break
        business.after_id = row.id
        _delete(runtime, store, business, row.id, row.object_key)
    if business.deleted > before:
        log.info("expired recordings deleted", business_id=business.id, number=business.deleted - before)
    return len(expired) == BATCH


def _delete(runtime: Runtime, store: RecordingStore, business: _Business, recording_id: int, key: str) -> None:
    try:
        store.delete(key)
    except StoreError as error:
        if not business.warned:  # the others of this pass have the same to say, most likely
            business.warned = True
            log.warning(
                "an expired recording is not deleted; tried again in an hour",
                business_id=business.id,
                recording_id=recording_id,
                reason=str(error)[:300],
            )
        return
    days = runtime.settings.recording_retention_days
    with runtime.database.tenant(business.id) as session:
        session.execute(
            update(Recording)
            .where(Recording.id == recording_id)
            .values(object_key=None, transcript=None, reason=f"Deleted after {days} days.")
        )
    business.deleted += 1


class Retention:
    """Deletes expired recordings every hour from one thread; several recorders at once do no harm."""

    def __init__(self, runtime: Runtime, store: RecordingStore, *, first_after_s: float = FIRST_AFTER_S) -> None:
        self._runtime = runtime
        self._store = store
        self._first_after_s = first_after_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Go on from a thread until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Delete no more."""
        self._stop.set()

    def _run(self) -> None:
        wait_s = self._first_after_s
        while not self._stop.wait(wait_s):
            wait_s = EVERY_S
            try:
                self._pass()
            except SQLAlchemyError as error:
                log.warning("expired recordings not deleted; tried again in an hour", reason=str(error)[:300])
            except Exception:
                # Whatever it was: a thread that ends here deletes nothing until the next restart.
                log.exception("expired recordings not deleted; tried again in an hour")

    def _pass(self) -> None:
        # It takes an hour at most: with a store that is slow, the next one begins with other businesses.
        ends = time.monotonic() + EVERY_S
        delete_expired(self._runtime, self._store, lambda: not self._stop.is_set() and time.monotonic() < ends)
