"""What is asked often, and what is deleted in bulk, reads a few rows of a table, however long the table is."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from integration.crossing_support import World
from migration_support import connected, opened
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres
from switchboard_core import crossing
from switchboard_core.db import Database

MANY = 5_000
FEW = 200
BATCH = 50

# Nothing is ever deleted from the tables that these refer to, but for credentials, which go one at a time.
NEVER_LOOKED_FOR = {
    "lead_import_errors (import_id)",
    "leads (import_id)",
    "mail_accounts (credential_id)",
    "recordings (run_id)",
}

REFERENCES_WITHOUT_AN_INDEX = """
    SELECT reference.conrelid::regclass || ' (' || string_agg(behind.attname, ', ' ORDER BY behind.attnum) || ')'
    FROM pg_constraint reference
    JOIN pg_attribute behind ON behind.attrelid = reference.conrelid AND behind.attnum = ANY(reference.conkey)
    WHERE reference.contype = 'f' AND reference.connamespace = 'public'::regnamespace
      AND NOT EXISTS (
          SELECT FROM pg_index i
          WHERE i.indrelid = reference.conrelid AND i.indisvalid AND i.indpred IS NULL
            AND (i.indkey::int2[])[0:cardinality(reference.conkey) - 1] @> reference.conkey
      )
    GROUP BY reference.oid, reference.conrelid
"""

# Calls of one run whose recordings are all transcribed, and a few whose webhook never came.
RECORDED = """
    WITH jobs AS (
        INSERT INTO outbound_call_jobs (business_id, run_id, to_number, timezone, status)
        SELECT :business, :run, '+1' || number, 'UTC', 'completed' FROM generate_series(1, :many) number
        RETURNING id, to_number
    ), attempts AS (
        INSERT INTO call_attempts (id, business_id, run_id, job_id, number, account_sid, from_number, to_number, state,
                                   call_sid, settled_at, recordings_listed_at)
        SELECT gen_random_uuid(), :business, :run, id, 1, 'AC', '+1', to_number, 'completed', 'CA' || to_number,
               now() - interval '1 hour', now()
        FROM jobs
        RETURNING id, call_sid
    )
    INSERT INTO recordings (business_id, recording_sid, call_sid, attempt_id, run_id, status, media_url, transcript)
    SELECT :business, 'RE' || call_sid, call_sid, id, :run, 'completed', '', repeat('words ', 50) FROM attempts
"""
LOST = """
    UPDATE call_attempts SET recordings_listed_at = NULL
    WHERE id IN (SELECT id FROM call_attempts ORDER BY id LIMIT :few)
"""


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    yield postgres.create_database("indexes", template=migrated_template)
    postgres.drop_database("indexes")


@pytest.fixture
def world(urls: DatabaseUrls) -> Iterator[World]:
    with connected(urls.owner) as connection:
        made = World(connection)
        yield made
        made.run_sql("DELETE FROM businesses")


@pytest.fixture
def database(urls: DatabaseUrls) -> Iterator[Database]:
    with opened(urls.app) as made:
        yield made


def test_who_refers_to_a_row_that_may_be_deleted_is_found_by_an_index(world: World) -> None:
    found = {next(iter(row.values())) for row in world.rows(REFERENCES_WITHOUT_AN_INDEX)}
    assert found == NEVER_LOOKED_FOR


def test_a_task_is_deleted_without_a_look_at_every_run(world: World, database: Database) -> None:
    business = world.business()
    world.run_sql(
        "INSERT INTO background_jobs (business_id, job_type, queue, status) "
        "SELECT :business, 'enqueue_outbound_calls', 'default', 'completed' FROM generate_series(1, :many)",
        business=business,
        many=MANY,
    )
    world.run_sql(
        "INSERT INTO outbound_call_runs (business_id, name, status, background_job_id, message, calling_from, "
        "calling_until, calling_days) SELECT business_id, 'R', 'completed', id, '', '00:00', '00:00', 127 "
        "FROM background_jobs"
    )
    world.run_sql("ANALYZE background_jobs, outbound_call_runs")
    with database.tenant(business) as session:
        session.execute(text("DELETE FROM background_jobs WHERE id IN (SELECT min(id) FROM background_jobs)"))
        assert _rows_read(session, "outbound_call_runs") < FEW


def test_lost_recordings_are_looked_for_without_a_look_at_every_recording(world: World, database: Database) -> None:
    business = world.business()
    run = world.run(business, "completed")
    world.run_sql(RECORDED, business=business, run=run, many=MANY)
    world.run_sql(LOST, few=BATCH)
    world.run_sql("DELETE FROM recordings WHERE attempt_id IN (SELECT id FROM call_attempts ORDER BY id LIMIT 3)")
    world.run_sql("ANALYZE call_attempts, recordings")
    with database.crossing() as session:
        assert len(crossing.unlisted_recordings(session, 0, 100)) == 3
        assert _rows_read(session, "recordings") < FEW
    with database.crossing() as session:
        crossing.runnable_work(session, jobs_per_business=10, recordings_per_business=10)
        assert _rows_read(session, "recordings") < FEW


def _rows_read(session: Session, table: str) -> int:
    """Rows of a table that this transaction has read, through whatever function, trigger or index."""
    return int(
        session.execute(
            text(
                "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_all_tables "
                "WHERE relname = :table"
            ),
            {"table": table},
        ).scalar_one()
    )
