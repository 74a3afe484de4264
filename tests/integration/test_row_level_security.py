"""Tenants are kept apart by PostgreSQL itself, tested as the role that the services connect as."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, func, insert, select, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.types import BigInteger, Boolean, Date, DateTime, Float, Numeric, String, Time, TypeEngine, Uuid

from migration_support import connected, migration_settings, opened
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres
from switchboard_core.migrate import CODE_SEQ, REQUIRED_SCHEMA_SEQ, SchemaVerdict, check_schema, run_migrations

POLICY = "row-level security policy"
# Values that a CHECK wants; every other column without a default gets something of its type.
CHECKED = {
    "background_jobs.job_type": "delete_receipts_all",
    "broadcasts.channel": "sms",
    "message_rates.channel": "sms",
    "opt_outs.channel": "sms",
    "outgoing_messages.channel": "email",
}
SHARED_TABLES = {"alembic_version", "carrier_accounts", "maintenance_marks", "schema_state", "worker_heartbeats"}


def make_value(kind: TypeEngine[Any], seed: str) -> object:
    """Something of a type, different for each seed."""
    if isinstance(kind, String):
        return seed[: kind.length]
    values: list[tuple[type[TypeEngine[Any]], object]] = [
        (BigInteger, 1),
        (Numeric, 1),
        (Float, 1.0),
        (BYTEA, seed.encode()),
        (JSONB, {}),
        (Boolean, True),
        (Time, time(9)),
        (Date, date(2026, 1, 1)),
        (DateTime, datetime(2026, 1, 1, tzinfo=UTC)),
        (Uuid, uuid.uuid5(uuid.NAMESPACE_OID, seed)),
    ]
    return next(value for of_type, value in values if isinstance(kind, of_type))


def make_row(table: Table, business_id: int, parents: Mapping[str, object], seed: str) -> dict[str, object]:
    """The least that the table accepts as a row of a business."""
    row: dict[str, object] = {}
    for column in table.columns:
        if column.nullable or column.server_default is not None or column.identity is not None:
            continue
        target = next((key.column.table.name for key in column.foreign_keys), None)
        if column.name == "business_id":
            row[column.name] = business_id
        elif target is not None:
            row[column.name] = parents[target]
        else:
            row[column.name] = CHECKED.get(f"{table.name}.{column.name}") or make_value(column.type, seed)
    return row


class Tenants:
    """A database with one row of each of two businesses in every tenant table."""

    def __init__(self, urls: DatabaseUrls) -> None:
        self.urls = urls
        self.metadata = MetaData()
        with connected(urls.owner) as connection:
            self.metadata.reflect(connection)
            self.tables = [table for table in self.metadata.sorted_tables if table.name not in SHARED_TABLES]
            self.parents: dict[int, dict[str, object]] = {}
            for number in (1, 2):
                self._fill(connection, f"tenant{number}")
        self.own, self.other = self.parents

    def _fill(self, connection: Connection, seed: str) -> None:
        businesses = self.metadata.tables["businesses"]
        business_id = connection.execute(insert(businesses).values(name=seed).returning(businesses.c.id)).scalar_one()
        parents: dict[str, object] = {"businesses": business_id}
        for table in self.tables:
            if table is not businesses:
                key = next(iter(table.primary_key.columns))
                row = make_row(table, business_id, parents, seed)
                parents[table.name] = connection.execute(insert(table).values(row).returning(key)).scalar_one()
        self.parents[business_id] = parents


@pytest.fixture(scope="module")
def tenants(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[Tenants]:
    yield Tenants(postgres.create_database("tenants", template=migrated_template))
    postgres.drop_database("tenants")


@pytest.fixture
def app(tenants: Tenants) -> Iterator[Connection]:
    """A transaction of the application's role, rolled back at the end."""
    with connected(tenants.urls.app) as connection:
        connection.execution_options(isolation_level="READ COMMITTED")
        yield connection
        connection.rollback()


def become(connection: Connection, business_id: int) -> None:
    connection.execute(text("SELECT set_config('app.business_id', :id, true)"), {"id": str(business_id)})


def tenant_column(table: Table) -> str:
    return "id" if table.name == "businesses" else "business_id"


def test_every_table_is_a_tenant_table_or_known_to_be_shared(tenants: Tenants) -> None:
    with connected(tenants.urls.owner) as connection:
        protected = set(
            connection.execute(
                text("SELECT relname FROM pg_class WHERE relrowsecurity AND relkind IN ('r', 'p')")
            ).scalars()
        )
    assert set(tenants.metadata.tables) - SHARED_TABLES == protected


def test_tenant_tables_are_those_with_a_business(tenants: Tenants) -> None:
    assert all("business_id" in table.columns for table in tenants.tables if table.name != "businesses")
    assert not any("business_id" in tenants.metadata.tables[name].columns for name in SHARED_TABLES)


def test_a_tenant_sees_its_own_row_of_every_table_and_no_other(tenants: Tenants, app: Connection) -> None:
    become(app, tenants.own)
    seen = {table.name: list(app.execute(select(table.c[tenant_column(table)])).scalars()) for table in tenants.tables}
    assert seen == {table.name: [tenants.own] for table in tenants.tables}


def test_without_a_tenant_nothing_is_visible(tenants: Tenants, app: Connection) -> None:
    seen = {table.name: app.execute(select(func.count()).select_from(table)).scalar() for table in tenants.tables}
    assert seen == dict.fromkeys(seen, 0)


def test_a_tenant_is_forgotten_at_the_end_of_its_transaction(tenants: Tenants, app: Connection) -> None:
    become(app, tenants.own)
    app.commit()
    assert app.execute(text("SELECT count(*) FROM leads")).scalar() == 0


def test_no_row_can_be_inserted_for_another_tenant(tenants: Tenants, app: Connection) -> None:
    for table in tenants.tables:
        become(app, tenants.own)
        row = make_row(table, tenants.other, tenants.parents[tenants.other], "intruder")
        with pytest.raises(ProgrammingError, match=POLICY):
            app.execute(insert(table).values(row))
        app.rollback()


def test_no_row_can_be_given_to_another_tenant(tenants: Tenants, app: Connection) -> None:
    for table in tenants.tables:
        if not may(app, table, "UPDATE"):
            continue
        become(app, tenants.own)
        with pytest.raises(ProgrammingError, match=POLICY):
            app.execute(table.update().values({tenant_column(table): tenants.other}))
        app.rollback()


def test_no_row_of_another_tenant_can_be_changed_or_deleted(tenants: Tenants, app: Connection) -> None:
    for table in tenants.tables:
        become(app, tenants.own)
        column = table.c[tenant_column(table)]
        of_other = column == tenants.other
        if may(app, table, "UPDATE"):
            assert app.execute(table.update().where(of_other).values({column.name: column})).rowcount == 0
        if may(app, table, "DELETE"):
            assert app.execute(table.delete().where(of_other)).rowcount == 0
        app.rollback()


def may(connection: Connection, table: Table, privilege: str) -> bool:
    allowed = text("SELECT has_table_privilege(:table, :privilege)")
    return bool(connection.execute(allowed, {"table": table.name, "privilege": privilege}).scalar())


def test_the_audit_log_cannot_be_rewritten(tenants: Tenants, app: Connection) -> None:
    become(app, tenants.own)
    with pytest.raises(ProgrammingError, match="permission denied"):
        app.execute(text("DELETE FROM audit_events"))


@pytest.mark.parametrize("table", ["alembic_version", "maintenance_marks"])
def test_what_migrations_remember_is_not_the_services_business(app: Connection, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        app.execute(text(f"SELECT * FROM {table}"))


def test_no_table_can_be_emptied_past_the_policies(tenants: Tenants, app: Connection) -> None:
    assert [table.name for table in tenants.tables if may(app, table, "TRUNCATE")] == []


def test_the_application_role_owns_nothing_and_has_no_special_right(tenants: Tenants) -> None:
    with connected(tenants.urls.owner) as connection:
        role = connection.execute(
            text("SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = :role"),
            {"role": APP_ROLE},
        ).one()
        owned = connection.execute(
            text("""
                SELECT (SELECT count(*) FROM pg_class WHERE relowner = to_regrole(:role))
                     + (SELECT count(*) FROM pg_proc WHERE proowner = to_regrole(:role))
                     + (SELECT count(*) FROM pg_namespace WHERE nspowner = to_regrole(:role))
                     + (SELECT count(*) FROM pg_database WHERE datdba = to_regrole(:role))
            """),
            {"role": APP_ROLE},
        ).scalar()
    assert not any(role)
    assert owned == 0


def test_functions_that_cross_tenants_return_only_a_business_and_an_id_or_numbers_of_all(tenants: Tenants) -> None:
    with connected(tenants.urls.owner) as connection:
        results = set(
            connection.execute(
                text(
                    "SELECT pg_get_function_result(oid) FROM pg_proc WHERE prosecdef "
                    "AND pronamespace = 'public'::regnamespace"
                )
            ).scalars()
        )
    assert results == {
        "TABLE(business_id bigint, id bigint)",
        "TABLE(business_id bigint, id uuid)",
        "TABLE(queue text, runnable bigint)",  # runnable_work: all tenants together
        "bigint",  # ahead_in_line: how many others, not which
        "boolean",  # claim_startup_cleanup
    }


def test_functions_that_cross_tenants_have_a_fixed_search_path_and_are_not_public(tenants: Tenants) -> None:
    with connected(tenants.urls.owner) as connection:
        functions = connection.execute(
            text("""
                SELECT proname, proconfig, has_function_privilege('public', oid, 'EXECUTE') AS public
                FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace
            """)
        ).all()
    assert len(functions) > 10
    assert [row.proname for row in functions if row.proconfig != ["search_path=public, pg_temp"]] == []
    assert [row.proname for row in functions if row.public] == []


# What a service is told of the schema, with the same role.


def verdict_of(url: str) -> SchemaVerdict:
    with opened(url) as database:
        return check_schema(database)


def test_a_service_accepts_the_migrated_database(tenants: Tenants) -> None:
    verdict = verdict_of(tenants.urls.app)
    assert (verdict.ok, verdict.schema_seq) == (True, CODE_SEQ)


def test_a_service_accepts_the_oldest_schema_that_it_can_work_on_and_none_before(
    empty_database_urls: DatabaseUrls,
) -> None:
    run_migrations(migration_settings(empty_database_urls), target=str(REQUIRED_SCHEMA_SEQ - 1))
    verdict = verdict_of(empty_database_urls.app)
    assert (verdict.ok, verdict.schema_seq) == (False, REQUIRED_SCHEMA_SEQ - 1)
    assert "older than this release needs" in verdict.sentence
    run_migrations(migration_settings(empty_database_urls), target=str(REQUIRED_SCHEMA_SEQ))
    verdict = verdict_of(empty_database_urls.app)
    assert (verdict.ok, verdict.schema_seq) == (True, REQUIRED_SCHEMA_SEQ)


def test_a_service_is_told_that_the_database_was_never_migrated(empty_database_urls: DatabaseUrls) -> None:
    verdict = verdict_of(empty_database_urls.app)
    assert not verdict.ok
    assert verdict.reachable
    assert verdict.sentence == "The database has not been migrated yet: run `switchboard migrate`."


def test_a_service_is_told_that_its_role_was_granted_nothing(empty_database_urls: DatabaseUrls) -> None:
    run_migrations(migration_settings(empty_database_urls))
    with connected(empty_database_urls.owner) as connection:
        connection.exec_driver_sql("REVOKE ALL ON schema_state FROM switchboard_app")
    verdict = verdict_of(empty_database_urls.app)
    assert not verdict.ok
    assert verdict.reachable
    assert "APP_DATABASE_ROLE" in verdict.sentence


def test_a_service_refuses_a_role_that_sees_every_tenant(tenants: Tenants) -> None:
    verdict = verdict_of(tenants.urls.owner)
    assert not verdict.ok
    assert "row-level security does not apply" in verdict.sentence


def test_a_database_that_cannot_be_reached_is_told_from_one_that_does_not_fit() -> None:
    verdict = verdict_of("postgresql+psycopg://app:secret-word@127.0.0.1:1/none")
    assert not verdict.ok
    assert not verdict.reachable
    assert "secret-word" not in verdict.sentence
