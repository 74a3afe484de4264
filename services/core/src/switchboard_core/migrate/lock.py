"""The migration lock: one session-level advisory lock a database, tried for a bounded time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from switchboard_core.logs import get_logger
from switchboard_core.migrate.errors import MigrationLockNotObtained

LOCK_KEY = 0x5377697463684D67  # "SwitchMg"

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0

log = get_logger(__name__)


@contextmanager
def migration_lock(
    connection: Connection, *, timeout_s: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[None]:
    """Hold the lock for the block.

    It is tried again and again instead of awaited: a waiting statement would hold a snapshot, and with it hold up a
    ``CREATE INDEX CONCURRENTLY`` of the very migrator it waits for.

    Args:
        connection: an autocommit connection straight to PostgreSQL; the lock belongs to its session.
        timeout_s: seconds to go on trying.
        clock: a monotonic clock in seconds.
        sleep: waits for so many seconds.

    Raises:
        MigrationLockNotObtained: somebody else held it all the time; the message says who.
    """
    _acquire(connection, timeout_s, clock, sleep)
    log.info("Acquired migration lock")
    try:
        yield
    finally:
        _release(connection)


def _acquire(
    connection: Connection, timeout_s: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    deadline = clock() + timeout_s
    pause = _FIRST_PAUSE_S
    waiting = False
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}).scalar():
        remaining = deadline - clock()
        if remaining <= 0:
            msg = (
                f"The migration lock was not obtained within {timeout_s:g} s: {holder(connection)}. If that is a "
                "migration at work, let it finish and run `switchboard migrate` again; otherwise end that session."
            )
            raise MigrationLockNotObtained(msg)
        if not waiting:
            log.info("Waiting for the migration lock", held_by=holder(connection), timeout_s=timeout_s)
            waiting = True
        sleep(min(pause, remaining))
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _release(connection: Connection) -> None:
    try:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
    except DBAPIError:
        log.warning("The connection was lost; PostgreSQL has released the migration lock with it")
    else:
        log.info("Released migration lock")


def holder(connection: Connection) -> str:
    """Say which session holds the lock, for people."""
    row = connection.execute(
        text("""
            SELECT activity.pid, activity.application_name, activity.backend_start
            FROM pg_locks held JOIN pg_stat_activity activity ON activity.pid = held.pid
            WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
              AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (held.classid::bigint << 32) | held.objid::bigint = :key
        """),
        {"key": LOCK_KEY},
    ).first()
    if row is None:
        return "its holder has just gone"
    since = f"connected since {row.backend_start:%Y-%m-%d %H:%M:%S %Z}" if row.backend_start else "of another role"
    return f"it is held by process {row.pid} ({row.application_name or 'without application_name'}), {since}"
