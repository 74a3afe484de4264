"""Keeps the leases of running claims alive, from one thread and on connections of its own."""

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core.db import Database
from switchboard_core.logs import get_logger

log = get_logger(__name__)

_RENEW = {
    "background_jobs": text(
        "UPDATE background_jobs SET lease_until = clock_timestamp() + make_interval(secs => :lease), "
        "heartbeat_at = clock_timestamp() WHERE id = :id AND attempt = :attempt AND lease_until IS NOT NULL"
    ),
    "recordings": text(
        "UPDATE recordings SET lease_until = clock_timestamp() + make_interval(secs => :lease) "
        "WHERE id = :id AND attempt = :attempt AND lease_until IS NOT NULL"
    ),
}


@dataclass(frozen=True)
class Lease:
    """A claim on a row: ``table`` is ``background_jobs`` or ``recordings``, ``attempt`` the fence."""

    table: str
    business_id: int
    id: int
    attempt: int


class LeaseKeeper:
    """Renews every held lease each third of its length. One thread a process, started with the first ``hold``.

    A renewal that fails is only logged: the lease then runs out, another worker takes over, and the fence keeps this
    one from writing.
    """

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, lease: Lease) -> "_Held":
        """Keep ``lease`` alive inside a ``with`` block."""
        return _Held(self, lease)

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=self._lease_s)

    def add(self, lease: Lease) -> None:
        """Start to renew ``lease``."""
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
                self._thread.start()

    def discard(self, lease: Lease) -> None:
        """Renew ``lease`` no more."""
        with self._lock:
            self._held.discard(lease)

    def _run(self) -> None:
        while not self._stop.wait(self._lease_s / 3):
            with self._lock:
                held = list(self._held)
            for lease in held:
                self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            with self._database.tenant(lease.business_id) as session:
                session.execute(_RENEW[lease.table], {"lease": self._lease_s, "id": lease.id, "attempt": lease.attempt})
        except SQLAlchemyError as error:
            log.warning("lease not renewed", table=lease.table, id=lease.id, error=type(error).__name__)


class _Held:
    def __init__(self, keeper: LeaseKeeper, lease: Lease) -> None:
        self._keeper = keeper
        self._lease = lease

    def __enter__(self) -> Self:
        self._keeper.add(self._lease)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._keeper.discard(self._lease)
