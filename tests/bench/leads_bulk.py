"""Bulk tasks of leads beside one raw UPDATE of the same rows, in one run on one server.

The raw statement is the floor: PostgreSQL told once, as the tables' owner, to change every row, all or nothing. What
the task does beyond that: slices that are each committed with their progress, so that it can be cancelled and survives
any kill; row-level security; a savepoint for every hundred leads, so that a bad one harms nobody else.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import make_url

from switchboard_cli.devstack import APP_ROLE, EmbeddedPostgres, EmbeddedValkey, temporary_folder
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.schemas import LeadChanges
from switchboard_core.leads.service import bulk_delete, bulk_update, restore
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import MigrationSettings, Settings
from switchboard_core.tenancy.service import create_business
from switchboard_worker.tasks.leads import TASKS

EVERYBODY = LeadFilter(all=True)
CHANGES = LeadChanges(timezone="Europe/Rome", add_tags=["called"], attributes={"plan": "pro"})
RAW = {
    "update": """
        UPDATE leads SET timezone = 'Europe/Rome', tags = (tags - 'called') || '["called"]',
            attributes = attributes || '{"plan": "pro"}', updated_at = now()
        WHERE business_id = %s AND deleted_at IS NULL
    """,
    "delete": """
        UPDATE leads SET deleted_at = now(), deleted_by_job_id = 1, updated_at = now()
        WHERE business_id = %s AND deleted_at IS NULL
    """,
    "restore": """
        UPDATE leads SET deleted_at = NULL, deleted_by_job_id = NULL, updated_at = now()
        WHERE business_id = %s AND deleted_by_job_id = 1
    """,
}
_ADD = """
INSERT INTO leads (business_id, phone, name, timezone, tags, attributes)
SELECT %s, '+1' || (4150000000 + n), 'Lead ' || n, 'America/New_York', '["spring"]', '{"plan": "free"}'
FROM generate_series(1, %s) n
"""


@dataclass(frozen=True)
class Bulk:
    """Seconds of a bulk change: by our task, and by the raw statement."""

    task_s: float
    raw_s: float
    slices: int


def run(number: int) -> dict[str, Bulk]:
    """Measure once.

    Args:
        number: leads of each of two businesses: one for the tasks, one for the raw statements.

    Returns:
        Figures of update, delete, and the undo of that delete.
    """
    with _servers() as (runtime, owner):
        ours, raw = (create_business(runtime.database, name).id for name in ("ours", "raw"))
        for business_id in (ours, raw):
            owner.execute(_ADD, (business_id, number))
        bench = _Bench(runtime, owner, number, ours, raw)
        found = {}
        for what in ("update", "delete", "restore"):
            # What the change before has left behind is cleared away, as autovacuum does in time.
            owner.execute("VACUUM ANALYZE leads")
            found[what] = bench.measure(what)
        return found


@contextmanager
def _servers() -> Iterator[tuple[Runtime, "psycopg.Connection[tuple[object, ...]]"]]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("switchboard-bench-"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        runtime = make_runtime(Settings(database_url=urls.app, redis_url=valkey.url), name="bench")
        stack.callback(runtime.close)
        url = make_url(urls.owner).set(drivername="postgresql").render_as_string(hide_password=False)
        yield runtime, stack.enter_context(psycopg.connect(url, autocommit=True))


class _Bench:
    def __init__(
        self,
        runtime: Runtime,
        owner: "psycopg.Connection[tuple[object, ...]]",
        number: int,
        ours: int,
        raw: int,
    ) -> None:
        self._runtime, self._owner, self._number, self._ours, self._raw = runtime, owner, number, ours, raw
        self._last_id = 0

    def measure(self, what: str) -> Bulk:
        """One change by both."""
        started = time.perf_counter()
        changed = self._owner.execute(RAW[what].encode(), (self._raw,)).rowcount
        raw_s = time.perf_counter() - started
        assert changed == self._number, changed
        started = time.perf_counter()
        slices = self._task(what)
        return Bulk(time.perf_counter() - started, raw_s, slices)

    def _task(self, what: str) -> int:
        """Create the task and do its slices; returns how many."""
        runtime = self._runtime
        kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, TASKS)
        with runtime.database.tenant(self._ours) as session:
            orders: dict[str, Callable[[], TaskSnapshot]] = {
                "update": lambda: bulk_update(session, runtime, EVERYBODY, CHANGES),
                "delete": lambda: bulk_delete(session, runtime, EVERYBODY),
                "restore": lambda: restore(session, runtime, self._last_id),
            }
            self._last_id = orders[what]().id
        slices = 1
        while kernel.run_slice(self._last_id) is Outcome.AGAIN:
            slices += 1
        kernel.close()
        with runtime.database.tenant(self._ours) as session:
            task = runtime.tasks.get(session, self._last_id)
        assert (task.status, task.done) == (JobStatus.COMPLETED, self._number), task
        return slices
