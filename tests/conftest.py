"""Servers for the tests: one PostgreSQL and one Valkey a session, a fresh database and an empty Valkey for each test.

They start when the first test asks for them, so unit tests pay nothing.
"""

import gc
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
import structlog

from memory_folder import use_memory
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres, EmbeddedValkey, temporary_folder

if TYPE_CHECKING:
    from xdist.remote import Producer

    from scheduling import LongestFirst

_database_numbers = count(1)


def pytest_configure() -> None:
    """Before anything is made."""
    use_memory()


def pytest_collection_finish() -> None:
    """Let the garbage collector look no more at thousands of tests, which stay until the end, each time it looks."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LongestFirst | None":
    """Give out files in an order of our own."""
    if config.getoption("dist") != "loadfile":
        return None
    # Here, because pytest runs without xdist too.
    from scheduling import LongestFirst

    return LongestFirst(config, log)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A test that configures logging, a command's say, leaves no handler behind that writes to its own output."""
    configured, config = structlog.is_configured(), structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    if configured:
        structlog.configure(**config)
    else:
        structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A folder of the session that PostgreSQL's own user can enter too; pytest's ``tmp_path`` is closed to it."""
    with temporary_folder("switchboard-tests-") as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(stack_folder: Path) -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL. A test that stops or kills a server starts one of its own."""
    # Connections are made by the thousand, and nobody guesses passwords of a server that lives for minutes.
    with EmbeddedPostgres(stack_folder / "postgres", settings={"scram_iterations": "1"}, fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(stack_folder: Path) -> Iterator[EmbeddedValkey]:
    """The session's Valkey. A test that stops or kills a server starts one of its own."""
    with EmbeddedValkey(stack_folder / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """Name of a database with every migration applied and no rows; tests work on copies of it."""
    from switchboard_core.migrate.runner import run_migrations
    from switchboard_core.settings import MigrationSettings

    name = "migrated_template"
    urls = postgres.create_database(name)
    # A developer's own .env must not decide what is tested.
    settings = MigrationSettings(_env_file=None, migration_database_url=urls.owner, app_database_role=APP_ROLE)
    run_migrations(settings)
    return name


@pytest.fixture
def database_urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    """A migrated database of this test alone."""
    yield from _database(postgres, migrated_template)


@pytest.fixture
def empty_database_urls(postgres: EmbeddedPostgres) -> Iterator[DatabaseUrls]:
    """A database of this test alone without any table, for the tests of the migrations themselves."""
    yield from _database(postgres, None)


@pytest.fixture
def redis_url(valkey: EmbeddedValkey) -> str:
    """URL of the session's Valkey, emptied for this test."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


def _database(postgres: EmbeddedPostgres, template: str | None) -> Iterator[DatabaseUrls]:
    name = f"test_{next(_database_numbers)}"
    yield postgres.create_database(name, template=template)
    postgres.drop_database(name)
