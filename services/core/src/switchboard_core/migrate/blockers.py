"""Who keeps a migration step waiting for a table lock.

Once ``lock_timeout`` has struck, nobody is waiting any more and PostgreSQL cannot say who was in the way. So a second
connection asks while the step runs.
"""

import threading
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core.logs import get_logger

_QUERY = text("""
    SELECT activity.pid, activity.application_name, activity.usename, activity.state, activity.xact_start
    FROM pg_stat_activity activity
    WHERE activity.pid = ANY (pg_blocking_pids(:waiting_pid))
    ORDER BY activity.xact_start NULLS LAST, activity.pid
""")

log = get_logger(__name__)


class BlockerWatch:
    """Looks every ``interval_s`` seconds who blocks a session, and remembers the last answer."""

    def __init__(self, engine: Engine, waiting_pid: int, *, interval_s: float) -> None:
        self._engine = engine
        self._waiting_pid = waiting_pid
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="migration-blockers", daemon=True)
        self._blockers: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        """Start to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop and close the second connection."""
        self._stop.set()
        self._thread.join()

    def describe(self) -> str:
        """Who was seen last, for people."""
        return ", ".join(self._blockers) or "a session that has ended meanwhile"

    def _watch(self) -> None:
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                while not self._stop.wait(self._interval_s):
                    self._look(connection)
        except SQLAlchemyError as error:
            # The migration itself must not suffer from the loss of its observer.
            log.warning("Cannot see who blocks the migration", error=type(error).__name__)

    def _look(self, connection: Connection) -> None:
        rows = connection.execute(_QUERY, {"waiting_pid": self._waiting_pid}).all()
        seen = tuple(
            f"process {row.pid} ({row.application_name or 'without application_name'}, role {row.usename}"
            + (f", {row.state}" if row.state else "")
            + (f", in a transaction since {row.xact_start:%H:%M:%S %Z}" if row.xact_start else "")
            + ")"
            for row in rows
        )
        if seen and seen != self._blockers:
            log.warning("A migration step waits for a table lock", blocked_by=", ".join(seen))
        self._blockers = seen or self._blockers
