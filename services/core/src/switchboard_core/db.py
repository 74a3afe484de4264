"""Engine, sessions and the tenant of a transaction.

PostgreSQL is the truth. Every transaction of the application runs as a role that owns nothing, under row-level
security, with the tenant in ``app.business_id``; what must look across tenants uses the functions of
``switchboard_core.crossing``.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from rq.timeouts import BaseTimeoutException
from sqlalchemy import BigInteger, Connection, DateTime, Engine, Enum, MetaData, create_engine, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InternalError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

AfterCommit = Callable[[], None]

_SET_TENANT = text("SELECT set_config('app.business_id', :id, true)")

NOTICES_A_VANISHED_SERVER = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""Seconds, and for the last one milliseconds, after which a connection is lost whose other end is gone without a word.

Its host was switched off, or a firewall forgot it. By the system's own settings the process would wait two hours.
"""

PING_AFTER_S = 0.5
"""Seconds in the pool after which a connection is asked whether it still stands; less than a server's restart takes."""

_IDLE_SINCE = "switchboard.idle_since"

CANCEL_TIMEOUT_S = 3.0
"""How long to wait for PostgreSQL to hear that a statement is called off."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "chk_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]


class Base(DeclarativeBase):
    """Base of all models."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain attribute
        int: BigInteger,
        datetime: DateTime(timezone=True),
        # None is SQL's NULL, never the JSON value null.
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        # Stored as text with a CHECK of each table's own: a value is added without rewriting a type.
        StrEnum: Enum(StrEnum, native_enum=False, length=16, values_callable=_values),
    }


def connection_options(settings: Settings) -> str:
    """Server-side limits of an application connection.

    ``idle_in_transaction_session_timeout`` is shorter than a lease: a stopped worker's open transaction is gone
    before its successor may claim the job, so it cannot block it.
    """
    idle_ms = int(settings.lease_seconds * 1000 * 0.8)
    return f"-c idle_in_transaction_session_timeout={idle_ms} -c statement_timeout=60000 -c timezone=UTC"


def make_engine(settings: Settings, *, application_name: str) -> Engine:
    """Create the process's engine; connections are made when first used."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_overflow,
        pool_timeout=settings.database_pool_timeout_seconds,
        hide_parameters=True,  # an error's text must not carry phone numbers into logs
        connect_args={
            "options": connection_options(settings),
            "application_name": application_name,
            "connect_timeout": 5,
            **NOTICES_A_VANISHED_SERVER,
        },
    )
    event.listen(engine, "checkin", _note_the_pause)
    event.listen(engine, "checkout", _ping_after_a_pause)
    event.listen(engine, "handle_error", _call_off_what_runs)
    event.listen(engine, "handle_error", _name_a_lost_connection)
    return engine


def _note_the_pause(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _ping_after_a_pause(
    connection: "psycopg.Connection[Any]", record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """Ask a connection that lay in the pool for a while whether it still stands; the pool makes a new one if not.

    What was in use a moment ago is not asked: a round trip for every transaction is dear, and when a server goes, the
    first statement that notices makes the pool give up all of its connections.
    """
    if time.monotonic() - record.info.get(_IDLE_SINCE, math.inf) < PING_AFTER_S:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def _call_off_what_runs(context: ExceptionContext) -> OperationalError | None:
    """Cancel a statement whose caller was interrupted, by the timeout of a job say.

    The connection is given up then, but on the server the statement would run on and keep its locks from the one who
    tries again.

    Returns:
        What to raise instead where a job's time ran out: it was the database that did not answer in time.
    """
    if context.connection is None or context.connection.invalidated:
        return None
    raw = context.connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection) or raw.info.transaction_status is not TransactionStatus.ACTIVE:
        return None
    try:
        raw.cancel_safe(timeout=CANCEL_TIMEOUT_S)
    except psycopg.Error as error:
        # A server that does not answer does not hear this either; it notices that the connection is gone.
        log.warning("statement not called off", error=type(error).__name__)
    if not isinstance(context.original_exception, BaseTimeoutException):
        return None
    slow = psycopg.errors.QueryCanceled("the database did not answer before the job's time was up")
    return OperationalError(context.statement, None, slow, hide_parameters=True)


def _name_a_lost_connection(context: ExceptionContext) -> None:
    """Raise ``OperationalError`` for every lost connection.

    A transaction that PostgreSQL ended because its process stood still for too long comes out as an internal error,
    which would be taken for a fault of the work and not of the circumstances.
    """
    error = context.sqlalchemy_exception
    if context.is_disconnect and isinstance(error, InternalError):
        raise OperationalError(
            error.statement,
            error.params,
            context.original_exception,
            hide_parameters=True,
            connection_invalidated=True,
        )


class Database:
    """Sessions of one process, each bound to one tenant or to none."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        event.listen(self._sessions, "after_begin", _name_the_tenant)

    @contextmanager
    def tenant(self, business_id: int) -> Iterator[Session]:
        """One transaction of one business; commits at the end, rolls back on any exception.

        It begins with its first statement: a task that talks to a mail server before that holds no connection
        meanwhile. What was registered with ``after_commit`` runs once the connection is back in the pool.
        """
        with self._transaction() as session:
            session.info["business_id"] = business_id
            yield session

    @contextmanager
    def crossing(self) -> Iterator[Session]:
        """One transaction without a tenant: row-level security hides every tenant's rows from it.

        Only the ``SECURITY DEFINER`` functions behind ``switchboard_core.crossing`` answer in it.
        """
        with self._transaction() as session:
            yield session

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._sessions() as session:
            with session.begin():
                yield session
            registered: list[tuple[Hashable, AfterCommit]] = session.info.pop("after_commit", [])
        for callback in _newest(registered):
            try:
                callback()
            except Exception:
                # The transaction stands: a caller that saw an error here would do its work a second time.
                log.exception("a committed change could not be told; the sweep makes up for it")

    @contextmanager
    def pipeline(self) -> Iterator["TenantPipeline"]:
        """One transaction as one round trip: the statements are sent in a row with the commit, then their results come.

        So nothing can be read before the block has ended. For what is done hundreds of times a second: everything else
        has sessions.

        Raises:
            psycopg.Error: nothing was done, unless the connection was lost with the answer to the commit.
        """
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
            try:
                with raw.pipeline():
                    yield TenantPipeline(raw)
                    raw.commit()
            except psycopg.Error:
                if raw.closed:
                    connection.invalidate()
                raise

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class TenantPipeline:
    """Statements on their way, each for one business."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection
        self._business_id: int | None = None

    def execute(self, business_id: int, statement: str, parameters: dict[str, Any]) -> "psycopg.Cursor[DictRow]":
        """Send a statement of a business; its rows can be read behind the block of ``Database.pipeline``."""
        if business_id != self._business_id:
            self._connection.execute("SELECT set_config('app.business_id', %s, true)", (str(business_id),))
            self._business_id = business_id
        return self._connection.cursor(row_factory=dict_row).execute(statement, parameters)


def _name_the_tenant(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if not transaction.nested and "business_id" in session.info:
        connection.execute(_SET_TENANT, {"id": str(tenant_of(session))})


def set_tenant(session: Session, business_id: int) -> None:
    """Bind the running transaction to a business; forgotten by PostgreSQL at its end."""
    session.execute(_SET_TENANT, {"id": str(business_id)})
    session.info["business_id"] = business_id


def tenant_of(session: Session) -> int:
    """The business of the running transaction.

    Raises:
        LookupError: the transaction has no tenant.
    """
    try:
        return int(session.info["business_id"])
    except KeyError:
        msg = "this transaction has no tenant; open it with Database.tenant(business_id)"
        raise LookupError(msg) from None


def after_commit(session: Session, callback: AfterCommit, *, key: Hashable = None) -> None:
    """Run ``callback`` once the transaction of ``Database.tenant`` is committed; never when it is rolled back.

    Redis is told only about committed rows, so nothing in a queue can point at a row that does not exist.

    Args:
        session: of the transaction.
        callback: its exception is logged and harms nobody.
        key: of all that is registered under one key in a transaction only the newest runs.
    """
    session.info.setdefault("after_commit", []).append((key, callback))


def _newest(registered: list[tuple[Hashable, AfterCommit]]) -> list[AfterCommit]:
    """What is to run, in its order. Replaced only now: a savepoint that is rolled back brings nothing back."""
    last = {key: at for at, (key, _) in enumerate(registered)}
    return [callback for at, (key, callback) in enumerate(registered) if key is None or last[key] == at]


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A savepoint; rolled back, it also forgets what was registered with ``after_commit`` inside."""
    registered = len(session.info.get("after_commit", ()))
    try:
        with session.begin_nested():
            yield
    except BaseException:
        del session.info.get("after_commit", [])[registered:]
        raise
