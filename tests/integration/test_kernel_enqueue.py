"""Transactional enqueue: the row and its wake-up, or neither; and a wake-up that is lost is only late."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy.exc import ProgrammingError

from integration.kernel_support import TASK, Bench, walk
from switchboard_cli.devstack import EmbeddedValkey
from switchboard_core.jobs.catalog import UnknownJobTypeError
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import SchemaTooOldError, enqueue, queue_job
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.jobs.transport import Transport
from switchboard_core.redis import make_redis
from switchboard_worker.sweep import Sweep

NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture
def no_redis(jobs: Bench) -> Iterator[Transport]:
    """A transport whose Redis is away."""
    redis = make_redis(jobs.runtime.settings.model_copy(update={"redis_url": SecretStr(NOBODY)}))
    yield Transport(redis)
    redis.close()


def test_the_wake_up_follows_the_commit(jobs: Bench) -> None:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        job = enqueue(session, jobs.runtime.transport, TASK, {"items": 1})
        session.flush()
        assert jobs.queued() == []
    assert jobs.queued() == [f"{TASK}_{job.id}"]


def test_a_rolled_back_request_leaves_nothing_in_the_table_or_in_redis(jobs: Bench) -> None:
    jobs.roll_back(lambda session: enqueue(session, jobs.runtime.transport, TASK, {"items": 1}))
    assert jobs.sql("SELECT id FROM background_jobs") == []
    assert jobs.runtime.redis.keys("*") == []


def test_the_rq_job_has_the_row_s_id_and_carries_nothing_else(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"filter": {"phone": "+14155550123"}, "secret": "s3cr3t"})
    rq_job = Queue("maintenance", connection=jobs.runtime.redis, serializer=JSONSerializer).jobs[0]
    assert rq_job.id == f"delete_leads_{job_id}"
    assert rq_job.func_name == "switchboard_worker.tasks.entry.run_background_job"
    assert (rq_job.args, rq_job.kwargs, rq_job.meta) == ([job_id], {}, {})
    assert rq_job.data == b'["switchboard_worker.tasks.entry.run_background_job", null, [%d], {}]' % job_id
    stored = b" ".join(jobs.runtime.redis.hgetall(rq_job.key).values())  # type: ignore[arg-type]
    assert b"4155550123" not in stored
    assert b"s3cr3t" not in stored


def test_redis_being_away_costs_nothing_but_time(jobs: Bench, no_redis: Transport) -> None:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        job_id = enqueue(session, no_redis, TASK, {"items": 2}).id
    assert jobs.job(job_id)["status"] == "pending"
    assert "Redis does not answer; the sweep will enqueue later" in jobs.said("warning")
    assert jobs.queued() == []
    assert Sweep(jobs.runtime).enqueue_due_jobs() == 1
    assert jobs.queued() == [f"{TASK}_{job_id}"]


def test_a_redis_that_hangs_holds_a_request_up_for_seconds_only(jobs: Bench, valkey: EmbeddedValkey) -> None:
    settings = jobs.runtime.settings
    redis = make_redis(settings, socket_timeout_s=0.2)
    valkey.pause()
    try:
        with jobs.runtime.database.tenant(jobs.business_id) as session:
            job_id = enqueue(session, Transport(redis), TASK, {"items": 2}).id
    finally:
        valkey.resume()
        redis.close()
    assert jobs.job(job_id)["admitted_at"] is not None


def test_an_open_job_with_the_same_key_stands_for_the_new_one(jobs: Bench) -> None:
    first = jobs.enqueue(payload={"items": 1}, dedupe_key="leads of May")
    assert jobs.enqueue(payload={"items": 9}, dedupe_key="leads of May") == first
    assert jobs.enqueue(payload={"items": 1}, dedupe_key="leads of June") != first
    rival = jobs.another_business()
    assert jobs.enqueue(payload={"items": 1}, dedupe_key="leads of May", business_id=rival) != first
    jobs.run(jobs.kernel(walk), first)
    assert jobs.enqueue(payload={"items": 1}, dedupe_key="leads of May") != first


def test_of_many_equal_requests_at_once_one_job_comes(jobs: Bench) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: jobs.enqueue(payload={"items": 1}, dedupe_key="x"), range(16)))
    assert len(ids) == 1
    assert jobs.queued() == [f"{TASK}_{ids.pop()}"]


def test_an_unknown_job_is_refused_with_the_names_of_those_there_are(jobs: Bench) -> None:
    with pytest.raises(
        UnknownJobTypeError, match=r"no background job called 'send_pigeons'\. Known jobs: background_sort_task"
    ):
        jobs.enqueue("send_pigeons")


def test_a_database_of_an_older_release_is_told_to_migrate_and_the_transaction_goes_on(jobs: Bench) -> None:
    jobs.sql("ALTER TABLE background_jobs RENAME CONSTRAINT chk_job_type TO chk_job_type_104")
    jobs.sql("ALTER TABLE background_jobs ADD CONSTRAINT chk_job_type CHECK (job_type IN ('delete_receipts_all'))")
    try:
        with jobs.runtime.database.tenant(jobs.business_id) as session:
            with pytest.raises(SchemaTooOldError, match=r"'delete_leads' yet: run `switchboard migrate`\."):
                enqueue(session, jobs.runtime.transport, TASK)
            assert session.connection().closed is False
    finally:
        jobs.sql("ALTER TABLE background_jobs DROP CONSTRAINT chk_job_type")
        jobs.sql("ALTER TABLE background_jobs RENAME CONSTRAINT chk_job_type_104 TO chk_job_type")
    assert jobs.queued() == []


def test_queue_job_enqueues_by_name_in_the_running_task_s_transaction(jobs: Bench) -> None:
    def task(ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        follower = queue_job("update_leads", lead_ids=[1, 2], name="by keyword")
        if payload["breaks"]:
            raise RuntimeError("and all of it is undone")
        return Slice(result={"follower": follower, "in": ctx.job_id})

    good, bad = jobs.enqueue(payload={"breaks": False}), jobs.enqueue(payload={"breaks": True})
    for job_id in (good, bad):
        jobs.kernel(task).run_slice(job_id)
    [follower] = jobs.sql("SELECT * FROM background_jobs WHERE job_type = 'update_leads'")
    assert jobs.job(good)["result"] == {"follower": follower["id"], "in": good}
    assert follower["payload"] == {"lead_ids": [1, 2], "name": "by keyword"}
    assert follower["business_id"] == jobs.business_id
    assert jobs.queued()[-1] == f"update_leads_{follower['id']}"


def test_queue_job_takes_a_session_where_no_task_runs(jobs: Bench) -> None:
    with pytest.raises(LookupError, match=r"call it in a task, or pass session="):
        queue_job(TASK, items=1)
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        job_id = queue_job(TASK, session=session, transport=jobs.runtime.transport, items=1)
    assert jobs.queued() == [f"{TASK}_{job_id}"]


def test_queue_job_opens_one_connection_to_redis_however_often_it_is_called(jobs: Bench) -> None:
    def task(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        for _ in range(50):
            queue_job("update_leads")
        return Slice()

    before = len(jobs.runtime.redis.client_list())
    jobs.kernel(task).run_slice(jobs.enqueue())
    assert len(jobs.runtime.redis.client_list()) <= before + 1


def test_a_job_cannot_be_written_for_another_business(jobs: Bench) -> None:
    rival = jobs.another_business()
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        session.add(BackgroundJob(business_id=rival, job_type=TASK, queue="maintenance"))
        with pytest.raises(ProgrammingError, match="row-level security"):
            session.flush()
        session.rollback()
