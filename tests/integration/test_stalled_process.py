"""A process that stands still in the middle of a transaction: PostgreSQL ends it, and the work is done again."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from migration_support import connected
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import enqueue
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import Settings
from switchboard_core.tenancy.service import create_business


@pytest.fixture
def runtime(database_urls: DatabaseUrls, redis_url: str) -> Iterator[Runtime]:
    settings = Settings(
        _env_file=None,
        database_url=database_urls.app,
        redis_url=redis_url,
        lease_seconds=1.1,  # an idle transaction lives for eight tenths of it
    )
    runtime = make_runtime(settings, name="stalled")
    yield runtime
    runtime.close()


def stand_still(session: Session, urls: DatabaseUrls) -> None:
    """Keep the transaction open and send nothing until PostgreSQL has had enough of it."""
    backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    deadline = time.monotonic() + 20
    with connected(urls.owner) as owner:
        alive = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        while owner.execute(alive, {"pid": backend}).scalar_one():
            assert time.monotonic() < deadline, "the idle transaction was not ended"
            time.sleep(0.05)


def test_the_ended_transaction_is_a_lost_connection_and_the_next_one_works(
    runtime: Runtime, database_urls: DatabaseUrls
) -> None:
    with pytest.raises(OperationalError) as lost, runtime.database.crossing() as session:  # noqa: PT012
        stand_still(session, database_urls)
        session.execute(text("SELECT 1"))
    assert lost.value.connection_invalidated
    with runtime.database.crossing() as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1


def test_a_slice_that_stood_still_is_run_again_and_fails_nothing(runtime: Runtime, database_urls: DatabaseUrls) -> None:
    business_id = create_business(runtime.database, "Acme").id
    with runtime.database.tenant(business_id) as session:
        job_id = enqueue(session, runtime.transport, "delete_leads", {}, admit_limit=16).id
    turns: list[int] = []

    def work(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        turns.append(len(turns))
        if len(turns) == 1:
            stand_still(ctx.session, database_urls)
            ctx.session.execute(text("SELECT 1"))
        return Slice()

    kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, {"delete_leads": work})
    try:
        assert kernel.run_slice(job_id) is Outcome.FINISHED
        with runtime.database.tenant(business_id) as session:
            job = session.get_one(BackgroundJob, job_id)
            assert job.status is not JobStatus.FAILED
            job.run_after = job.created_at
        kernel.run_slice(job_id)
    finally:
        kernel.close()
    with runtime.database.tenant(business_id) as session:
        assert session.get_one(BackgroundJob, job_id).status is JobStatus.COMPLETED
    assert turns == [0, 1]
