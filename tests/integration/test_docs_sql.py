"""The SQL of ``docs/operations.md`` is taken from the page and run."""

from typing import Any

import psycopg
import pytest

from docs_pages import blocks
from switchboard_cli.devstack import DatabaseUrls

NUMBERS = ["+14155550101", "+14155550102", "+14155550103"]


@pytest.fixture
def owner(database_urls: DatabaseUrls) -> Any:
    """A connection of the owner to a database with one running campaign."""
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


def test_the_queries_of_the_page_run(owner: psycopg.Connection[Any]) -> None:
    queries = [block.content for block in blocks("operations.md") if block.language == "sql"]
    assert queries
    for query in queries:
        owner.execute(query)
