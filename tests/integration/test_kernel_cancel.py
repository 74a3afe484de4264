"""Cancel: at once where nobody works, at the end of the slice where somebody does, and what was done stays done."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from integration.kernel_support import ENDS_ITSELF, Bench, bench, put, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_worker.sweep import Sweep


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, jobs_admitted_per_business=2) as made:
        yield made


def assert_cancelled(jobs: Bench, job_id: int, done: int) -> None:
    row = jobs.job(job_id)
    assert (row["status"], row["reason"], row["done"]) == ("cancelled", "Cancelled on request.", done)
    assert row["finished_at"] >= row["cancel_requested_at"]
    assert row["lease_until"] is None
    assert len(jobs.effects(job_id)) == done


def test_a_pending_job_is_cancelled_at_once_with_no_worker_anywhere(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 3})
    jobs.cancel(job_id)
    assert_cancelled(jobs, job_id, 0)
    assert jobs.kernel(walk).run_slice(job_id) is Outcome.FINISHED  # its wake-up is still queued
    assert_cancelled(jobs, job_id, 0)


def test_a_cancelled_job_makes_room_for_the_next(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(4)]
    assert jobs.queued() == [f"delete_leads_{job_id}" for job_id in ids[:2]]
    jobs.cancel(ids[0])
    assert Sweep(jobs.runtime).admit_waiting_jobs() == 1
    assert jobs.queued()[2:] == [f"delete_leads_{ids[2]}"]


def test_a_job_that_waits_for_admission_is_cancelled_at_once(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(4)]
    jobs.cancel(ids[3])
    assert_cancelled(jobs, ids[3], 0)
    assert len(jobs.queued()) == 2


def test_a_running_job_is_cancelled_at_the_end_of_its_slice(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 6, "a_slice": 2})

    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        if cursor and cursor["done"] == 2:
            jobs.cancel(job_id)
            assert jobs.job(job_id)["status"] == "running"
        return walk(ctx, payload, cursor)

    assert jobs.run(jobs.kernel(task), job_id) == 3
    assert_cancelled(jobs, job_id, 4)


def test_a_job_between_two_slices_is_cancelled_at_once(jobs: Bench) -> None:
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload={"items": 6, "a_slice": 2})
    kernel.run_slice(job_id)
    jobs.cancel(job_id)
    assert_cancelled(jobs, job_id, 2)


def test_a_sleeping_job_is_cancelled_at_once(jobs: Bench) -> None:
    job_id = jobs.enqueue()
    jobs.kernel(lambda *_: Slice(next_cursor={"watch": True}, sleep_s=3600)).run_slice(job_id)
    jobs.cancel(job_id)
    assert_cancelled(jobs, job_id, 0)


def test_a_job_whose_worker_died_is_cancelled_at_once_and_the_dead_write_nothing(jobs: Bench) -> None:
    job_id = jobs.enqueue()

    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        jobs.expire_lease(job_id)
        jobs.cancel(job_id)
        put(ctx, [1])
        return Slice()

    assert jobs.kernel(task).run_slice(job_id) is Outcome.FINISHED
    assert_cancelled(jobs, job_id, 0)


def test_a_cancel_that_comes_with_the_last_slice_leaves_the_job_completed(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 2})

    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        jobs.cancel(job_id)
        return walk(ctx, payload, cursor)

    jobs.run(jobs.kernel(task), job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("completed", [0, 1])


def test_a_cancel_during_the_slice_that_falls_asleep_is_seen_at_once(jobs: Bench) -> None:
    job_id = jobs.enqueue()

    def task(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        jobs.cancel(job_id)
        return Slice(next_cursor={"watch": True}, sleep_s=3600)

    assert jobs.run(jobs.kernel(task), job_id) == 2
    assert_cancelled(jobs, job_id, 0)


def test_a_task_that_ends_itself_winds_down_in_slices_of_its_own(jobs: Bench) -> None:
    seen: list[bool] = []

    def task(ctx: SliceContext, _payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        seen.append(ctx.cancel_requested)
        if not ctx.cancel_requested:
            return Slice(next_cursor={"left": 2}, sleep_s=3600)
        left = cursor["left"] if cursor else 0
        put(ctx, [left])
        ctx.done += 1
        if left:
            return Slice(next_cursor={"left": left - 1})
        return Slice(ends_as=JobStatus.CANCELLED, reason="All calls have ended.")

    kernel, job_id = jobs.kernel(task, job_type=ENDS_ITSELF), jobs.enqueue(ENDS_ITSELF)
    jobs.run(kernel, job_id)
    jobs.forget_queues()
    jobs.cancel(job_id)
    assert jobs.job(job_id)["status"] == "running"
    assert jobs.queued("default") == [f"{ENDS_ITSELF}_{job_id}"]
    assert jobs.run(kernel, job_id) == 3
    row = jobs.job(job_id)
    assert (row["status"], row["reason"], row["done"]) == ("cancelled", "All calls have ended.", 3)
    assert seen == [False, True, True, True]


def test_a_task_that_ends_itself_and_waits_for_admission_is_let_in_to_wind_down(jobs: Bench) -> None:
    ids = [jobs.enqueue(ENDS_ITSELF) for _ in range(3)]
    jobs.cancel(ids[2])
    assert f"{ENDS_ITSELF}_{ids[2]}" in jobs.queued("default")
    end = Slice(ends_as=JobStatus.CANCELLED, reason="Nothing had begun.")
    jobs.kernel(lambda *_: end, job_type=ENDS_ITSELF).run_slice(ids[2])
    assert jobs.job(ids[2])["reason"] == "Nothing had begun."


def test_a_cancel_is_noted_once(jobs: Bench) -> None:
    job_id = jobs.enqueue(ENDS_ITSELF)
    jobs.cancel(job_id)
    first = jobs.job(job_id)
    jobs.cancel(job_id)
    assert jobs.job(job_id) == first


def test_a_finished_job_stays_as_it_is(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.run(jobs.kernel(walk), job_id)
    before = jobs.job(job_id)
    jobs.cancel(job_id)
    assert jobs.job(job_id) == before


def test_a_job_of_an_unknown_kind_can_be_asked_to_stop(jobs: Bench) -> None:
    job_id = jobs.enqueue()
    jobs.set(job_id, "job_type = 'broadcast'")
    jobs.cancel(job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["cancel_requested_at"] is not None) == ("pending", True)


def test_cancels_in_the_midst_of_admissions_get_in_nobody_s_way(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(40)]
    kernel = jobs.kernel(walk)
    with ThreadPoolExecutor(4) as pool:
        runs = pool.map(kernel.run_slice, ids[:20])
        cancels = pool.map(jobs.cancel, reversed(ids))
        assert (len(list(runs)), len(list(cancels))) == (20, 40)  # and none of them was a deadlock's victim
    assert {jobs.job(job_id)["status"] for job_id in ids} <= {"completed", "cancelled"}
    assert [entry for entry in jobs.logged if entry["log_level"] in {"warning", "error"}] == []


@pytest.mark.parametrize("attempt", range(5))
def test_a_cancel_that_races_with_a_claim_ends_the_job_either_way(jobs: Bench, attempt: int) -> None:
    job_id = jobs.enqueue(payload={"items": 4, "a_slice": 1})
    kernel = jobs.kernel(walk)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(jobs.run, kernel, job_id)
        pool.submit(jobs.cancel, job_id).result(20)
        running.result(20)
    row = jobs.job(job_id)
    assert row["status"] == ("cancelled" if row["done"] < 4 else row["status"])
    assert row["finished_at"] is not None
    assert jobs.effects(job_id) == list(range(row["done"])), attempt
