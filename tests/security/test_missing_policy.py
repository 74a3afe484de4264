"""The tests of row-level security, turned on tables that lack what protects a tenant: each has to notice."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from integration import test_row_level_security as isolation
from migration_support import connected
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres

PLANTED = "CREATE TABLE planted (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, business_id bigint NOT NULL)"
GRANTED = f"GRANT ALL ON planted TO {APP_ROLE}"
PROTECTED = "ALTER TABLE planted ENABLE ROW LEVEL SECURITY"
OPEN_POLICY = "CREATE POLICY planted ON planted USING (true) WITH CHECK (true)"


@pytest.fixture
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    yield postgres.create_database("planted", template=migrated_template)
    postgres.drop_database("planted")


def plant(urls: DatabaseUrls, *statements: str) -> isolation.Tenants:
    with connected(urls.owner) as connection:
        for statement in statements:
            connection.execute(text(statement))
    return isolation.Tenants(urls)


def test_a_table_without_row_level_security_is_noticed(urls: DatabaseUrls) -> None:
    tenants = plant(urls, PLANTED, GRANTED)
    with pytest.raises(AssertionError, match="planted"):
        isolation.test_every_table_is_a_tenant_table_or_known_to_be_shared(tenants)


def test_a_policy_that_lets_everybody_in_is_noticed(urls: DatabaseUrls) -> None:
    tenants = plant(urls, PLANTED, GRANTED, PROTECTED, OPEN_POLICY)
    isolation.test_every_table_is_a_tenant_table_or_known_to_be_shared(tenants)
    with connected(urls.app) as app:
        app.execution_options(isolation_level="READ COMMITTED")
        with pytest.raises(AssertionError):
            isolation.test_without_a_tenant_nothing_is_visible(tenants, app)
