"""``switchboard migrate``: one migrator at a time, bounded waits, and a clear word for everything that stops it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from switchboard_core.logs import get_logger
from switchboard_core.migrate.blockers import BlockerWatch
from switchboard_core.migrate.connection import (
    alembic_transactions,
    owner_connection,
    owner_engine,
    set_timeouts,
    words_of,
)
from switchboard_core.migrate.errors import DatabaseUnreachable, IncompatibleSchema, MigrationError, MigrationFailed
from switchboard_core.migrate.grants import ensure_app_role, grant_access
from switchboard_core.migrate.lock import migration_lock
from switchboard_core.migrate.report import MigrationReport, Phase
from switchboard_core.migrate.state import CODE_SEQ, SchemaState, incompatibility, read_state
from switchboard_core.settings import MigrationSettings

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"
_LONGEST_WATCH_INTERVAL_S = 0.5

log = get_logger(__name__)


def run_migrations(
    settings: MigrationSettings,
    *,
    phase: Phase = "expand",
    check: bool = False,
    target: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> MigrationReport:
    """Bring the schema to this release, or say what is missing.

    Args:
        settings: the owner's connection (straight to PostgreSQL, not through a transaction pooler) and limits.
        phase: ``expand`` before a rollout, ``contract`` once no pod of the release before is left.
        check: only look; takes no lock and changes nothing.
        target: last revision to apply; None for the newest.
        clock: a monotonic clock in seconds.
        sleep: waits for so many seconds.

    Returns:
        What was done. Nothing left to do, because another migrator did it or the schema is newer, is a success.

    Raises:
        DatabaseUnreachable: no connection could be made, or it was lost.
        IncompatibleSchema: release and schema do not fit; nothing was touched.
        AppRoleUnsuitable: the application's role is missing or too powerful; nothing was touched.
        MigrationLockNotObtained: another session held the lock all the time; nothing was touched.
        MigrationFailed: a revision failed; the ones before it stay.
        MigrationError: the owner lacks a right outside of any revision; the base of all of the above.
    """
    started = clock()
    engine = owner_engine(settings)
    try:
        with owner_connection(engine) as connection:
            run = _Run(settings, engine, connection, phase, target)
            outcome = run.look() if check else run.migrate(clock, sleep)
    except DBAPIError as error:
        msg = f"The migration could not go on: {words_of(error.orig)}"
        raise (DatabaseUnreachable if error.connection_invalidated else MigrationError)(msg) from error
    report = MigrationReport(
        phase=phase, check=check, code_seq=CODE_SEQ, duration_s=round(clock() - started, 3), **vars(outcome)
    )
    if not check:
        log.info("MIGRATIONS COMPLETE", **report.model_dump(include={"phase", "applied", "to_seq", "reason"}))
    return report


@dataclass(frozen=True)
class _Outcome:
    """The part of the report that depends on what was found."""

    from_seq: int
    to_seq: int
    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    skipped: bool = False
    reason: str = ""
    ok: bool = True


@dataclass(frozen=True)
class _Run:
    """One run on one connection."""

    settings: MigrationSettings
    engine: Engine
    connection: Connection
    phase: Phase
    target: str | None

    def look(self) -> _Outcome:
        """Say what is missing and touch nothing."""
        state = self._compatible_state()
        seq = state.schema_seq
        pending = self._pending(state)
        if not pending:
            return _Outcome(from_seq=seq, to_seq=seq, skipped=True, reason=_nothing_to_do(state))
        reason = f"{len(pending)} to apply in phase {self.phase}: {', '.join(pending)}; run `switchboard migrate`."
        return _Outcome(from_seq=seq, to_seq=seq, pending=tuple(pending), reason=reason, ok=False)

    def migrate(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> _Outcome:
        """Apply what is missing."""
        found = self._compatible_state()
        log.info(
            "MIGRATION CHECKPOINT: Starting apply_migrations()",
            phase=self.phase,
            schema_seq=found.schema_seq,
            code_seq=CODE_SEQ,
        )
        if found.schema_seq > CODE_SEQ:
            return _Outcome(
                from_seq=found.schema_seq, to_seq=found.schema_seq, skipped=True, reason=_nothing_to_do(found)
            )
        wanted = self._pending(found)
        set_timeouts(self.connection, self.settings)
        limit_s = self.settings.migration_statement_timeout_seconds
        words = f"Set statement_timeout to {limit_s}s for migration connection"
        log.info(words)
        timeout_s = self.settings.migration_lock_timeout_seconds
        with migration_lock(self.connection, timeout_s=timeout_s, clock=clock, sleep=sleep):
            return self._migrate_locked(found, wanted)

    def _migrate_locked(self, found: SchemaState, wanted: list[str]) -> _Outcome:
        state = self._compatible_state()
        missing = self._pending(state)
        if state.schema_seq <= CODE_SEQ:
            ensure_app_role(self.connection, self.settings.app_database_role)
            for revision in missing:
                self._apply(revision)
            # Even with nothing missing: a migrator that died after its last revision has left this undone.
            grant_access(self.connection, self.settings.app_database_role)
        after = read_state(self.connection)
        if missing:
            return _Outcome(from_seq=state.schema_seq, to_seq=after.schema_seq, applied=tuple(missing))
        reason = "Another migrator did the work meanwhile." if wanted else _nothing_to_do(state)
        return _Outcome(from_seq=found.schema_seq, to_seq=after.schema_seq, skipped=True, reason=reason)

    def _compatible_state(self) -> SchemaState:
        state = read_state(self.connection)
        sentence = incompatibility(state, CODE_SEQ)
        if sentence is None and self.phase == "contract" and state.schema_seq < CODE_SEQ:
            sentence = (
                f"The contract phase comes after the expand phase, and the schema (sequence {state.schema_seq}) lacks "
                f"part of it (this release is {CODE_SEQ}): run `switchboard migrate --phase expand` first."
            )
        if sentence:
            raise IncompatibleSchema(sentence)
        return state

    def _pending(self, state: SchemaState) -> list[str]:
        """Asked of Alembic, except about a newer schema, whose revisions it would not know."""
        if state.schema_seq > CODE_SEQ:
            return []
        from switchboard_core.migrate.revisions import pending

        return pending(self.connection, self.phase, self.target)

    def _apply(self, revision: str) -> None:
        from switchboard_core.migrate.revisions import upgrade

        pid = self.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        # A revision may have set its own, for a long CREATE INDEX CONCURRENTLY say.
        set_timeouts(self.connection, self.settings)
        interval_s = min(_LONGEST_WATCH_INTERVAL_S, self.settings.migration_table_lock_timeout_seconds / 4)
        log.info("Applying migration", revision=revision)
        with BlockerWatch(self.engine, pid, interval_s=interval_s) as watch:
            try:
                with alembic_transactions(self.connection):
                    upgrade(self.connection, revision)
            except Exception as error:
                raise MigrationFailed(revision, self._why(revision, error, watch)) from error
        log.info("Applied migration", revision=revision)

    def _why(self, revision: str, error: Exception, watch: BlockerWatch) -> str:
        sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
        if sqlstate == _LOCK_NOT_AVAILABLE:
            return (
                f"Migration {revision} gave up after waiting {self.settings.migration_table_lock_timeout_seconds:g} s "
                f"for a table lock; in the way was {watch.describe()}. End that session or wait for it, then run "
                "`switchboard migrate` again."
            )
        if sqlstate == _QUERY_CANCELED:
            return (
                f"Migration {revision} was stopped: one statement took longer than "
                f"{self.settings.migration_statement_timeout_seconds} s. Run `switchboard migrate` again at a quieter "
                "time, or raise MIGRATION_STATEMENT_TIMEOUT_SECONDS."
            )
        words = words_of(error.orig if isinstance(error, DBAPIError) else error)
        return f"Migration {revision} failed, the revisions before it stay: {type(error).__name__}: {words}"


def _nothing_to_do(state: SchemaState) -> str:
    if state.schema_seq > CODE_SEQ:
        return (
            f"The schema (sequence {state.schema_seq}) is newer than this release (sequence {CODE_SEQ}) and "
            "supports it: nothing to apply."
        )
    return f"The schema (sequence {state.schema_seq}) is up to date."
