"""Worker processes that are stopped, killed, and left without Redis or schema: nothing is lost, nothing is doubled."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from rq.worker import Worker as RqWorker

from integration.kernel_support import QUEUE, TASK, bench, kernel_database
from integration.worker_support import PLAIN, Workshop, workshop
from migration_support import migration_settings
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.rq_worker import LEFT_IN_A_SLICE
from switchboard_core.jobs.transport import background_wakeup
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.process import Readiness, wait_for_schema
from waiting import await_true


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def shop(
    urls: DatabaseUrls, valkey: EmbeddedValkey, stack_folder: Path, request: pytest.FixtureRequest
) -> Iterator[Workshop]:
    with bench(urls, valkey) as jobs, workshop(jobs, stack_folder / request.node.name) as made:
        yield made


def test_a_job_outlives_one_worker_that_is_stopped_and_one_that_is_killed(shop: Workshop) -> None:
    job_id, gate = shop.gated_job(items=4)

    stopped = shop.worker().start()
    gate.await_slice(0)
    asked = time.monotonic()
    stopped.process.send(signal.SIGTERM)
    gate.open()
    assert stopped.process.ended_within(10)
    assert time.monotonic() - asked < 10
    assert stopped.process.returncode == 0
    row = shop.jobs.job(job_id)
    assert (row["status"], row["done"], row["lease_until"]) == ("running", 1, None)  # its slice was finished
    assert shop.jobs.queued() == [f"{TASK}_{job_id}"]
    assert shop.rq_status(job_id) == "queued"
    assert RqWorker.all(connection=shop.redis) == []  # signed off
    assert "worker left" in stopped.log

    killed = shop.worker().start()
    gate.await_slice(1)
    killed.process.kill()

    successor = shop.worker().start()
    gate.open(3)
    shop.await_status(job_id, "completed")
    row = shop.jobs.job(job_id)
    assert (row["done"], row["failed"], row["total"], row["crash_count"]) == (4, 0, 4, 0)
    assert shop.jobs.effects(job_id) == [0, 1, 2, 3]
    await_true(lambda: shop.rq_status(job_id) == "finished", "its end in RQ")
    assert shop.redis.zcard(f"rq:wip:{QUEUE}") == 0  # the dead one's execution is forgotten

    successor.process.send(signal.SIGTERM)
    assert successor.process.ended_within(5)  # idle: at once
    assert successor.process.returncode == 0


def test_a_slice_that_does_not_end_keeps_its_worker_for_ten_seconds_only(shop: Workshop) -> None:
    never = shop.folder / "never"
    job_id = shop.jobs.enqueue(payload={"stubborn": str(never)})
    stuck = shop.worker(LEASE_SECONDS="20").start()
    await_true(never.with_suffix(".entered").exists, "its slice")
    asked = time.monotonic()
    stuck.process.send(signal.SIGTERM)
    assert stuck.process.ended_within(12)
    assert time.monotonic() - asked < 10
    assert stuck.process.returncode == LEFT_IN_A_SLICE  # not by a signal: the first process of a container gets none
    never.touch()
    shop.jobs.expire_lease(job_id)
    shop.worker().start()
    shop.await_status(job_id, "completed")


def test_a_worker_that_loses_redis_goes_on_when_it_is_back(urls: DatabaseUrls, stack_folder: Path) -> None:
    with (
        EmbeddedValkey(stack_folder / "valkey-that-restarts") as valkey,
        bench(urls, valkey) as jobs,
        workshop(jobs, stack_folder / "redis-restarts") as shop,
    ):
        worker = shop.worker().start()
        first, gate = shop.gated_job(items=2)
        gate.await_slice(0)
        valkey.restart()  # empty, and in the middle of a slice
        gate.open(2)
        shop.await_status(first, "completed")
        valkey.kill()  # and while it is idle
        second, gate = shop.gated_job()
        gate.open()
        valkey.start()
        shop.await_status(second, "completed")
        assert (shop.jobs.effects(first), shop.jobs.effects(second)) == ([0, 1], [0])
        await_true(lambda: len(RqWorker.all(connection=shop.redis)) == 1, "one worker to be signed in")
        valkey.kill()
        worker.process.send(signal.SIGTERM)  # and leaves in good order without it
        assert worker.process.ended_within(10)
        assert worker.process.returncode == 0
        valkey.start()


def test_a_worker_waits_for_its_schema_and_runs_no_job_before(
    valkey: EmbeddedValkey, urls: DatabaseUrls, stack_folder: Path, empty_database_urls: DatabaseUrls
) -> None:
    with bench(urls, valkey) as jobs, workshop(jobs, stack_folder / "no-schema") as shop:
        early = background_wakeup(TASK, 1, QUEUE, 60)
        jobs.runtime.transport.push(early)
        worker = shop.worker(argv=PLAIN, DATABASE_URL=empty_database_urls.app).start(wait=False)
        worker.await_log("waiting for the database schema")
        answer = worker.readiness()
        assert (answer.status_code, answer.json()) == (
            503,
            {"status": "waiting", "waiting_for": "The database has not been migrated yet: run `switchboard migrate`."},
        )
        assert worker.process.running
        assert jobs.queued() == [early.rq_id]
        assert RqWorker.all(connection=shop.redis) == []
        run_migrations(migration_settings(empty_database_urls))
        worker.process.wait_ready(f"{worker.url}/api/ready", 30)
        await_true(lambda: jobs.queued() == [], "the job to be taken")
        assert worker.log.count("has not been migrated yet") == 1  # said once, not every second


def test_a_worker_that_is_too_old_for_the_schema_waits_until_it_is_not(shop: Workshop) -> None:
    readiness, stop = Readiness("start"), Event()
    shop.jobs.sql("UPDATE schema_state SET min_code_seq = 9999")
    accepted: list[bool] = []
    waiting = Thread(target=lambda: accepted.append(wait_for_schema(shop.jobs.runtime, stop, readiness)))
    waiting.start()
    try:
        await_true(lambda: "too old for the database" in str(readiness.waiting_for), "the worker to say why")
        assert waiting.is_alive()
    finally:
        shop.jobs.sql("UPDATE schema_state SET min_code_seq = 101")
    waiting.join(20)
    assert accepted == [True]


def test_a_worker_that_waits_for_its_schema_leaves_when_it_is_asked_to(shop: Workshop) -> None:
    shop.jobs.sql("UPDATE schema_state SET min_code_seq = 9999")
    try:
        worker = shop.worker(argv=PLAIN).start(wait=False)
        worker.await_log("waiting for the database schema")
        worker.process.send(signal.SIGTERM)
        assert worker.process.ended_within(5)
        assert worker.process.returncode == 0
    finally:
        shop.jobs.sql("UPDATE schema_state SET min_code_seq = 101")
