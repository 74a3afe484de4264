"""Fairness between businesses: how long a job of a small one waits beside a backlog, and who gets how much.

Real worker processes, which sweep and admit as they do in a cluster, on real PostgreSQL and Valkey. Each job is one
slice of a given length, so that what is measured is the order of work and not the work.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from bench_limits import jain
from sqlalchemy import make_url

from switchboard_cli.devstack import (
    APP_ROLE,
    EmbeddedPostgres,
    EmbeddedValkey,
    ManagedProcess,
    free_port,
    temporary_folder,
)
from switchboard_core.jobs.queueing import enqueue
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import MigrationSettings, Settings
from switchboard_core.tenancy.service import create_business

HERE = Path(__file__).parent
START_S = 180.0
WORKERS = 2
JOB = "update_leads"
QUEUE = "maintenance"
_BACKLOG = "INSERT INTO background_jobs (business_id, job_type, queue) SELECT %s, %s, %s FROM generate_series(1, %s)"


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        businesses: in all; one of them has the backlog.
        backlog: its separate jobs.
        slice_s: length of each job's only slice in seconds.
        arrivals: jobs of the others, one at a time, for each of the two start delays.
        every_s: seconds between arrivals.
        contended_s: seconds in which everybody has a backlog.
    """

    businesses: int = 100
    backlog: int = 100_000
    slice_s: float = 0.1
    arrivals: int = 200
    every_s: float = 0.25
    contended_s: float = 60.0


@dataclass(frozen=True)
class Fairness:
    """What was found; times in milliseconds.

    Attributes:
        idle_p50: start delay of the others' jobs while nobody else works.
        idle_p95: the same.
        beside_p50: beside the backlog.
        beside_p95: the same.
        slice_mean: from one start of a worker to its next.
        jain: index of finished jobs by business while everybody has a backlog; 1 is the same for all.
        least: jobs that the business with the fewest finished meanwhile.
        most: jobs of the one with the most.
    """

    idle_p50: float
    idle_p95: float
    beside_p50: float
    beside_p95: float
    slice_mean: float
    jain: float
    least: int
    most: int


def run(size: Size) -> Fairness:
    """Measure once."""
    with _servers(size) as bench:
        bench.await_idle()
        idle = bench.delays(size)
        bench.backlog(bench.businesses[0], size.backlog)
        bench.await_started(bench.businesses[0], 10)
        beside = bench.delays(size)
        slice_mean = bench.slice_s()
        for business_id in bench.businesses[1:]:
            bench.backlog(business_id, int(4 * WORKERS * size.contended_s / size.slice_s / size.businesses) + 20)
        bench.owner.execute("TRUNCATE bench_done")
        for business_id in bench.businesses[1:]:
            bench.await_started(business_id, 1)
        finished = bench.finished(size.contended_s)
    shares = [finished.get(business_id, 0) for business_id in bench.businesses]
    idle_cuts, beside_cuts = (statistics.quantiles(delays, n=20) for delays in (idle, beside))
    return Fairness(
        1000 * idle_cuts[9],
        1000 * idle_cuts[18],
        1000 * beside_cuts[9],
        1000 * beside_cuts[18],
        1000 * slice_mean,
        jain(shares),
        min(shares),
        max(shares),
    )


@dataclass(frozen=True)
class _Bench:
    runtime: Runtime
    owner: "psycopg.Connection[tuple[Any, ...]]"
    businesses: list[int]

    def backlog(self, business_id: int, number: int) -> None:
        self.owner.execute(_BACKLOG, (business_id, JOB, QUEUE, number))

    def enqueue(self, business_id: int, **payload: float) -> None:
        with self.runtime.database.tenant(business_id) as session:
            enqueue(session, self.runtime.transport, JOB, payload, admit_limit=16)

    def await_idle(self) -> None:
        """Let every worker run a job first."""
        for _ in range(5 * WORKERS):
            self.enqueue(self.businesses[0])
        self.await_started(self.businesses[0], 5 * WORKERS)
        self.owner.execute("TRUNCATE bench_done")

    def await_started(self, business_id: int, number: int) -> None:
        deadline = time.monotonic() + START_S
        while self._count("business_id = %s", business_id) < number:
            if time.monotonic() > deadline:
                msg = f"business {business_id} got no {number} jobs done within {START_S:g} s"
                raise TimeoutError(msg)
            time.sleep(0.05)

    def delays(self, size: Size) -> list[float]:
        """Let the others enqueue a job each in turn; seconds from each enqueue until its slice began."""
        first = time.time()
        started = time.monotonic()
        for number in range(size.arrivals):
            time.sleep(max(0.0, started + number * size.every_s - time.monotonic()))
            self.enqueue(self.businesses[1 + number % (len(self.businesses) - 1)], asked=time.time())
        deadline = time.monotonic() + START_S
        while self._count("asked >= %s", first) < size.arrivals:
            if time.monotonic() > deadline:
                msg = "a job of a small business was not done"
                raise TimeoutError(msg)
            time.sleep(0.05)
        rows = self.owner.execute("SELECT began - asked FROM bench_done WHERE asked >= %s", (first,)).fetchall()
        return [float(row[0]) for row in rows]

    def slice_s(self) -> float:
        """Mean seconds from one start to the next of a worker that is never idle."""
        rows = self.owner.execute("SELECT began FROM bench_done ORDER BY began DESC LIMIT 200").fetchall()
        began = [float(row[0]) for row in reversed(rows)]
        return WORKERS * (began[-1] - began[0]) / (len(began) - 1)

    def finished(self, seconds: float) -> dict[int, int]:
        """Let everybody's backlogs go on; jobs finished meanwhile, by business."""
        self.owner.execute("TRUNCATE bench_done")
        time.sleep(seconds)
        rows = self.owner.execute("SELECT business_id, count(*) FROM bench_done GROUP BY 1").fetchall()
        return {int(row[0]): int(row[1]) for row in rows}

    def _count(self, condition: str, value: float) -> int:
        row = self.owner.execute(f"SELECT count(*) FROM bench_done WHERE {condition}".encode(), (value,)).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def _servers(size: Size) -> Iterator[_Bench]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("switchboard-bench-"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        runtime = make_runtime(Settings(database_url=urls.app, redis_url=valkey.url), name="bench")
        stack.callback(runtime.close)
        url = make_url(urls.owner).set(drivername="postgresql").render_as_string(hide_password=False)
        owner = stack.enter_context(psycopg.connect(url, autocommit=True))
        owner.execute("CREATE TABLE bench_done (business_id bigint, asked double precision, began double precision)")
        owner.execute(f"GRANT ALL ON bench_done TO {APP_ROLE}".encode())
        businesses = [create_business(runtime.database, f"Bench {n}").id for n in range(size.businesses)]
        for number in range(WORKERS):
            port = free_port()
            env = {
                "PATH": os.environ["PATH"],
                "DATABASE_URL": urls.app,
                "REDIS_URL": valkey.url,
                "SERVICE_ROLE": "worker",
                "METRICS_PORT": str(port),
                "LOG_LEVEL": "ERROR",
                "BENCH_SLICE_S": str(size.slice_s),
            }
            argv = [sys.executable, str(HERE / "fairness_worker.py")]
            worker = ManagedProcess(f"worker-{number}", argv, env, folder / f"worker-{number}.log")
            stack.callback(worker.terminate)
            worker.start()
            worker.wait_ready(f"http://127.0.0.1:{port}/api/ready", START_S)
        yield _Bench(runtime, owner, businesses)
