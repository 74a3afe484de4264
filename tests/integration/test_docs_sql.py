"""The SQL of ``docs/operations.md``, the restore runbook above all, is taken from the page and run."""

from typing import Any

import psycopg
import pytest

from docs_pages import blocks
from switchboard_cli.devstack import DatabaseUrls

COPY = r"\copy called FROM 'called.csv'"
NUMBERS = ["+14155550101", "+14155550102", "+14155550103"]


def statement(mark: str) -> str:
    """The block of the runbook that begins with this comment."""
    return next(block.content for block in blocks("operations.md") if block.first_line == f"-- restore: {mark}")


@pytest.fixture
def owner(database_urls: DatabaseUrls) -> Any:
    """A connection of the owner to a database as a backup left it: one running campaign, nobody called yet."""
    with psycopg.connect(database_urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)) as connection:
        connection.execute("INSERT INTO businesses (name) VALUES ('Acme')")
        connection.execute(
            "INSERT INTO background_jobs (business_id, job_type, queue, status, total) "
            "VALUES (1, 'enqueue_outbound_calls', 'default', 'running', 3)"
        )
        connection.execute(
            "INSERT INTO outbound_call_runs (business_id, name, status, background_job_id, message, calling_from, "
            "calling_until, calling_days, expanded_at) "
            "VALUES (1, 'Spring', 'running', 1, 'Hello', '09:00', '20:00', 127, now())"
        )
        for number in NUMBERS:
            connection.execute(
                "INSERT INTO outbound_call_jobs (business_id, run_id, to_number, timezone) VALUES (1, 1, %s, 'UTC')",
                (number,),
            )
        yield connection


def test_the_runbook_pauses_every_open_run(owner: psycopg.Connection[Any]) -> None:
    owner.execute(statement("pause"))
    assert owner.execute("SELECT status FROM outbound_call_runs").fetchall() == [("paused",)]


def test_the_runbook_takes_out_who_was_called_and_keeps_every_counter(owner: psycopg.Connection[Any]) -> None:
    owner.execute(statement("pause"))
    script = statement("reconcile")
    assert COPY in script, "psql's \\copy cannot be run here and is replaced"
    before, after = script.split(COPY)
    owner.execute(before)
    owner.execute("INSERT INTO called SELECT unnest(%s::text[])", (NUMBERS[:2],))
    owner.execute(after)
    jobs = owner.execute("SELECT to_number, status FROM outbound_call_jobs ORDER BY id").fetchall()
    assert jobs == list(zip(NUMBERS, ["skipped", "skipped", "queued"], strict=True))
    assert owner.execute("SELECT done, failed FROM background_jobs").fetchall() == [(2, 0)]


def test_the_other_queries_of_the_page_run(owner: psycopg.Connection[Any]) -> None:
    queries = [block.content for block in blocks("operations.md") if block.language == "sql"]
    for query in queries:
        if "restore:" not in query:
            owner.execute(query)
