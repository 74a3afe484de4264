"""The owner's connection: straight to PostgreSQL, autocommit, with limits on how long a step may take or wait."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError

from switchboard_core.migrate.errors import DatabaseUnreachable
from switchboard_core.settings import MigrationSettings

_APPLICATION_NAME_LENGTH = 63
_CONNECT_TIMEOUT_S = 10


def owner_engine(settings: MigrationSettings) -> Engine:
    """An engine whose connections are closed when given back.

    Raises:
        DatabaseUnreachable: the URL is not one of PostgreSQL.
    """
    try:
        url = make_url(settings.migration_database_url.get_secret_value())
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        msg = "MIGRATION_DATABASE_URL is wrong: it must look like postgresql://owner:password@host:5432/database."
        raise DatabaseUnreachable(msg)
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={
            "application_name": f"switchboard-migrate@{socket.gethostname()}"[:_APPLICATION_NAME_LENGTH],
            "connect_timeout": _CONNECT_TIMEOUT_S,
            # A schema named like the owner would otherwise take the tables.
            "options": "-c search_path=public -c timezone=UTC",
        },
    )


@contextmanager
def owner_connection(engine: Engine) -> Iterator[Connection]:
    """An autocommit connection of the owner.

    Raises:
        DatabaseUnreachable: it could not be made.
    """
    try:
        connection = engine.connect()
    except OperationalError as error:
        msg = f"The database cannot be reached; check that it runs and MIGRATION_DATABASE_URL: {words_of(error.orig)}"
        raise DatabaseUnreachable(msg) from None
    with connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def alembic_transactions(connection: Connection) -> Iterator[None]:
    """Let Alembic begin and commit on the connection by itself; it is autocommit again afterwards."""
    connection.commit()
    connection.execution_options(isolation_level="READ COMMITTED")
    try:
        yield
    finally:
        # A lost connection stays lost: another one would not hold the migration lock.
        if not connection.invalidated:
            connection.rollback()
            connection.execution_options(isolation_level="AUTOCOMMIT")


def set_timeouts(connection: Connection, settings: MigrationSettings) -> None:
    """Bound every statement of the session, and every wait for a table lock, which makes others queue behind it."""
    timeouts = {
        "statement_timeout": settings.migration_statement_timeout_seconds * 1000,
        "lock_timeout": int(settings.migration_table_lock_timeout_seconds * 1000),
    }
    for name, milliseconds in timeouts.items():
        connection.execute(
            text("SELECT set_config(:name, :value, false)"), {"name": name, "value": f"{milliseconds}ms"}
        )


def words_of(error: BaseException | None) -> str:
    """An error in one line; of the server's own errors only the message, since the detail may show a row."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return " ".join(str(primary or error).split())
