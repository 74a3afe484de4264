"""A task that works for a row of its domain: what becomes of the row when the kernel has to fail the task."""

from typing import Any

from sqlalchemy.exc import OperationalError

from integration.kernel_support import Bench, put
from switchboard_core.jobs.kernel import MAX_CRASHES, Kernel, Outcome
from switchboard_core.jobs.slices import Cursor, FailureFunction, OwningTask, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus

REASON = "RuntimeError: a defect"


def broken(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
    put(ctx, [1])
    raise RuntimeError("a defect")


def end(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None, reason: str) -> Slice:
    """Ends two items of what the task works for."""
    put(ctx, [7, 8])
    ctx.done += 2
    return Slice(ends_as=JobStatus.FAILED, reason=reason, total=2)


def kernel(jobs: Bench, on_failure: FailureFunction) -> Kernel:
    return jobs.kernel(OwningTask(broken, on_failure))


def test_what_a_task_works_for_ends_with_it_and_is_counted(jobs: Bench) -> None:
    job_id = jobs.enqueue()
    assert kernel(jobs, end).run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (row["status"], row["reason"], row["done"], row["total"]) == ("failed", REASON, 2, 2)
    assert (row["lease_until"], row["finished_at"] is not None) == (None, True)
    assert jobs.effects(job_id) == [7, 8], "nothing of the slice that raised, all of what ended it"


def test_a_task_that_kills_its_workers_ends_what_it_works_for_too(jobs: Bench) -> None:
    job_id = jobs.enqueue()
    jobs.set(job_id, f"crash_count = {MAX_CRASHES}")
    kernel(jobs, end).run_slice(job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["done"]) == ("failed", 2)
    assert row["reason"].endswith("5 times in a row, so it was stopped.")


def test_winding_down_may_take_further_slices(jobs: Bench) -> None:
    def begin_to_end(_ctx: SliceContext, _payload: Any, _cursor: Any, reason: str) -> Slice:
        return Slice(next_cursor={"fails": reason})

    def run(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        return end(ctx, payload, cursor, cursor["fails"]) if cursor else broken(ctx, payload, cursor)

    job_id = jobs.enqueue()
    assert jobs.run(jobs.kernel(OwningTask(run, begin_to_end)), job_id) == 2
    assert (jobs.job(job_id)["status"], jobs.job(job_id)["reason"]) == ("failed", REASON)
    assert jobs.effects(job_id) == [7, 8]


def test_a_defect_in_the_ending_keeps_no_job_from_its_end(jobs: Bench) -> None:
    def also_broken(ctx: SliceContext, _payload: Any, _cursor: Any, _reason: str) -> Slice:
        put(ctx, [7])
        raise RuntimeError("another defect")

    job_id = jobs.enqueue()
    assert kernel(jobs, also_broken).run_slice(job_id) is Outcome.FINISHED
    assert (jobs.job(job_id)["status"], jobs.job(job_id)["reason"]) == ("failed", REASON)
    assert jobs.effects(job_id) == []
    assert "what the task works for could not be ended" in jobs.said("error")


def test_an_ending_that_loses_its_database_is_tried_again(jobs: Bench) -> None:
    tries: list[str] = []

    def unlucky_once(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None, reason: str) -> Slice:
        tries.append(reason)
        if len(tries) == 1:
            raise OperationalError("SELECT 1", {}, Exception("the server is gone"))
        return end(ctx, payload, cursor, reason)

    job_id, worker = jobs.enqueue(), kernel(jobs, unlucky_once)
    worker.run_slice(job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("running", [])
    jobs.set(job_id, "run_after = clock_timestamp()")
    worker.run_slice(job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("failed", [7, 8])


def test_a_worker_that_lost_its_claim_ends_nothing(jobs: Bench) -> None:
    def too_late(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None, reason: str) -> Slice:
        jobs.set(job_id, "attempt = attempt + 1")
        return end(ctx, payload, cursor, reason)

    job_id = jobs.enqueue()
    kernel(jobs, too_late).run_slice(job_id)
    assert (jobs.job(job_id)["status"], jobs.effects(job_id)) == ("running", [])
