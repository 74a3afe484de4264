"""The results of a campaign as CSV: all of them, however many."""

import csv
import io
from collections.abc import Iterator

import psycopg
import pytest

from integration.api_support import RunningApi, fresh_api
from switchboard_api import csvs
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

_JOBS = """
WITH run AS (
    INSERT INTO outbound_call_runs (business_id, name, status, message, calling_from, calling_until, calling_days)
    VALUES (%(business)s, 'Spring', 'running', 'Hello', '09:00', '20:00', 127) RETURNING id
)
INSERT INTO outbound_call_jobs (business_id, run_id, to_number, timezone)
SELECT %(business)s, id, '+1' || (4150000000 + n), 'UTC' FROM run, generate_series(1, %(number)s) n
RETURNING run_id
"""


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        yield running


def run_of(api: RunningApi, business_id: int, number: int) -> int:
    """A run with so many calls to place."""
    with psycopg.connect(api.owner_url.replace("+psycopg", "", 1)) as owner:
        row = owner.execute(_JOBS, {"business": business_id, "number": number}).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("number", [4, 5])
def test_page_by_page_every_number_has_its_line(api: RunningApi, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(csvs, "PAGE", 2)
    tenant = api.tenant()
    run = run_of(api, tenant.id, number)
    answer = tenant.viewer.get(f"/api/outbound_calls/runs/{run}/results.csv").raise_for_status()
    found = [row["to_number"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))]
    assert found == [f"'+1{4150000000 + each}" for each in range(1, number + 1)]
