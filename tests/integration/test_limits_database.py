"""The database is slow: what meets a statement timeout waits, says so, and is done once it is fast again.

docs/limits.md says what people see of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from integration.calls_support import CallsBench, numbers
from integration.kernel_support import TASK, Bench, put
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.calls import pump
from switchboard_core.db import Database, make_engine
from switchboard_core.jobs.kernel import MAX_CRASHES
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.runtime import Runtime
from switchboard_worker.sweep import Sweep

LEADS = numbers(3)
LONGEST_WAIT_S = 75
"""A minute, and a quarter of it at random."""


@contextmanager
def held(urls: DatabaseUrls, statement: str) -> Iterator[None]:
    """Hold a lock, so that whatever needs it takes too long."""
    with psycopg.connect(urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)) as owner:
        owner.execute(statement)
        yield
        owner.rollback()


@contextmanager
def impatient(runtime: Runtime) -> Iterator[Runtime]:
    """The same process, whose statements are called off after a tenth of a second and not after a minute."""
    engine = make_engine(runtime.settings, application_name="impatient")
    event.listen(engine, "connect", _wait_less)
    try:
        yield replace(runtime, database=Database(engine))
    finally:
        engine.dispose()


def _wait_less(connection: "psycopg.Connection[Any]", _record: object) -> None:
    connection.execute("SET statement_timeout = 100")
    connection.commit()


def test_a_slice_waits_for_as_long_as_the_database_is_slow_and_is_then_done_once(jobs: Bench) -> None:
    slow = True

    def work(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        if slow:
            ctx.session.execute(text("SET LOCAL statement_timeout = 20"))
        put(ctx, [0])
        ctx.done += 1
        return Slice()

    kernel = jobs.kernel(work)
    job_id = jobs.enqueue()
    waits = []
    with held(jobs.urls, "LOCK TABLE effects"):
        for _ in range(2 * MAX_CRASHES):
            jobs.run(kernel, job_id)
            row = jobs.job(job_id)
            assert (row["status"], row["done"], row["crash_count"], row["lease_until"]) == ("running", 0, 0, None)
            assert "tried again" in row["reason"]
            waits.append((row["run_after"] - row["heartbeat_at"]).total_seconds())
            jobs.set(job_id, "run_after = clock_timestamp()")
    assert waits[0] < 5 < waits[-1] <= LONGEST_WAIT_S + 5
    slow = False
    jobs.forget_queues()
    assert Sweep(jobs.runtime).tick()
    assert jobs.queued() == [f"{TASK}_{job_id}"]
    jobs.run(kernel, job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["done"], row["setbacks"], row["reason"]) == ("completed", 1, 0, None)
    assert jobs.effects(job_id) == [0]


def test_a_pump_that_meets_it_places_nothing_and_every_lead_is_called_once_it_is_fast_again(bench: CallsBench) -> None:
    run = bench.start(*LEADS)
    assert run.job_id is not None
    with held(bench.urls, "SELECT 1 FROM businesses FOR UPDATE"), impatient(bench.runtime) as slow:
        for _ in range(3):
            with pytest.raises(OperationalError, match="statement timeout"):
                pump.process_next(slow, run.job_id, run.id)
    assert (bench.rows("SELECT 1 FROM call_attempts"), bench.report()["calls"]) == ([], 0)
    bench.runtime.redis.flushall()
    bench.work_to_the_end(run)
    assert bench.report()["calls_by_number"] == dict.fromkeys(LEADS, 1)
    bench.check(at_rest=True)
