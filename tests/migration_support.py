"""Connections and settings for the tests of the schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine

from switchboard_cli.devstack import APP_ROLE, DatabaseUrls
from switchboard_core.db import Database
from switchboard_core.settings import MigrationSettings


def migration_settings(urls: DatabaseUrls, **changes: Any) -> MigrationSettings:
    """Settings of a migrator of this database, whatever the environment says."""
    values = {"migration_database_url": urls.owner, "app_database_role": APP_ROLE, **changes}
    return MigrationSettings(_env_file=None, **values)


@contextmanager
def connected(url: str, application_name: str = "a test") -> Iterator[Connection]:
    """An autocommit connection that is closed at the end."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"application_name": application_name})
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A service's database that is closed at the end."""
    database = Database(create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 2}))
    try:
        yield database
    finally:
        database.dispose()
