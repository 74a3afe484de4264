"""Runnable work is never nothing while a worker could begin something, cheap to count, and gives nothing away."""

from collections.abc import Iterator
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from integration.crossing_support import CALLER, World
from integration.runnable_support import (
    CALLS,
    DOWNLOADS,
    EARLIER,
    LATER,
    RECORDINGS,
    WATCH,
    K,
    count,
    counted_database,
    counting_runtime,
    runnable,
)
from migration_support import connected, opened
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres
from switchboard_core import crossing
from switchboard_core.calls.admission import Admitted, admit_next
from switchboard_core.db import Database
from switchboard_core.jobs.queueing import admit
from switchboard_core.recordings.service import claim
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ALL_QUEUES


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with counted_database(postgres, migrated_template, "runnable_bounds") as urls:
        yield urls


@pytest.fixture
def world(urls: DatabaseUrls) -> Iterator[World]:
    with connected(urls.owner) as connection:
        made = World(connection)
        yield made
        made.run_sql("DELETE FROM businesses")


@pytest.fixture(scope="module")
def runtime(urls: DatabaseUrls) -> Iterator[Runtime]:
    with counting_runtime(urls) as made:
        yield made


class TestNeverNothingWhileThereIsSomething:
    """Otherwise a pool at zero would never come back."""

    @pytest.mark.parametrize("seed", range(40))
    def test_where_nothing_is_runnable_nobody_can_begin_anything(
        self, world: World, runtime: Runtime, seed: int
    ) -> None:
        random = Random(seed)
        for _ in range(random.randint(1, 3)):
            _random_business(world, random)
        with runtime.database.crossing() as session:
            numbers = count(session)
            jobs = [ref.id for ref in crossing.due_background_jobs(session, 100)]
        queue_of = {row["id"]: row["queue"] for row in world.rows("SELECT id, queue FROM background_jobs")}
        assert {queue_of[job] for job in jobs} <= set(numbers)
        placed = _begin_calls(runtime)
        assert (placed > 0) <= (CALLS in numbers)
        assert placed <= numbers.get(CALLS, 0)
        for queue, admitted in _admit_jobs(runtime).items():
            assert (admitted > 0) <= (queue in numbers)
        assert (_begin_recordings(runtime, world) > 0) <= (RECORDINGS in numbers)

    def test_the_worlds_are_not_all_busy_or_all_idle(self, world: World, runtime: Runtime) -> None:
        seen: dict[str, set[bool]] = {CALLS: set(), "maintenance": set(), RECORDINGS: set()}
        for seed in range(40):
            random = Random(seed)
            for _ in range(random.randint(1, 3)):
                _random_business(world, random)
            with runtime.database.crossing() as session:
                numbers = count(session)
            for queue, states in seen.items():
                states.add(queue in numbers)
            world.run_sql("DELETE FROM businesses")
        assert all(states == {True, False} for states in seen.values())


def _random_business(world: World, random: Random) -> None:
    times = ("NULL", EARLIER, LATER)
    business = world.business(
        cap=random.choice((0, 1, 3)),
        wake=random.choice(times),
        callers=random.choice(("[]", CALLER)),
        breaker=random.choice(times),
        failures=random.choice((0, 5)),
    )
    for _ in range(random.randint(0, 2)):
        run = world.run(business, random.choice(("pending", "running", "running", "paused", "cancelled")))
        for _ in range(random.randint(0, 3)):
            world.call_job(business, run, status=random.choice(("queued", "completed")), due=random.choice(times[1:]))
        if random.random() < 0.1:
            world.attempt(business, run)
    for _ in range(random.choice((0, 0, 1, 2 * K))):
        world.job(
            business,
            queue=random.choice(("default", "maintenance")),
            status=random.choice(("pending", "running", "completed")),
            admitted=random.choice(("NULL", "now()")),
            lease=random.choice(times),
            after=random.choice(times[1:]),
        )
    for _ in range(random.choice((0, 0, 0, 1, 5))):
        world.recording(
            business,
            status=random.choice(("pending", "downloading", "downloaded", "transcribing", "completed")),
            lease=random.choice(times),
            after=random.choice(times[1:]),
        )


def _businesses(runtime: Runtime) -> list[int]:
    with runtime.database.crossing() as session:
        return [ref.business_id for ref in crossing.businesses(session)]


def _begin_calls(runtime: Runtime) -> int:
    """Admit, as the pump does, until nothing is admissible; how many calls that makes."""
    placed = 0
    for business in _businesses(runtime):
        while True:
            with runtime.database.tenant(business) as session:
                if not isinstance(admit_next(session, runtime), Admitted):
                    break
            placed += 1
    return placed


def _admit_jobs(runtime: Runtime) -> dict[str, int]:
    """Let waiting jobs into Redis, as the sweep does; how many of each queue."""
    admitted = dict.fromkeys(ALL_QUEUES, 0)
    for business in _businesses(runtime):
        for queue in ALL_QUEUES:
            with runtime.database.tenant(business) as session:
                # Not due yet, they are let in all the same, and sleep there.
                due = "SELECT count(*) FROM background_jobs WHERE admitted_at IS NOT NULL AND run_after <= now()"
                before = session.scalar(text(f"{due} AND queue = :queue"), {"queue": queue})
                admit(session, runtime.transport, queue, limit=K)
                after = session.scalar(text(f"{due} AND queue = :queue"), {"queue": queue})
                admitted[queue] += (after or 0) - (before or 0)
    return admitted


def _begin_recordings(runtime: Runtime, world: World) -> int:
    claimed = 0
    for row in world.rows("SELECT id, business_id FROM recordings"):
        with runtime.database.tenant(row["business_id"]) as session:
            claimed += claim(session, row["id"], lease_s=60, per_business=DOWNLOADS) is not None
    return claimed


class TestCost:
    """What is read does not grow with a backlog."""

    MANY = 100_000
    TABLES = ("background_jobs", "outbound_call_jobs", "recordings", "call_attempts", "outbound_call_runs")

    def test_a_hundred_thousand_leads_and_jobs_are_not_read(self, world: World, runtime: Runtime) -> None:
        self._fill(world)
        with runtime.database.crossing() as session:
            before = self._read(session)
            numbers = count(session)
            after = self._read(session)
        read = {table: after[table] - before[table] for table in self.TABLES}
        assert numbers == {"maintenance": K, "low": K, CALLS: 3, WATCH: 1}
        assert all(number < 100 for number in read.values()), read

    def _fill(self, world: World) -> None:
        business = world.business(cap=3)
        run = world.run(business)
        world.run_sql(
            "INSERT INTO outbound_call_jobs (business_id, run_id, to_number, timezone) "
            "SELECT :business, :run, '+1' || n, 'UTC' FROM generate_series(1, :many) n",
            business=business,
            run=run,
            many=self.MANY,
        )
        # The finished ones come first, in the table too: whoever read from its beginning would read them all.
        for status in ("completed", "pending"):
            world.run_sql(
                "INSERT INTO background_jobs (business_id, job_type, queue, status) "
                "SELECT :business, 'delete_leads', CASE n % 100 WHEN 0 THEN 'low' ELSE 'maintenance' END, :status "
                "FROM generate_series(1, :many) n",
                business=business,
                status=status,
                many=self.MANY,
            )
        world.run_sql(f"ANALYZE {', '.join(self.TABLES)}, businesses")

    def _read(self, session: Session) -> dict[str, int]:
        """Rows that this session has read from each table, by index or not."""
        rows = session.execute(
            text("SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables")
        )
        return {row[0]: row[1] for row in rows}


def test_a_role_without_the_right_may_not_ask(runtime: Runtime, world: World) -> None:
    world.run_sql(f"REVOKE EXECUTE ON FUNCTION runnable_work FROM {APP_ROLE}")
    try:
        with pytest.raises(ProgrammingError, match="permission denied for function runnable_work"):
            runnable(runtime)
    finally:
        world.run_sql(f"GRANT EXECUTE ON FUNCTION runnable_work TO {APP_ROLE}")


def test_a_tenant_learns_no_more_than_the_numbers_of_all(urls: DatabaseUrls, world: World) -> None:
    mine, other = world.business(), world.business()
    world.job(other)
    with opened(urls.app) as database:
        assert _as_tenant(database, mine) == [("maintenance", 1)]
        assert _as_tenant(database, other) == [("maintenance", 1)]


def _as_tenant(database: Database, business: int) -> list[tuple[str, int]]:
    with database.tenant(business) as session:
        return [(row[0], row[1]) for row in session.execute(text("SELECT * FROM runnable_work(9, 9)"))]
