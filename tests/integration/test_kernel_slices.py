"""Slices: counters equal rows, no item harms another, and no commit is half a slice."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from integration.kernel_support import Bench, put, walk
from switchboard_core.db import after_commit
from switchboard_core.jobs.kernel import MAX_ERRORS, Outcome
from switchboard_core.jobs.queueing import queue_job, wake_now
from switchboard_core.jobs.slices import Cursor, ItemError, OwningTask, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus


def assert_counters_equal_rows(jobs: Bench, job_id: int) -> None:
    row = jobs.job(job_id)
    assert row["done"] == len(jobs.effects(job_id))
    assert row["failed"] >= len(row["errors"])
    assert row["total"] == row["done"] + row["failed"]


def test_a_job_of_several_slices_ends_with_every_item_done_once(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 25, "a_slice": 10})
    assert jobs.run(jobs.kernel(walk), job_id) == 3
    row = jobs.job(job_id)
    assert (row["status"], row["done"], row["failed"], row["attempt"]) == ("completed", 25, 0, 3)
    assert row["finished_at"] >= row["started_at"] >= row["created_at"]
    assert row["lease_until"] is None
    assert jobs.effects(job_id) == list(range(25))


def test_progress_is_committed_slice_by_slice(jobs: Bench) -> None:
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload={"items": 25, "a_slice": 10})
    seen = []
    while kernel.run_slice(job_id) is Outcome.AGAIN:
        row = jobs.job(job_id)
        seen.append((row["status"], row["done"], row["cursor"], len(jobs.effects(job_id))))
    assert seen == [("running", 10, {"done": 10}, 10), ("running", 20, {"done": 20}, 20)]


@pytest.mark.parametrize("bad", [{0}, {99}, {37}, {3, 4, 5}, {0, 50, 99}, set(range(100))])
def test_a_bad_item_is_left_out_and_named_and_the_rest_goes_on(jobs: Bench, bad: set[int]) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        items = [-item - 1 if item in bad else item for item in range(100)]
        ctx.each(items, lambda part: put(ctx, list(part)), name=lambda item: f"lead {item}")
        return Slice(total=100)

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(task), job_id)
    row = jobs.job(job_id)
    assert row["status"] == "completed"
    assert jobs.effects(job_id) == [item for item in range(100) if item not in bad]
    assert [error["item"] for error in row["errors"]] == [f"lead {-item - 1}" for item in sorted(bad)]
    assert all("chk_effects_item" in error["message"] for error in row["errors"])
    assert_counters_equal_rows(jobs, job_id)


@pytest.mark.parametrize("bad", ["\0", "\ud800"], ids=["NUL", "surrogate"])
def test_text_that_the_database_cannot_keep_costs_a_slice_nothing(jobs: Bench, bad: str) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        put(ctx, [1 if cursor else 0])
        if cursor is None:
            ctx.errors.append(ItemError(f"item {bad}", f"is {bad}"))
            return Slice(next_cursor={"said": [f"a{bad}"]}, reason=f"waits for {bad}")
        return Slice(result={f"k{bad}": cursor["said"]}, reason=f"ended {bad}")

    kernel, job_id = jobs.kernel(task), jobs.enqueue()
    assert kernel.run_slice(job_id) is Outcome.AGAIN
    row = jobs.job(job_id)
    assert (row["cursor"], row["reason"]) == ({"said": ["a\ufffd"]}, "waits for \ufffd")
    assert row["errors"] == [{"item": "item \ufffd", "message": "is \ufffd"}]
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (row["status"], row["result"]) == ("completed", {"k\ufffd": ["a\ufffd"]})
    assert jobs.effects(job_id) == [0, 1]


@pytest.mark.parametrize("bad", ["\0", "\ud800"], ids=["NUL", "surrogate"])
def test_a_task_that_raises_such_text_fails_with_it(jobs: Bench, bad: str) -> None:
    told: list[str] = []

    def task(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        raise ValueError(f"what is {bad}?")

    def ends(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None, reason: str) -> Slice:
        told.append(reason)
        return Slice(ends_as=JobStatus.FAILED, reason=reason)

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(OwningTask(task, ends)), job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["reason"]) == ("failed", "ValueError: what is \ufffd?")
    assert told == [row["reason"]], "its domain can keep it too"


def test_an_item_s_error_says_nothing_of_statement_or_values(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        ctx.each([-4155550123], lambda part: put(ctx, list(part)), name=lambda _: "lead 1")
        return Slice()

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(task), job_id)
    message = jobs.job(job_id)["errors"][0]["message"]
    assert message.startswith("CheckViolation: ")
    assert "4155550123" not in message
    assert "INSERT" not in message


@pytest.mark.parametrize("bad", [[0], [30], [1, 2, 28], [10, 11, 12]])
def test_an_item_whose_commit_fails_is_found_and_left_out(jobs: Bench, bad: list[int]) -> None:
    job_id = jobs.enqueue(payload={"items": 31})
    for item in bad:  # the constraint is deferred: only the commit finds the second one
        jobs.sql("INSERT INTO effects VALUES (%s, %s)", job_id, item)
    jobs.run(jobs.kernel(walk), job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["done"], row["failed"]) == ("completed", 31 - len(bad), len(bad))
    assert [int(error["item"]) for error in row["errors"]] == bad
    for number, error in zip(bad, row["errors"], strict=True):
        assert error["message"].startswith(f"Commit failed at {number}: UniqueViolation: ")
    assert jobs.effects(job_id) == list(range(31))
    assert any(line.startswith(f"Commit failed at {bad[0]}: UniqueViolation") for line in jobs.said("error"))


def test_a_failed_commit_keeps_nothing_of_its_slice(jobs: Bench) -> None:
    told: list[int] = []

    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        after_commit(ctx.session, lambda: told.append(ctx.limit))
        return walk(ctx, payload, cursor)

    job_id = jobs.enqueue(payload={"items": 4})
    jobs.sql("INSERT INTO effects VALUES (%s, 3)", job_id)
    kernel = jobs.kernel(task)
    assert kernel.run_slice(job_id) is Outcome.AGAIN
    assert (jobs.job(job_id)["done"], jobs.effects(job_id)) == (2, [0, 1, 3])
    assert told == [2]  # only the attempt that was committed told of itself


def test_a_commit_that_fails_for_no_item_s_sake_fails_the_job(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        put(ctx, [7, 7])
        return Slice()

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(task), job_id)
    row = jobs.job(job_id)
    assert row["status"] == "failed"
    assert row["reason"].startswith("Commit failed at 0: UniqueViolation: ")
    assert jobs.effects(job_id) == []


def test_errors_are_kept_up_to_a_limit_and_counted_beyond_it(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        start = cursor["start"] if cursor else 0

        def fail(_part: object) -> None:
            raise ValueError("no")

        ctx.each(range(start, start + 400), fail)
        return Slice(next_cursor={"start": start + 400} if start < 800 else None, total=1200)

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(task), job_id)
    row = jobs.job(job_id)
    assert (row["failed"], len(row["errors"])) == (1200, MAX_ERRORS)
    assert [int(error["item"]) for error in row["errors"]] == list(range(MAX_ERRORS))


def test_a_task_that_raises_fails_its_job_with_one_sentence_and_no_effect(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        put(ctx, [1])
        raise RuntimeError("the leads are gone\nsecond line")

    job_id = jobs.enqueue()
    assert jobs.run(jobs.kernel(task), job_id) == 1
    row = jobs.job(job_id)
    assert (row["status"], row["reason"]) == ("failed", "RuntimeError: the leads are gone")
    assert row["finished_at"] is not None
    assert row["lease_until"] is None
    assert jobs.effects(job_id) == []


def test_a_task_may_name_its_own_end(jobs: Bench) -> None:
    job_id = jobs.enqueue()
    end = Slice(ends_as=JobStatus.FAILED, reason="The run was deleted.", result={"calls": 3})
    jobs.run(jobs.kernel(lambda *_: end), job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["reason"], row["result"]) == ("failed", "The run was deleted.", {"calls": 3})


def test_what_a_rolled_back_item_queued_is_never_told_to_redis(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        def apply(items: list[int]) -> None:
            queue_job("update_leads", item=items[0])
            put(ctx, items)

        ctx.each([-1, 2], lambda items: apply(list(items)))
        return Slice()

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(task), job_id)
    followers = [row["id"] for row in jobs.sql("SELECT id FROM background_jobs WHERE job_type = 'update_leads'")]
    assert len(followers) == 1
    assert [rq_id for rq_id in jobs.queued() if "update" in rq_id] == [f"update_leads_{followers[0]}"]


def test_a_committed_slice_is_not_done_again_because_telling_of_it_failed(jobs: Bench) -> None:
    def task(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        after_commit(ctx.session, lambda: 1 / 0)  # type: ignore[arg-type]
        return walk(ctx, payload, cursor)

    job_id = jobs.enqueue(payload={"items": 6, "a_slice": 2})
    assert jobs.run(jobs.kernel(task), job_id) == 3
    assert jobs.job(job_id)["status"] == "completed"
    assert jobs.effects(job_id) == list(range(6))


def test_a_sleeping_job_is_not_run_before_its_time(jobs: Bench) -> None:
    runs: list[int] = []

    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        runs.append(ctx.job_id)
        return Slice(next_cursor={"watch": True}, sleep_s=60)

    kernel, job_id = jobs.kernel(task), jobs.enqueue()
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    row = jobs.job(job_id)
    assert (len(runs), row["status"]) == (1, "running")
    assert timedelta(seconds=55) < row["run_after"] - row["heartbeat_at"] < timedelta(seconds=65)


def test_wake_now_ends_a_sleep(jobs: Bench) -> None:
    def task(_ctx: SliceContext, _payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        return Slice() if cursor else Slice(next_cursor={"watch": True}, sleep_s=60)

    kernel, job_id = jobs.kernel(task), jobs.enqueue()
    kernel.run_slice(job_id)
    jobs.forget_queues()
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        wake_now(session, jobs.runtime.transport, job_id)
        assert jobs.queued() == []
    assert jobs.queued() == [f"delete_leads_{job_id}"]
    kernel.run_slice(job_id)
    assert jobs.job(job_id)["status"] == "completed"


def test_a_wake_during_the_slice_that_falls_asleep_is_not_lost(jobs: Bench) -> None:
    def task(_ctx: SliceContext, _payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        if cursor is None:
            with jobs.runtime.database.tenant(jobs.business_id) as other:
                wake_now(other, jobs.runtime.transport, job_id)
            return Slice(next_cursor={"watch": True}, sleep_s=60)
        return Slice()

    kernel, job_id = jobs.kernel(task), jobs.enqueue()
    assert kernel.run_slice(job_id) is Outcome.AGAIN
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    assert jobs.job(job_id)["status"] == "completed"


def test_a_slice_knows_its_budget(jobs: Bench) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        return Slice(result={"budget": ctx.budget_s, "late": ctx.out_of_time})

    job_id = jobs.enqueue()
    jobs.kernel(task).run_slice(job_id, budget_s=0.0)
    assert jobs.job(job_id)["result"] == {"budget": 0.0, "late": True}


def test_a_slice_works_in_its_own_tenant_only(jobs: Bench) -> None:
    rival = jobs.another_business()
    theirs = jobs.enqueue(business_id=rival)

    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        seen = ctx.session.execute(text("SELECT id FROM background_jobs")).scalars().all()
        return Slice(result={"seen": list(seen)})

    mine = jobs.enqueue()
    jobs.kernel(task).run_slice(mine)
    assert jobs.job(mine)["result"] == {"seen": [mine]}
    assert jobs.job(theirs)["status"] == "pending"


def test_work_that_fails_only_when_it_is_flushed_is_that_item_s_error(jobs: Bench) -> None:
    from switchboard_core.jobs.models import BackgroundJob

    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        def add(names: object) -> None:
            for name in names:  # type: ignore[attr-defined]
                ctx.session.add(BackgroundJob(business_id=ctx.business_id, job_type=name, queue="low"))

        ctx.each(["broadcast", "no_such_type", "update_leads"], add)
        return Slice(total=3)

    job_id = jobs.enqueue()
    jobs.run(jobs.kernel(task), job_id)
    row = jobs.job(job_id)
    assert (row["status"], row["done"], row["failed"]) == ("completed", 2, 1)
    assert row["errors"][0]["item"] == "no_such_type"
