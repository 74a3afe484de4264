"""Claims and fencing: one worker at a time, and who lost the claim writes nothing."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty
from sqlalchemy import text

from integration.kernel_support import TASK, Bench, bench, put, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.jobs.kernel import MAX_CRASHES, MAX_SETBACKS, Kernel, Outcome
from switchboard_core.jobs.lease import Lease
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from waiting import await_true

LEASE_S = 1.5


@pytest.fixture
def hasty(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, lease_seconds=LEASE_S) as made:
        yield made


class Gate:
    """A task that waits inside its open transaction until the test opens the gate."""

    def __init__(self, *, effect: bool = False) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self._effect = effect

    def __call__(self, ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        if self._effect:
            put(ctx, [1])
        self.entered.set()
        assert self.opened.wait(60)
        if not self._effect:
            put(ctx, [1])
        return Slice(total=1)


def in_thread(kernel: Kernel, job_id: int) -> "tuple[ThreadPoolExecutor, Any]":
    pool = ThreadPoolExecutor(1)
    return pool, pool.submit(kernel.run_slice, job_id)


def test_of_many_claimers_exactly_one_works(jobs: Bench) -> None:
    gate, start = Gate(), threading.Barrier(4)
    job_id = jobs.enqueue()

    def race(kernel: Kernel) -> Outcome:
        start.wait(20)
        return kernel.run_slice(job_id)

    with ThreadPoolExecutor(4) as pool:
        races = [pool.submit(race, jobs.kernel(gate)) for _ in range(4)]
        assert gate.entered.wait(20)
        await_true(lambda: sum(running.done() for running in races) == 3, "the end of three who found nothing")
        gate.opened.set()
    assert jobs.job(job_id)["attempt"] == 1
    assert jobs.effects(job_id) == [1]


def test_a_doubled_wake_up_finds_nothing_while_the_job_runs_and_after_it(jobs: Bench) -> None:
    gate, job_id = Gate(), jobs.enqueue()
    pool, running = in_thread(jobs.kernel(gate), job_id)
    with pool:
        assert gate.entered.wait(20)
        assert jobs.kernel(walk).run_slice(job_id) is Outcome.FINISHED
        gate.opened.set()
        running.result(20)
    before = jobs.job(job_id)
    assert jobs.kernel(walk).run_slice(job_id) is Outcome.FINISHED
    assert jobs.job(job_id) == before


def test_a_job_that_does_not_exist_is_no_error(jobs: Bench) -> None:
    assert jobs.kernel(walk).run_slice(123_456_789) is Outcome.FINISHED


def test_a_worker_that_lost_its_lease_writes_nothing(jobs: Bench) -> None:
    gate, job_id = Gate(), jobs.enqueue(payload={"items": 5, "a_slice": 2})
    stalled = jobs.kernel(gate)
    pool, running = in_thread(stalled, job_id)
    with pool:
        assert gate.entered.wait(20)
        jobs.expire_lease(job_id)
        assert jobs.run(jobs.kernel(walk), job_id) == 3
        done = jobs.job(job_id)
        gate.opened.set()
        assert running.result(20) is Outcome.FINISHED
    assert jobs.job(job_id) == done
    assert (done["status"], done["attempt"], done["done"]) == ("completed", 4, 5)
    assert jobs.effects(job_id) == list(range(5))
    assert "claim lost: another worker has taken the job over" in jobs.said("warning")


def test_a_worker_that_lost_its_lease_neither_fails_nor_puts_back_the_job(jobs: Bench) -> None:
    gate, job_id = Gate(), jobs.enqueue(payload={"items": 3, "a_slice": 1})

    def breaks(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        gate(ctx, payload, cursor)
        raise RuntimeError("too late to matter")

    pool, running = in_thread(jobs.kernel(breaks), job_id)
    with pool:
        assert gate.entered.wait(20)
        jobs.expire_lease(job_id)
        successor = jobs.kernel(walk)
        assert successor.run_slice(job_id) is Outcome.AGAIN
        between = jobs.job(job_id)
        gate.opened.set()
        running.result(20)
        assert jobs.job(job_id) == between
        jobs.run(successor, job_id)
    assert jobs.job(job_id)["status"] == "completed"
    assert jobs.effects(job_id) == [0, 1, 2]


def test_a_worker_stopped_in_an_open_transaction_cannot_hold_up_its_successor(hasty: Bench) -> None:
    gate, job_id = Gate(effect=True), hasty.enqueue(payload={"items": 2})
    stopped = hasty.kernel(gate)
    pool, running = in_thread(stopped, job_id)
    with pool:
        assert gate.entered.wait(20)
        stopped.close()  # a stopped process renews nothing
        successor = hasty.kernel(walk)
        await_true(lambda: finished_by(successor, hasty, job_id), "the take-over")
        done = hasty.job(job_id)
        gate.opened.set()
        assert running.result(20) is Outcome.FINISHED
    assert (done["status"], done["attempt"], done["done"]) == ("completed", 2, 2)
    assert hasty.job(job_id) == done
    assert hasty.effects(job_id) == [0, 1]


def finished_by(kernel: Kernel, jobs: Bench, job_id: int) -> bool:
    kernel.run_slice(job_id)
    return jobs.job(job_id)["finished_at"] is not None


def test_a_lease_is_renewed_for_as_long_as_its_slice_runs(hasty: Bench) -> None:
    asleep = threading.Event()

    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        asleep.set()
        ctx.session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": 2 * LEASE_S})
        return Slice()

    job_id = hasty.enqueue()
    pool, running = in_thread(hasty.kernel(task), job_id)
    with pool:
        assert asleep.wait(20)
        leases = {hasty.job(job_id)["lease_until"]}
        rival = hasty.kernel(walk)
        while not running.done():
            rival.run_slice(job_id)
            leases.add(hasty.job(job_id)["lease_until"])
        assert running.result() is Outcome.FINISHED
    row = hasty.job(job_id)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert len(leases - {None}) >= 3


def test_a_lease_that_ended_is_not_brought_back_by_a_late_renewal(hasty: Bench) -> None:
    kernel, job_id = hasty.kernel(walk), hasty.enqueue(payload={"items": 4, "a_slice": 2})
    kernel.run_slice(job_id)
    kernel._leases._renew(Lease("background_jobs", hasty.business_id, job_id, 1))
    assert hasty.job(job_id)["lease_until"] is None


def test_a_crash_is_counted_and_a_committed_slice_forgives_it(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 2, "a_slice": 1})
    jobs.set(job_id, f"status = 'running', attempt = 3, crash_count = {MAX_CRASHES - 2}")
    jobs.expire_lease(job_id)
    counted: list[int] = []

    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        counted.append(jobs.job(job_id)["crash_count"])
        return walk(ctx, payload, cursor)

    jobs.run(jobs.kernel(task), job_id)
    assert counted == [MAX_CRASHES - 1, 0]
    assert jobs.job(job_id)["status"] == "completed"


def test_a_job_that_kills_its_worker_again_and_again_is_stopped_with_a_reason(jobs: Bench) -> None:
    class KilledError(BaseException):
        pass

    tries: list[int] = []

    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        tries.append(ctx.job_id)
        raise KilledError

    kernel, job_id = jobs.kernel(task), jobs.enqueue()
    for _ in range(MAX_CRASHES):
        with pytest.raises(KilledError):
            kernel.run_slice(job_id)
        jobs.expire_lease(job_id)
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (len(tries), row["status"], row["lease_until"]) == (MAX_CRASHES, "failed", None)
    assert row["reason"] == "Its worker crashed or it ran out of time 5 times in a row, so it was stopped."


def test_a_slice_that_loses_its_database_goes_back_and_is_run_again(jobs: Bench) -> None:
    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        if jobs.job(job_id)["attempt"] == 1:
            put(ctx, [0])
            pid = ctx.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            terminate(jobs, pid)
            put(ctx, [1])
        return walk(ctx, payload, cursor)

    kernel, job_id = jobs.kernel(task), jobs.enqueue(payload={"items": 3})
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (row["status"], row["crash_count"], row["setbacks"], row["lease_until"]) == ("running", 0, 1, None)
    assert row["run_after"] > row["heartbeat_at"]
    assert row["reason"].startswith("The last step did not succeed and is tried again: ")
    jobs.set(job_id, "run_after = now()")
    jobs.run(kernel, job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["setbacks"], row["reason"], row["done"]) == ("completed", 0, None, 3)
    assert jobs.effects(job_id) == [0, 1, 2]


def test_a_database_in_trouble_ends_no_task_however_often_it_refuses_its_slice(jobs: Bench) -> None:
    in_trouble = True

    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        if in_trouble:
            ctx.session.execute(text("SET LOCAL statement_timeout = 1"))
            ctx.session.execute(text("SELECT pg_sleep(1)"))
        return walk(ctx, payload, cursor)

    kernel, job_id = jobs.kernel(task), jobs.enqueue(payload={"items": 2})
    waits: list[float] = []
    for _ in range(3 * MAX_CRASHES):
        assert kernel.run_slice(job_id) is Outcome.FINISHED
        [row] = jobs.sql("SELECT extract(epoch FROM run_after - clock_timestamp()) wait FROM background_jobs")
        waits.append(float(row["wait"]))
        jobs.set(job_id, "run_after = now()")
    row = jobs.job(job_id)
    assert (row["status"], row["crash_count"], row["setbacks"]) == ("running", 0, 3 * MAX_CRASHES)
    assert waits[0] < 1 < waits[2] < 59 < waits[-1] <= 75
    in_trouble = False
    jobs.run(kernel, job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("completed", [0, 1])


def test_a_slice_that_the_database_refuses_for_an_hour_is_given_up_with_a_reason(jobs: Bench) -> None:
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload={"items": 2})
    jobs.set(job_id, f"setbacks = {MAX_SETBACKS}")
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert row["status"] == "failed"
    assert row["reason"].startswith("The database refused its last step 60 times in a row, so it was stopped.")


def terminate(jobs: Bench, pid: int) -> None:
    """The application's role may end its own sessions."""
    with jobs.runtime.database.crossing() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


@pytest.mark.parametrize("in_an_item", [False, True])
def test_a_slice_that_runs_out_of_time_goes_back_and_leaves_the_pool_in_order(jobs: Bench, in_an_item: bool) -> None:
    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        if jobs.job(job_id)["attempt"] == 1:
            put(ctx, [0])

            def sleep(_items: object) -> None:
                ctx.session.execute(text("SELECT pg_sleep(30)"))

            if in_an_item:
                ctx.each([1, 2], sleep)
            sleep(None)
        return walk(ctx, payload, cursor)

    kernel, job_id = jobs.kernel(task), jobs.enqueue(payload={"items": 2})
    started = time.monotonic()
    with UnixSignalDeathPenalty(1, JobTimeoutException):  # type: ignore[no-untyped-call]
        assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (row["status"], row["setbacks"], row["failed"], row["lease_until"]) == ("running", 1, 0, None)
    assert row["crash_count"] == 0  # it waited for the database
    assert jobs.runtime.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    jobs.set(job_id, "run_after = now()")
    jobs.run(kernel, job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("completed", [0, 1])
    assert time.monotonic() - started < 15  # the statement was called off: nobody waited for it or its locks


@pytest.mark.parametrize(
    ("job_type", "version"), [("broadcast", 1), ("delete_receipts_all", 1), (TASK, 2), (TASK, 0), ("update_leads", 1)]
)
def test_a_job_that_nobody_here_knows_is_parked_in_sight_and_never_failed(
    jobs: Bench, job_type: str, version: int
) -> None:
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload={"items": 1})
    jobs.set(job_id, f"job_type = '{job_type}', payload_version = {version}")
    changes: list[str | None] = []
    jobs.runtime.tasks.subscribe(job_id, lambda change: changes.append(change.reason))
    for _ in range(3):
        assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (row["status"], row["attempt"], row["crash_count"], row["lease_until"]) == ("pending", 0, 0, None)
    assert row["reason"] == (
        f"Parked: no worker here knows {job_type} with payload version {version}. Roll out a newer worker."
    )
    assert changes == [row["reason"]]
    assert row["version"] == 2  # parked once: a parked job is not looked at again before its time


def test_a_parked_job_goes_on_where_a_worker_knows_it(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.kernel(walk, job_type="update_leads").run_slice(job_id)
    assert jobs.job(job_id)["reason"].startswith("Parked: ")
    jobs.set(job_id, "run_after = now()")
    jobs.run(jobs.kernel(walk), job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["reason"]) == ("completed", None)


def test_an_old_worker_does_not_park_what_a_newer_one_works_on(jobs: Bench) -> None:
    gate, job_id = Gate(), jobs.enqueue()
    pool, running = in_thread(jobs.kernel(gate), job_id)
    with pool:
        assert gate.entered.wait(20)
        before = jobs.job(job_id)
        jobs.kernel(walk, job_type="update_leads").run_slice(job_id)
        assert jobs.job(job_id) == before
        gate.opened.set()
        running.result(20)
    assert jobs.job(job_id)["status"] == "completed"


def test_a_finished_job_of_an_unknown_kind_is_left_alone(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.run(jobs.kernel(walk), job_id)
    before = jobs.job(job_id)
    jobs.kernel(walk, job_type="update_leads").run_slice(job_id)
    assert jobs.job(job_id) == before
    assert "job parked" not in jobs.said()
