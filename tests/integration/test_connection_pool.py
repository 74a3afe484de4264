"""Connections that lay in the pool while the server went away."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres
from switchboard_core import db
from switchboard_core.db import Database, make_engine
from switchboard_core.settings import Settings
from switchboard_core.tenancy.service import create_business


@pytest.fixture
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    yield postgres.create_database("connection_pool", template=migrated_template)
    postgres.drop_database("connection_pool")


@pytest.fixture
def database(urls: DatabaseUrls) -> Iterator[Database]:
    made = Database(make_engine(Settings(_env_file=None, database_url=urls.app), application_name="pool-test"))
    yield made
    made.dispose()


def backend(database: Database) -> int:
    """The server's process of the connection that a transaction gets."""
    with database.tenant(1) as session:
        return int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())


def end_backends(urls: DatabaseUrls) -> None:
    url = urls.app.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url, autocommit=True) as killer:
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'pool-test'"
        assert all(row[0] for row in killer.execute(ended).fetchall())


def test_a_connection_that_was_lost_while_it_lay_in_the_pool_is_replaced_unseen(
    database: Database, urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "PING_AFTER_S", 0.0)
    before = backend(database)
    assert backend(database) == before
    end_backends(urls)
    assert backend(database) != before


def test_one_that_was_lost_a_moment_after_its_use_is_noticed_once(
    database: Database, urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "PING_AFTER_S", 3600.0)
    before = backend(database)
    end_backends(urls)
    with pytest.raises(OperationalError):
        backend(database)
    assert backend(database) != before


def test_a_pipeline_on_a_lost_connection_gives_it_up(
    database: Database, urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "PING_AFTER_S", 3600.0)
    before = backend(database)
    end_backends(urls)
    with pytest.raises(psycopg.OperationalError), database.pipeline() as pipeline:
        pipeline.execute(1, "SELECT 1 AS one", {})
    assert backend(database) != before


def test_a_pipeline_is_one_transaction_in_which_each_statement_has_its_tenant(database: Database) -> None:
    tenant = "SELECT current_setting('app.business_id') AS tenant, txid_current() AS transaction"
    with database.pipeline() as pipeline:
        cursors = [pipeline.execute(business_id, tenant, {}) for business_id in (1, 1, 2)]
    rows = [cursor.fetchall()[0] for cursor in cursors]
    assert [row["tenant"] for row in rows] == ["1", "1", "2"]
    assert len({row["transaction"] for row in rows}) == 1


def test_what_fails_in_a_pipeline_takes_everything_in_it_back_and_leaves_the_connection_usable(
    database: Database,
) -> None:
    business = create_business(database, "Acme")
    before = backend(database)
    with pytest.raises(psycopg.errors.DivisionByZero):
        rename_and_fail(database, business.id)
    with database.tenant(business.id) as session:
        assert session.execute(text("SELECT name FROM businesses")).scalar_one() == "Acme"
    assert backend(database) == before


def rename_and_fail(database: Database, business_id: int) -> None:
    with database.pipeline() as pipeline:
        pipeline.execute(business_id, "UPDATE businesses SET name = 'Other'", {})
        pipeline.execute(business_id, "SELECT 1 / 0", {})
