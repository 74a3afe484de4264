"""``switchboard migrate``: one migrator at a time, bounded waits, and a clear word for everything that stops it."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from switchboard_core.logs import get_logger
from switchboard_core.migrate.blockers import BlockerWatch
from switchboard_core.migrate.errors import DatabaseUnreachable, IncompatibleSchema, MigrationFailed
from switchboard_core.migrate.grants import ensure_app_role, grant_access
from switchboard_core.migrate.lock import migration_lock
from switchboard_core.migrate.state import CODE_SEQ, SchemaState, incompatibility, read_state
from switchboard_core.settings import MigrationSettings

Phase = Literal["expand", "contract"]

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"
_APPLICATION_NAME_BYTES = 63

log = get_logger(__name__)


class MigrationReport(BaseModel):
    """What a run did.

    Attributes:
        phase: the branch that was run.
        check: nothing was to be changed.
        from_seq: the schema's sequence before; 0 in a database that was never migrated.
        to_seq: the schema's sequence after.
        code_seq: this release's sequence.
        applied: revisions applied by this run, in order.
        pending: revisions that a check found missing, in order.
        skipped: there was nothing to apply, or another migrator had done it.
        reason: for people: why nothing was applied, or what a check found; empty otherwise.
        duration_s: seconds from start to end.
        ok: the schema is as this phase wants it; a check that finds pending revisions is not ok.
    """

    model_config = ConfigDict(frozen=True)

    phase: Phase
    check: bool
    from_seq: int
    to_seq: int
    code_seq: int
    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    skipped: bool = False
    reason: str = ""
    duration_s: float
    ok: bool = True


def run_migrations(
    settings: MigrationSettings,
    *,
    phase: Phase = "expand",
    check: bool = False,
    target: str | None = None,
    code_seq: int = CODE_SEQ,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> MigrationReport:
    """Bring the schema to this release, or say what is missing.

    Args:
        settings: the owner's connection (straight to PostgreSQL, not through a transaction pooler) and limits.
        phase: ``expand`` before a rollout, ``contract`` once no pod of the release before is left.
        check: only look; takes no lock and changes nothing.
        target: last revision to apply, None for the newest.
        code_seq: this release's sequence.
        clock: a monotonic clock in seconds.
        sleep: waits for so many seconds.

    Raises:
        DatabaseUnreachable: no connection could be made, or it was lost.
        IncompatibleSchema: release and schema do not fit; nothing was touched.
        AppRoleUnsuitable: the application's role is missing or too powerful; nothing was touched.
        MigrationLockNotObtained: another session held the lock all the time; nothing was touched.
        MigrationFailed: a revision failed.
    """
    started = clock()
    with _owner_engine(settings, phase) as engine, _owner_connection(engine) as connection:
        state = _compatible_state(connection, phase, code_seq)
        if check:
            return _check(connection, state, phase, target, code_seq, duration=lambda: clock() - started)
        log.info(
            "MIGRATION CHECKPOINT: Starting apply_migrations()",
            phase=phase,
            schema_seq=state.schema_seq,
            code_seq=code_seq,
        )
        _set_timeouts(connection, settings)
        with migration_lock(
            connection, timeout_s=settings.migration_lock_timeout_seconds, clock=clock, sleep=sleep
        ):
            before = _compatible_state(connection, phase, code_seq)
            applied = _apply(engine, connection, settings, before, phase, target, code_seq)
            after = read_state(connection)
    skipped = not applied
    reason = _why_skipped(state, after, code_seq) if skipped else ""
    report = MigrationReport(
        phase=phase,
        check=False,
        from_seq=state.schema_seq,
        to_seq=after.schema_seq,
        code_seq=code_seq,
        applied=tuple(applied),
        skipped=skipped,
        reason=reason,
        duration_s=round(clock() - started, 3),
    )
    log.info("MIGRATIONS COMPLETE", **report.model_dump(exclude={"check", "pending", "ok"}))
    return report
