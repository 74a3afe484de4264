"""The models and the migrations describe the same database."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from migration_support import connected
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core import models

BOOKKEEPING_TABLES = {"schema_state", "maintenance_marks", "alembic_version"}


def test_the_models_describe_the_migrated_database_exactly(database_urls: DatabaseUrls) -> None:
    with connected(database_urls.owner) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _parents: kind != "table" or name not in BOOKKEEPING_TABLES,
            },
        )
        assert compare_metadata(context, models.metadata) == []


def definitions_of(url: str) -> set[str]:
    """Every index and constraint of the models' tables, as PostgreSQL spells them."""
    with connected(url) as connection:
        found = connection.execute(
            text("""
                SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
                FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text = ANY(:tables)
                UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(:tables)
            """),
            {"tables": list(models.metadata.tables)},
        ).scalars()
        return {definition for definition in found if " chk_job_type " not in definition}


def test_indexes_and_constraints_of_the_models_are_those_of_the_migrated_database(
    database_urls: DatabaseUrls, empty_database_urls: DatabaseUrls
) -> None:
    with connected(empty_database_urls.owner) as connection:
        models.metadata.create_all(connection)

    assert definitions_of(database_urls.owner) == definitions_of(empty_database_urls.owner)
