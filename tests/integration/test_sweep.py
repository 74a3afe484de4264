"""The sweep: whatever was lost between PostgreSQL and Redis is put right, and what lives is left alone."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from sqlalchemy import text

from integration.kernel_support import TASK, Bench, bench, kernel_database, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.schemas import CleanupReport
from switchboard_core.jobs.slices import Slice
from switchboard_worker import sweep as sweep_module
from switchboard_worker.sweep import BATCH, Sweep, _Part
from waiting import await_true

_END_THE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, jobs_admitted_per_business=3, sweep_interval_seconds=0.05) as made:
        yield made


@pytest.fixture
def sweep(jobs: Bench) -> Sweep:
    return Sweep(jobs.runtime)


def parts_of(sweep: Sweep) -> list[_Part]:
    return [*sweep._asking, *sweep._mending, *sweep._housekeeping]


def ids_of(queued: list[str]) -> list[int]:
    return [int(rq_id.removeprefix(f"{TASK}_")) for rq_id in queued]


def test_an_emptied_redis_is_filled_again_with_all_that_is_due(jobs: Bench, sweep: Sweep) -> None:
    mine = [jobs.enqueue(payload={"items": 1}) for _ in range(2)]
    theirs = jobs.enqueue(payload={"items": 1}, business_id=jobs.another_business())
    jobs.forget_queues()
    assert sweep.enqueue_due_jobs() == 3
    assert sorted(ids_of(jobs.queued())) == [*mine, theirs]
    for job_id in (*mine, theirs):
        jobs.run(jobs.kernel(walk), job_id)
    jobs.forget_queues()
    assert sweep.enqueue_due_jobs() == 0
    assert jobs.queued() == []


def test_what_is_queued_is_not_queued_again(jobs: Bench, sweep: Sweep) -> None:
    jobs.enqueue(payload={"items": 1})
    assert sweep.enqueue_due_jobs() == 0
    assert len(jobs.queued()) == 1


def test_a_job_between_two_slices_whose_worker_died_goes_on(jobs: Bench, sweep: Sweep) -> None:
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload={"items": 4, "a_slice": 2})
    kernel.run_slice(job_id)
    jobs.forget_queues()  # killed after its commit, before the wake-up went back
    assert sweep.enqueue_due_jobs() == 1
    jobs.run(kernel, job_id)
    assert jobs.effects(job_id) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("columns", "queued"),
    [
        ("status = 'running', lease_until = now() + interval '5 s'", False),
        ("status = 'running', lease_until = now() - interval '1 s'", True),
        ("status = 'running', lease_until = NULL", True),
        ("status = 'running', run_after = now() + interval '5 s'", False),
        ("run_after = now() - interval '5 s'", True),
        ("admitted_at = NULL", False),
        ("status = 'completed'", False),
        ("status = 'failed', lease_until = now() - interval '1 s'", False),
        ("status = 'cancelled'", False),
    ],
)
def test_what_is_queued_is_what_is_due_and_nobody_works_on(
    jobs: Bench, sweep: Sweep, columns: str, queued: bool
) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.set(job_id, columns)
    jobs.forget_queues()
    assert sweep.enqueue_due_jobs() == queued
    assert ids_of(jobs.queued()) == ([job_id] if queued else [])


def test_a_sleeping_job_is_woken_when_its_time_has_come(jobs: Bench, sweep: Sweep) -> None:
    job_id = jobs.enqueue()
    jobs.kernel(lambda *_: Slice(next_cursor={"watch": True}, sleep_s=0.3)).run_slice(job_id)
    jobs.forget_queues()
    assert sweep.enqueue_due_jobs() == 0
    await_true(lambda: sweep.enqueue_due_jobs() == 1, "the end of its sleep", timeout=10)


def test_a_job_of_an_unknown_kind_holds_nothing_up(jobs: Bench, sweep: Sweep) -> None:
    strange, ours = jobs.enqueue(payload={"items": 1}), jobs.enqueue(payload={"items": 1})
    jobs.set(strange, "job_type = 'broadcast'")
    jobs.forget_queues()
    assert sweep.enqueue_due_jobs() == 2
    assert jobs.queued() == [f"broadcast_{strange}", f"{TASK}_{ours}"]


def test_waiting_jobs_of_every_business_are_let_in(jobs: Bench, sweep: Sweep) -> None:
    mine = [jobs.enqueue(payload={"items": 1}) for _ in range(5)]
    rival = jobs.another_business()
    theirs = [jobs.enqueue(payload={"items": 1}, business_id=rival) for _ in range(2)]
    jobs.sql("UPDATE background_jobs SET admitted_at = NULL")
    jobs.forget_queues()
    assert sweep.admit_waiting_jobs() == 5
    # In turns, whoever was let in first.
    assert ids_of(jobs.queued()) == [mine[0], theirs[0], mine[1], theirs[1], mine[2]]
    assert sweep.admit_waiting_jobs() == 0


def begin(jobs: Bench, job_id: int) -> Execution:
    """Start an execution as a worker does that dies or stalls afterwards."""
    redis = jobs.runtime.redis
    job = Job.fetch(f"{TASK}_{job_id}", connection=redis, serializer=JSONSerializer)
    redis.lpop("rq:queue:maintenance")
    with redis.pipeline() as pipeline:
        execution = Execution.create(job, 70, pipeline=pipeline, worker_name="w")
        job.prepare_for_execution("w", pipeline=pipeline)
        pipeline.execute()
    return execution


def started(jobs: Bench) -> list[str]:
    return StartedJobRegistry("maintenance", jobs.runtime.redis).get_job_ids(cleanup=False)


def test_a_dead_worker_s_execution_is_forgotten_when_its_lease_has_run_out(jobs: Bench, sweep: Sweep) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    execution = begin(jobs, job_id)
    jobs.set(job_id, "status = 'running', attempt = 1")
    jobs.expire_lease(job_id)
    assert sweep.enqueue_due_jobs() == 1
    assert started(jobs) == []
    assert not jobs.runtime.redis.exists(execution.key)


def test_a_worker_that_is_about_to_claim_keeps_its_execution(jobs: Bench, sweep: Sweep) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    execution = begin(jobs, job_id)
    assert sweep.enqueue_due_jobs() == 1  # a doubled wake-up is harmless
    assert started(jobs) == [f"{TASK}_{job_id}"]
    assert jobs.runtime.redis.hexists(execution.key, "created_at")


def test_one_process_sweeps_at_a_time(jobs: Bench, sweep: Sweep) -> None:
    jobs.enqueue(payload={"items": 1})
    jobs.forget_queues()
    with jobs.runtime.database.crossing() as other:
        for part in parts_of(sweep):
            other.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": part.lock_name})
        assert sweep.tick() is False
        assert jobs.queued() == []
    assert sweep.tick() is True
    assert len(jobs.queued()) == 1


def test_a_part_that_another_process_is_at_keeps_no_other_from_being_done(jobs: Bench, sweep: Sweep) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.forget_queues()
    with jobs.runtime.database.crossing() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('switchboard.sweep.old tasks deleted', 0))"))
        assert sweep.tick() is True
    assert ids_of(jobs.queued()) == [job_id]


def test_a_part_that_outlasts_its_lock_keeps_no_other_from_being_done(
    urls: DatabaseUrls, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(urls, valkey, lease_seconds=1.25) as jobs:  # PostgreSQL ends a transaction that idles for a second

        def slow(_sweep: Sweep) -> int:
            await_true(
                lambda: (
                    not jobs.sql(
                        "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) "
                        "WHERE locktype = 'advisory' AND datname = current_database()"
                    )
                ),
                "the end of the lock's transaction",
            )
            return 0

        monkeypatch.setattr(Sweep, "settle_abandoned_messages", slow)
        job_id = jobs.enqueue(payload={"items": 1})
        jobs.forget_queues()
        assert Sweep(jobs.runtime).tick() is True
        assert ids_of(jobs.queued()) == [job_id]
        assert "the sweep lost a lock; it goes on" in jobs.said("warning")


@pytest.mark.parametrize(
    ("owner", "name", "answer"),
    [(sweep_module, "settle_silent", CleanupReport()), (Sweep, "delete_old_tasks", 0)],
    ids=["a carrier that hangs", "a delete that takes long"],
)
def test_what_takes_long_keeps_no_lost_job_waiting(
    jobs: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, owner: Any, name: str, answer: object
) -> None:
    begun, done = threading.Event(), threading.Event()

    def take_long(_of: object) -> object:
        begun.set()
        done.wait(60)
        return answer

    monkeypatch.setattr(owner, name, take_long)
    sweep = Sweep(jobs.runtime)
    request.addfinalizer(sweep.stop)
    request.addfinalizer(done.set)
    sweep.start()
    assert begun.wait(30)
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.forget_queues()
    await_true(lambda: ids_of(jobs.queued()) == [job_id], "the wake-up")


def test_what_is_queued_already_hides_nothing_that_became_due_later(jobs: Bench, sweep: Sweep) -> None:
    """More than a batch of older jobs waits in Redis, and the one that became due last is lost."""
    jobs.sql(
        "INSERT INTO background_jobs (business_id, job_type, queue, status, admitted_at, run_after) "
        "SELECT %s, %s, 'maintenance', 'pending', now(), now() - interval '1 min' FROM generate_series(1, %s)",
        jobs.business_id,
        TASK,
        BATCH,
    )
    assert sweep.enqueue_due_jobs() == BATCH
    lost = jobs.enqueue(payload={"items": 1}, business_id=jobs.another_business())
    jobs.runtime.transport.drop(f"{TASK}_{lost}")
    assert sweep.tick() is True
    assert lost in ids_of(jobs.queued())
    assert len(jobs.queued()) == BATCH + 1


def test_all_that_an_emptied_redis_lost_is_queued_at_once(
    jobs: Bench, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "BATCH", 2)
    strange = jobs.enqueue(payload={"items": 1})
    ids = [jobs.enqueue(payload={"items": 1}, business_id=jobs.another_business()) for _ in range(5)]
    jobs.set(strange, "job_type = 'broadcast'")
    jobs.forget_queues()
    assert sweep.enqueue_due_jobs() == 6
    assert sorted(ids_of(jobs.queued()[1:])) == ids
    assert sweep.enqueue_due_jobs() == 0


def test_an_id_in_redis_that_is_nobody_s_harms_nothing(jobs: Bench, sweep: Sweep) -> None:
    jobs.runtime.redis.rpush("rq:queue:maintenance", f"{TASK}_{10**30}", f"{TASK}_", "strange", f"process_next_{1}")
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.runtime.transport.drop(f"{TASK}_{job_id}")
    assert sweep.enqueue_due_jobs() == 1
    assert f"{TASK}_{job_id}" in jobs.queued()


def test_a_part_that_fails_keeps_no_other_from_its_work(
    jobs: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def broken(_self: Sweep) -> int:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Sweep, "enqueue_due_jobs", broken)
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.set(job_id, "admitted_at = NULL")
    jobs.forget_queues()
    sweep = Sweep(jobs.runtime)
    request.addfinalizer(sweep.stop)
    sweep.start()
    await_true(lambda: ids_of(jobs.queued()) == [job_id], "the admission")
    assert "sweep failed; the next one goes on" in jobs.said("error")


def test_the_sweep_outlives_a_redis_that_is_away(
    jobs: Bench, sweep: Sweep, valkey: EmbeddedValkey, request: pytest.FixtureRequest
) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    request.addfinalizer(sweep.stop)
    request.addfinalizer(valkey.start)
    valkey.kill()
    sweep.start()
    await_true(lambda: "sweep interrupted; the next one goes on" in jobs.said("warning"), "a sweep in vain")
    valkey.start()
    await_true(lambda: ids_of(jobs.queued()) == [job_id], "the wake-up in the new Redis")


def test_a_part_in_lasting_trouble_says_so_once_a_minute(jobs: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_vain(_self: Sweep) -> int:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(Sweep, "enqueue_due_jobs", in_vain)
    part = next(part for part in Sweep(jobs.runtime)._mending if part.name == "jobs enqueued")
    for second in range(120):
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda second=second: 1000.0 + second)
            sweep_module._mend(part)
    assert jobs.said("warning").count("sweep interrupted; the next one goes on") == 2


def test_the_sweep_outlives_a_database_that_drops_its_connections(
    jobs: Bench, sweep: Sweep, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(sweep.stop)
    sweep.start()
    for _ in range(5):
        with jobs.runtime.database.crossing() as session:
            session.execute(text(_END_THE_OTHERS))
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.forget_queues()
    await_true(lambda: ids_of(jobs.queued()) == [job_id], "the wake-up")


def test_old_finished_tasks_of_every_business_are_deleted(jobs: Bench, sweep: Sweep) -> None:
    rival = jobs.another_business()
    made: dict[str, Any] = {
        "old": jobs.enqueue(payload={"items": 1}),
        "recent": jobs.enqueue(payload={"items": 1}),
        "running": jobs.enqueue(payload={"items": 1}),
        "theirs": jobs.enqueue(payload={"items": 1}, business_id=rival),
    }
    for name, age in (("old", "31 days"), ("recent", "29 days"), ("theirs", "31 days")):
        jobs.set(made[name], f"status = 'completed', finished_at = now() - interval '{age}'")
    jobs.set(made["running"], "created_at = now() - interval '400 days'")
    assert sweep.delete_old_tasks() == 2
    assert [row["id"] for row in jobs.sql("SELECT id FROM background_jobs ORDER BY id")] == [
        made["recent"],
        made["running"],
    ]


def test_lost_recordings_are_queued_with_the_same_care(jobs: Bench, sweep: Sweep) -> None:
    columns = {
        "pending": "'pending', NULL",
        "leased": "'downloading', now() + interval '5 s'",
        "dead": "'downloading', now() - interval '1 s'",
        "done": "'completed', NULL",
    }
    ids = {
        name: jobs.sql(
            "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url, status, lease_until) "
            f"VALUES (%s, %s, 'CA1', 'http://127.0.0.1:9/', {values}) RETURNING id",
            jobs.business_id,
            f"RE{name}",
        )[0]["id"]
        for name, values in columns.items()
    }
    assert sweep.enqueue_due_recordings() == 2
    assert sorted(jobs.queued("recordings")) == sorted(f"recording_{ids[name]}" for name in ("pending", "dead"))
    assert sweep.enqueue_due_recordings() == 0
