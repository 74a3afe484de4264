"""Admission: at most K jobs of a business in a queue of Redis, and everybody's turn comes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from integration.kernel_support import QUEUE, TASK, Bench, bench, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.jobs.kernel import MAX_CRASHES, Kernel, Outcome
from switchboard_core.jobs.queueing import admit
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext

K = 3


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, jobs_admitted_per_business=K) as made:
        yield made


def work_off(jobs: Bench, kernel: Kernel) -> list[int]:
    """Work the queue off, first come, first served, as a worker does; the jobs in the order of their slices."""
    order = []
    while queued := jobs.queued():
        job_id = int(queued[0].removeprefix(f"{TASK}_"))
        jobs.runtime.redis.lpop(f"rq:queue:{QUEUE}")
        order.append(job_id)
        if kernel.run_slice(job_id) is Outcome.AGAIN:
            jobs.push(job_id)
        assert len(jobs.queued()) <= 2 * K  # two businesses
    return order


def test_no_more_than_the_limit_are_let_in_oldest_first(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(10)]
    assert jobs.queued() == [f"{TASK}_{job_id}" for job_id in ids[:K]]
    assert [job_id for job_id in ids if jobs.job(job_id)["admitted_at"]] == ids[:K]


def test_each_end_lets_the_next_one_in_and_all_get_their_turn(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(10)]
    assert work_off(jobs, jobs.kernel(walk)) == ids
    assert {jobs.job(job_id)["status"] for job_id in ids} == {"completed"}


def test_a_business_with_a_backlog_does_not_hold_up_another(jobs: Bench) -> None:
    backlog = [jobs.enqueue(payload={"items": 2, "a_slice": 1}) for _ in range(20)]
    rival = jobs.another_business()
    theirs = [jobs.enqueue(payload={"items": 1}, business_id=rival) for _ in range(6)]
    order = work_off(jobs, jobs.kernel(walk))
    first_slices = [job_id for number, job_id in enumerate(order) if job_id not in order[:number]]
    # One of the backlog at most stands before each of the rival's jobs: they take turns.
    positions = [first_slices.index(job_id) for job_id in theirs]
    assert positions[0] <= 1
    assert positions[-1] <= 2 * len(theirs)
    assert sorted(set(order)) == sorted(backlog + theirs)


def test_queues_are_counted_apart(jobs: Bench) -> None:
    for _ in range(K + 1):
        jobs.enqueue(payload={"items": 1})
        jobs.enqueue("enqueue_outbound_calls")
    assert (len(jobs.queued()), len(jobs.queued("default"))) == (K, K)


def test_a_sleeping_job_takes_no_room(jobs: Bench) -> None:
    kernel = jobs.kernel(lambda *_: Slice(next_cursor={"watch": True}, sleep_s=3600))
    ids = [jobs.enqueue() for _ in range(3 * K)]
    work_off(jobs, kernel)
    assert all(jobs.job(job_id)["admitted_at"] for job_id in ids)
    assert {jobs.job(job_id)["status"] for job_id in ids} == {"running"}


def test_a_failing_job_lets_the_next_one_in(jobs: Bench) -> None:
    def task(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        raise RuntimeError("no")

    ids = [jobs.enqueue() for _ in range(2 * K)]
    assert work_off(jobs, jobs.kernel(task)) == ids


def test_a_job_that_is_given_up_lets_the_next_one_in(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(K + 1)]
    jobs.set(ids[0], f"status = 'running', crash_count = {MAX_CRASHES}")
    jobs.kernel(walk).run_slice(ids[0])
    assert jobs.job(ids[0])["status"] == "failed"
    assert jobs.queued()[-1] == f"{TASK}_{ids[K]}"


def test_jobs_of_an_unknown_kind_keep_nobody_out(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(K + 2)]
    jobs.set(ids[K], "job_type = 'broadcast'")  # a newer release wrote it
    kernel = jobs.kernel(walk)
    for job_id in (*ids[:K], ids[K], ids[K + 1]):
        kernel.run_slice(job_id)
    assert f"broadcast_{ids[K]}" in jobs.queued()
    assert jobs.job(ids[K])["reason"].startswith("Parked: ")
    assert jobs.job(ids[K + 1])["status"] == "completed"


def test_the_limit_holds_when_many_enqueue_at_once(jobs: Bench) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: jobs.enqueue(payload={"items": 1}), range(24)))
    assert len(jobs.queued()) == K
    assert jobs.sql("SELECT count(*) FROM background_jobs WHERE admitted_at IS NOT NULL")[0]["count"] == K


def test_the_limit_holds_while_many_workers_finish_at_once(jobs: Bench) -> None:
    ids = [jobs.enqueue(payload={"items": 1}) for _ in range(24)]
    kernels = [jobs.kernel(walk) for _ in range(4)]

    def drain(kernel: Kernel) -> None:
        while taken := jobs.runtime.redis.lpop(f"rq:queue:{QUEUE}"):
            assert isinstance(taken, bytes)
            kernel.run_slice(int(taken.decode().removeprefix(f"{TASK}_")))
            assert len(jobs.queued()) <= K

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(drain, kernels))
    drain(kernels[0])  # what was let in as the last of them looked away
    assert {jobs.job(job_id)["status"] for job_id in ids} == {"completed"}


def test_a_rolled_back_admission_lets_nobody_in(jobs: Bench) -> None:
    job_id = jobs.enqueue(payload={"items": 1})
    jobs.set(job_id, "admitted_at = NULL")
    jobs.forget_queues()
    jobs.roll_back(lambda session: admit(session, jobs.runtime.transport, QUEUE))
    assert jobs.queued() == []
    assert jobs.job(job_id)["admitted_at"] is None
