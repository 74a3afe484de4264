"""Durable jobs a second and idle pick-up latency: our worker beside ``rq worker`` and RQ's SimpleWorker, in one run."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from bench_jobs import durable
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey, ManagedProcess, temporary_folder
from switchboard_core.db import Database, make_engine
from switchboard_core.jobs.queueing import enqueue
from switchboard_core.jobs.transport import Transport
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.settings import MigrationSettings, Settings
from switchboard_core.tenancy.service import create_business

PROCESSES = 2
HERE = Path(__file__).parent
RQ = str(Path(sys.executable).with_name("rq"))


@dataclass(frozen=True)
class Bench:
    """The servers of a run."""

    database_url: str
    redis_url: str
    folder: Path
    settings: Settings
    database: Database
    business_id: int

    def done(self) -> int:
        """How many jobs have left their row."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute("SELECT count(*) FROM bench_done").fetchone()
        return int(row[0]) if row else 0

    def reset(self) -> None:
        """Forget all jobs."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("TRUNCATE bench_done")
            connection.execute("DELETE FROM background_jobs")
        with Redis.from_url(self.redis_url) as redis:
            redis.flushall()

    def await_done(self, number: int, timeout_s: float) -> None:
        """Wait until ``number`` jobs have left their row."""
        deadline = time.monotonic() + timeout_s
        while self.done() < number:
            if time.monotonic() > deadline:
                msg = f"only {self.done()} of {number} jobs were done within {timeout_s:g} s"
                raise TimeoutError(msg)
            time.sleep(0.02)


def run(*, quick: bool = False) -> dict[str, dict[str, Any]]:
    """Measure every engine; returns the figures by engine.

    Args:
        quick: a tenth of the jobs, to see that it works.
    """
    with _servers() as bench:
        return {name: _measure(bench, name, quick=quick) for name in ENGINES}


@contextmanager
def _servers() -> Any:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("switchboard-bench-"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role="switchboard_app"))
        owner = urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute("CREATE TABLE bench_done (number bigint, at double precision)")
            connection.execute("GRANT ALL ON bench_done TO switchboard_app")
        settings = Settings(database_url=urls.app, redis_url=valkey.url, jobs_admitted_per_business=1_000_000)
        database = Database(make_engine(settings, application_name="bench"))
        stack.callback(database.dispose)
        yield Bench(owner, valkey.url, folder, settings, database, create_business(database, "Bench").id)


def _measure(bench: Bench, name: str, *, quick: bool) -> dict[str, Any]:
    start, push, jobs = ENGINES[name]
    jobs = max(20, jobs // 10) if quick else jobs
    bench.reset()
    with ExitStack() as stack:
        for number in range(PROCESSES):
            process = start(bench, number)
            process.start()
            stack.callback(process.terminate)
        _warm_up(bench, push)
        rate = _rate(bench, push, jobs)
        latencies = _latencies(bench, push, 20 if quick else 60)
    quantiles = statistics.quantiles(latencies, n=100)
    return {
        "jobs": jobs,
        "jobs_per_s": round(rate, 1),
        "pickup_p50_ms": round(quantiles[49] * 1000, 1),
        "pickup_p99_ms": round(quantiles[98] * 1000, 1),
    }


def _warm_up(bench: Bench, push: Callable[[Bench, list[int]], None]) -> None:
    push(bench, list(range(20)))
    bench.await_done(20, 120)


def _rate(bench: Bench, push: Callable[[Bench, list[int]], None], jobs: int) -> float:
    before = bench.done()
    started = time.time()
    push(bench, list(range(jobs)))
    bench.await_done(before + jobs, 300)
    with psycopg.connect(bench.database_url) as connection:
        row = connection.execute("SELECT min(at), max(at) FROM bench_done WHERE at > %s", (started,)).fetchone()
    assert row
    return jobs / float(row[1] - row[0])


def _latencies(bench: Bench, push: Callable[[Bench, list[int]], None], tries: int) -> list[float]:
    found = []
    for number in range(tries):
        before = bench.done()
        time.sleep(0.05)  # let the workers become idle: this measures an idle pick-up
        at = time.time()
        push(bench, [10_000_000 + number])
        bench.await_done(before + 1, 30)
        with psycopg.connect(bench.database_url) as connection:
            row = connection.execute("SELECT max(at) FROM bench_done").fetchone()
        assert row
        found.append(float(row[0]) - at)
    return found


def _push_rq(bench: Bench, numbers: list[int]) -> None:
    with Redis.from_url(bench.redis_url) as redis:
        queue = Queue("default", connection=redis, serializer=JSONSerializer)
        queue.enqueue_many([Queue.prepare_data(durable, (number,)) for number in numbers])


def _push_kernel(bench: Bench, numbers: list[int]) -> None:
    with Redis.from_url(bench.redis_url) as redis, bench.database.tenant(bench.business_id) as session:
        transport = Transport(redis)
        for number in numbers:
            enqueue(session, transport, "update_leads", {"number": number}, admit_limit=1_000_000)


def _env(bench: Bench) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HERE),
        "BENCH_DATABASE_URL": bench.database_url,
        "DATABASE_URL": bench.settings.database_url.get_secret_value(),
        "REDIS_URL": bench.redis_url,
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


def _rq_worker(worker_class: str) -> Callable[[Bench, int], ManagedProcess]:
    def start(bench: Bench, number: int) -> ManagedProcess:
        argv = [RQ, "worker", "--url", bench.redis_url, "--serializer", "json", "--quiet", "default"]
        argv[2:2] = ["--worker-class", worker_class]
        return ManagedProcess(f"rq-{number}", argv, _env(bench), bench.folder / f"{worker_class}-{number}.log")

    return start


def _kernel_worker(bench: Bench, number: int) -> ManagedProcess:
    argv = [sys.executable, str(HERE / "bench_kernel_worker.py")]
    return ManagedProcess(f"kernel-{number}", argv, _env(bench), bench.folder / f"kernel-{number}.log")


ENGINES: dict[str, tuple[Callable[[Bench, int], ManagedProcess], Callable[[Bench, list[int]], None], int]] = {
    "rq worker (forks)": (_rq_worker("rq.Worker"), _push_rq, 200),
    "rq SimpleWorker": (_rq_worker("rq.SimpleWorker"), _push_rq, 2000),
    "ours, ordinary RQ jobs": (_kernel_worker, _push_rq, 2000),
    "ours, background jobs": (_kernel_worker, _push_kernel, 2000),
}
