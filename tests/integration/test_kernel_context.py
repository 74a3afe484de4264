"""``job_context()`` and the connections of tasks: whatever a task does, nothing stays open."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from integration.kernel_support import TASK, Bench, put
from switchboard_core.db import tenant_of
from switchboard_core.jobs.context import JobContext, active_context, bind_context, job_context
from switchboard_core.jobs.queueing import queue_job
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext


def connections(jobs: Bench) -> int:
    """Connections of the application to this database."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'switch%%'"
    )
    return int(jobs.sql(query)[0]["count"])


def test_a_task_gets_the_session_that_the_kernel_commits(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        with job_context() as context:
            assert context.session is ctx.session
            assert context.business_id == jobs.business_id
            assert context.settings is ctx.settings
            put(ctx, [1])
        return Slice()

    job_id = jobs.enqueue()
    jobs.kernel(task).run_slice(job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("completed", [1])
    assert active_context() is None


def test_a_test_calls_a_task_directly_in_a_context_of_its_own(jobs: Bench) -> None:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        mine = JobContext(session, jobs.runtime.settings, jobs.business_id)
        with bind_context(mine), job_context() as context:
            assert context is mine
            job_id = queue_job(TASK, items=1)
        assert active_context() is None
    assert jobs.job(job_id)["payload"] == {"items": 1}


def test_without_a_running_job_one_context_is_made_committed_and_closed(jobs: Bench) -> None:
    with job_context(jobs.business_id) as context:
        assert tenant_of(context.session) == jobs.business_id
        assert active_context() is context
        job_id = queue_job(TASK, items=1)
        assert connections(jobs) == 1
    assert active_context() is None
    assert jobs.job(job_id)["status"] == "pending"
    assert connections(jobs) == 0


def test_a_context_is_closed_and_rolled_back_when_its_task_raises(jobs: Bench) -> None:
    for _ in range(5):
        with pytest.raises(DataError), job_context(jobs.business_id) as context:
            context.session.execute(text("SELECT 1 / :zero"), {"zero": queue_job(TASK, items=1) * 0})
    assert connections(jobs) == 0
    assert active_context() is None
    assert jobs.sql("SELECT id FROM background_jobs") == []


def test_without_job_and_business_there_is_no_context(jobs: Bench) -> None:
    with pytest.raises(LookupError, match="pass job_context"), job_context():
        pytest.fail("nobody's context")
    assert connections(jobs) == 0


@pytest.mark.slow
def test_a_thousand_failing_jobs_leave_the_pool_as_it_was(jobs: Bench) -> None:
    def task(ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        with job_context() as context:
            match payload["how"]:
                case 0:
                    raise RuntimeError("no")
                case 1:
                    context.session.execute(text("SELECT 1 / 0"))
                case 2:
                    put(ctx, [-1])
                case _:
                    put(ctx, [1, 1])  # the commit fails
        return Slice()

    jobs.sql(
        "INSERT INTO background_jobs (business_id, job_type, queue, payload) "
        "SELECT %s, 'delete_leads', 'maintenance', jsonb_build_object('how', n %% 4) FROM generate_series(1, 1000) n",
        jobs.business_id,
    )
    ids = [row["id"] for row in jobs.sql("SELECT id FROM background_jobs ORDER BY id")]
    pool = jobs.runtime.database.engine.pool
    with ExitStack() as all_at_once:
        for _ in range(jobs.runtime.settings.database_pool_size):  # the pool keeps so many once they were needed
            all_at_once.enter_context(jobs.runtime.database.crossing()).execute(text("SELECT 1"))
    before = (pool.checkedin(), pool.checkedout(), pool.overflow())  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(jobs.kernel(task).run_slice, ids))
    assert (pool.checkedin(), pool.checkedout(), pool.overflow()) == before  # type: ignore[attr-defined]
    assert before[1] == 0
    assert jobs.sql("SELECT status, count(*) FROM background_jobs GROUP BY 1") == [{"status": "failed", "count": 1000}]
    assert jobs.sql("SELECT * FROM effects") == []
    assert active_context() is None
