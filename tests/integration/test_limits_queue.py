"""A queue of 100,000 jobs of one business, or a million: nothing that is asked or done takes longer for it.

docs/limits.md says what people see of it.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from integration.api_support import RunningApi, running_api
from integration.kernel_support import QUEUE, TASK, Bench
from integration.worker_support import Gate, Workshop, workshop
from switchboard_core import crossing
from switchboard_core.jobs.queueing import admit
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key
from waiting import await_true

LONG, MILLION = 100_000, 1_000_000
FEW_ROWS = 200
WORKED_OFF = 300
GROWTH_KB = 48 * 1024
"""Far less than a million rows or wake-ups would take, and more than an interpreter's own unrest."""


@pytest.fixture
def gate(stack_folder: Path) -> Gate:
    """Open: every slice of the backlog may end at once."""
    (folder := stack_folder / "backlog").mkdir(exist_ok=True)
    made = Gate(folder / "gate-of-all")
    made.open()
    return made


def fill(jobs: Bench, number: int, gate: Gate) -> None:
    """Let that many jobs of the business wait."""
    jobs.sql("ALTER TABLE background_jobs SET (autovacuum_enabled = false)")
    jobs.sql(
        "INSERT INTO background_jobs (business_id, job_type, queue, payload) "
        "SELECT %s, %s, %s, jsonb_build_object('items', 1, 'gate', %s::text) FROM generate_series(1, %s)",
        jobs.business_id,
        TASK,
        QUEUE,
        str(gate.path),
        number,
    )


@pytest.fixture
def shop(jobs: Bench, gate: Gate) -> Iterator[Workshop]:
    with workshop(jobs, gate.path.parent, SWEEP_INTERVAL_SECONDS="1") as made:
        yield made


def test_however_long_it_is_few_of_its_rows_are_read(jobs: Bench, gate: Gate) -> None:
    fill(jobs, LONG, gate)
    few_rows_are_read(jobs)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_million_jobs_slow_down_nobody(jobs: Bench, shop: Workshop, gate: Gate) -> None:
    # Nothing is known of the table's contents, as where the jobs came a moment ago.
    fill(jobs, MILLION, gate)
    few_rows_are_read(jobs)
    worker = shop.worker().start()
    await_true(lambda: ended(jobs) > 20, "the backlog to be worked off")
    before = resident_kb(worker.process.pid)

    redis_url = jobs.runtime.settings.redis_url.get_secret_value()
    with running_api(database_url=jobs.urls.app, redis_url=redis_url) as api:
        people_are_answered(api, jobs.business_id)

    other = jobs.another_business()
    own = shop.gate()
    began = time.monotonic()
    job_id = jobs.enqueue(payload={"items": 1, "gate": str(own.path)}, business_id=other)
    own.await_slice(0)
    assert time.monotonic() - began < 5
    own.open()
    shop.await_status(job_id, "completed")

    goal = ended(jobs) + WORKED_OFF
    await_true(lambda: ended(jobs) > goal, "some hundred more of the backlog", timeout=120)
    assert resident_kb(worker.process.pid) - before < GROWTH_KB
    limit = jobs.runtime.settings.jobs_admitted_per_business
    assert len(jobs.queued()) <= limit + 1
    assert int(shop.redis.dbsize()) < 10 * WORKED_OFF


def few_rows_are_read(backlog: Bench) -> None:
    """Look for work and admit some, as sweep and api do."""
    database, transport = backlog.runtime.database, backlog.runtime.transport
    limit = backlog.runtime.settings.jobs_admitted_per_business
    with database.crossing() as session:
        assert [ref.business_id for ref in crossing.businesses_with_waiting_jobs(session)] == [backlog.business_id]
        assert rows_read(session) < FEW_ROWS
    for admitted in (limit, 0):
        with database.tenant(backlog.business_id) as session:
            assert admit(session, transport, QUEUE) == admitted
            assert rows_read(session) < FEW_ROWS
    with database.crossing() as session:
        assert len(crossing.due_background_jobs(session, 1000)) == limit
        assert rows_read(session) < FEW_ROWS
    with database.crossing() as session:
        counted = crossing.runnable_work(session, jobs_per_business=limit, recordings_per_business=3)
        assert counted == {QUEUE: limit}
        assert rows_read(session) < FEW_ROWS


def rows_read(session: Session) -> int:
    """Rows of background jobs that this transaction has read, through whatever function or index."""
    return int(
        session.execute(
            text(
                "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_all_tables "
                "WHERE relname = 'background_jobs'"
            )
        ).scalar_one()
    )


def people_are_answered(api: RunningApi, business_id: int) -> None:
    """The list of tasks, its pages, and one task, each in a second at most."""
    with api.runtime.database.tenant(business_id) as session:
        secret = create_api_key(session, "looks", Role.VIEWER)[1]
    client = api.client(secret)
    first = answered(client, "/api/tasks?limit=50")
    assert len(first["items"]) == 50
    answered(client, "/api/tasks?limit=50&status=pending")
    answered(client, "/api/tasks?limit=50&status=failed")
    answered(client, f"/api/tasks/{first['items'][0]['id']}")
    answered(client, "/api/business")


def answered(client: httpx.Client, path: str) -> dict[str, list[dict[str, int]]]:
    began = time.monotonic()
    answer = client.get(path)
    took = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    assert took < 1, f"{path} took {took:.1f} s"
    found: dict[str, list[dict[str, int]]] = answer.json()
    return found


def ended(backlog: Bench) -> int:
    """How many jobs of the backlog are done, by what they did."""
    return int(backlog.sql("SELECT count(*) AS number FROM effects")[0]["number"])


def resident_kb(pid: int) -> int:
    """Memory of a process (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
