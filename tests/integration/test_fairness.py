"""Turns between businesses, as orders of starts: no clock decides whether these pass."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, numbers
from integration.kernel_support import QUEUE, TASK, Bench, bench, kernel_database, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.admission import Admitted, admit_next
from switchboard_core.calls.pump import process_next
from switchboard_core.calls.schemas import RunView
from switchboard_core.calls.settle import apply_event
from switchboard_core.calls.states import CallEvent
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.transport import Transport, recording_wakeup
from switchboard_worker.sweep import Sweep

BACKLOG = 200
SMALL = 6
CALLERS = 4
LONG_RUN = 2000
SHORT_RUN = 40
CONTENDED_CALLS = 30


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey) as made:
        yield made


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey, carrier_calls_per_second=0.001) as made:
        yield made


@pytest.fixture
def sharing(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey, carrier_calls_per_second=10) as made:
        yield made.reset()


@pytest.fixture
def calls(servers: CallsBench) -> CallsBench:
    return servers.reset()


def backlog(jobs: Bench, business_id: int, number: int = BACKLOG) -> None:
    """Separate jobs that wait in PostgreSQL; the sweep lets the first of them in."""
    jobs.sql(
        "INSERT INTO background_jobs (business_id, job_type, queue, payload) "
        "SELECT %s, %s, %s, '{\"items\": 1}' FROM generate_series(1, %s)",
        business_id,
        TASK,
        QUEUE,
        number,
    )
    Sweep(jobs.runtime).admit_waiting_jobs()


def next_business(jobs: Bench, kernel: Kernel) -> int:
    """Do what a worker does with the head of the queue; whose job it was."""
    taken = jobs.runtime.redis.lpop(f"rq:queue:{QUEUE}")
    assert isinstance(taken, bytes), "the queue is empty"
    job_id = int(taken.decode().removeprefix(f"{TASK}_"))
    business_id = int(jobs.job(job_id)["business_id"])
    if kernel.run_slice(job_id) is Outcome.AGAIN:
        jobs.push(job_id, business_id=business_id)
    return business_id


def test_a_single_job_is_next_whatever_the_backlog_of_another_business(jobs: Bench) -> None:
    backlog(jobs, jobs.business_id)
    kernel = jobs.kernel(walk)
    for _ in range(3):
        assert next_business(jobs, kernel) == jobs.business_id
    small = [jobs.another_business() for _ in range(SMALL)]
    for business_id in small:
        jobs.enqueue(payload={"items": 1}, business_id=business_id)
    assert [next_business(jobs, kernel) for _ in small] == small
    assert next_business(jobs, kernel) == jobs.business_id


def test_businesses_with_backlogs_take_turns_job_by_job(jobs: Bench) -> None:
    everybody = [jobs.business_id, *(jobs.another_business() for _ in range(SMALL))]
    for number, business_id in enumerate(everybody):
        backlog(jobs, business_id, BACKLOG if number == 0 else 3)
    kernel = jobs.kernel(walk)
    for _ in range(3):
        assert sorted(next_business(jobs, kernel) for _ in everybody) == everybody
    assert {next_business(jobs, kernel) for _ in range(5)} == {jobs.business_id}


def test_a_job_of_many_slices_takes_turns_with_a_backlog_slice_by_slice(jobs: Bench) -> None:
    backlog(jobs, jobs.business_id)
    kernel = jobs.kernel(walk)
    rival = jobs.another_business()
    jobs.enqueue(payload={"items": 6, "a_slice": 1}, business_id=rival)
    order = [next_business(jobs, kernel) for _ in range(12)]
    assert order == [rival, jobs.business_id] * 6 or order == [jobs.business_id, rival] * 6


def test_who_comes_back_again_and_again_does_not_pass_a_backlog_for_ever(jobs: Bench) -> None:
    backlog(jobs, jobs.business_id)
    kernel = jobs.kernel(walk)
    rival = jobs.another_business()
    order = []
    for _ in range(10):
        jobs.enqueue(payload={"items": 1}, business_id=rival)
        order.append(next_business(jobs, kernel))
    assert order.count(jobs.business_id) >= 4


def test_an_emptied_redis_starts_the_turns_anew(jobs: Bench) -> None:
    backlog(jobs, jobs.business_id)
    jobs.forget_queues()
    rival = jobs.another_business()
    jobs.enqueue(payload={"items": 1}, business_id=rival)
    Sweep(jobs.runtime).enqueue_due_jobs()
    kernel = jobs.kernel(walk)
    assert rival in [next_business(jobs, kernel) for _ in range(2)]


def test_a_long_queue_is_passed_to_the_right_place(jobs: Bench) -> None:
    transport = Transport(jobs.runtime.redis)
    for number in range(1, 351):
        transport.push(recording_wakeup(number, business_id=1))
    transport.push(recording_wakeup(1001, business_id=2))
    transport.push(recording_wakeup(1002, business_id=2))
    transport.push(recording_wakeup(2001))
    assert jobs.queued("recordings")[:4] == ["recording_1", "recording_1001", "recording_2", "recording_1002"]
    assert jobs.queued("recordings")[-1] == "recording_2001"


def test_businesses_share_a_carrier_account_s_rate_whoever_looks_most_often(calls: CallsBench) -> None:
    businesses = [calls.another_business(calls_per_second=400) for _ in range(CALLERS)]
    for at, business_id in enumerate(businesses):
        calls.add_leads(*numbers(5, 5_550_000 + 100 * at), business_id=business_id)
        calls.slices(calls.create(business_id=business_id))
    order: list[int] = []
    for _ in range(3 * CALLERS):
        calls.execute("UPDATE carrier_accounts SET rate_tokens = 1")
        for at, business_id in enumerate(businesses):
            # The first one looks more often than the others, as one whose calls are short does: each end wakes it.
            for _ in range(3 if at == 0 else 1):
                order += [business_id] * place(calls, business_id)
    assert len(order) == 3 * CALLERS
    # Whoever came first when nobody waited was lucky once; from then on every round is everybody's.
    for start in range(1, len(order) - CALLERS, CALLERS):
        assert sorted(order[start : start + CALLERS]) == businesses, order


def test_who_does_not_come_for_its_turn_holds_up_nobody(calls: CallsBench) -> None:
    gone, rival = (calls.another_business(calls_per_second=400) for _ in range(2))
    calls.add_leads(*numbers(10), business_id=rival)
    calls.slices(calls.create(business_id=rival))
    calls.execute(
        "INSERT INTO rate_line (business_id, account_sid, since, expires_at) "
        "VALUES (%s, %s, now() - interval '1 minute', now() - interval '1 second')",
        gone,
        calls.runtime.carrier.account_sid,
    )
    assert place(calls, rival) == 1


def test_small_runs_call_beside_a_long_one_and_get_their_share_of_the_account_s_rate(sharing: CallsBench) -> None:
    long, *others = everybody = [sharing.another_business(call_cap=100, calls_per_second=400) for _ in range(3)]
    runs = {long: expanded(sharing, long, LONG_RUN)}
    with pumps(sharing, runs[long]):
        sharing.await_true(lambda: len(calls_so_far(sharing)) >= 10, "the first calls of the long run")
        before = len(calls_so_far(sharing))
        runs |= {business_id: expanded(sharing, business_id, SHORT_RUN) for business_id in others}
        with pumps(sharing, *(runs[business_id] for business_id in others)):
            sharing.await_true(
                lambda: all(calls_so_far(sharing).count(business_id) for business_id in others),
                "everybody's first call",
            )
            begun = len(calls_so_far(sharing))
            sharing.await_true(lambda: len(calls_so_far(sharing)) >= begun + CONTENDED_CALLS, "calls of everybody", 60)
    order = calls_so_far(sharing)
    assert begun - before < LONG_RUN / 40, "the small runs waited for the long one"
    shares = [order[begun : begun + CONTENDED_CALLS].count(business_id) for business_id in everybody]
    assert sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares)) >= 0.95, shares


def expanded(calls: CallsBench, business_id: int, leads: int) -> RunView:
    """A run of a business over new leads, ready to call."""
    calls.execute(
        "INSERT INTO leads (business_id, phone, timezone) "
        "SELECT %s, '+1' || (4150000000 + %s * 100000 + n), 'UTC' FROM generate_series(1, %s::bigint) n",
        business_id,
        business_id,
        leads,
    )
    run = calls.create(business_id=business_id)
    calls.slices(run)
    return run


def calls_so_far(calls: CallsBench) -> list[int]:
    """Whose calls they were, in the order of their admission."""
    return [int(row["business_id"]) for row in calls.rows("SELECT business_id FROM call_attempts ORDER BY created_at")]


@contextmanager
def pumps(calls: CallsBench, *runs: RunView) -> Iterator[None]:
    """Have a worker for each run that looks for calls to place all the time."""
    stop = threading.Event()

    def work(run: RunView) -> None:
        assert run.job_id is not None
        while not stop.is_set():
            if not process_next(calls.runtime, run.job_id, run.id, budget_s=0.5):
                stop.wait(0.1)

    with ThreadPoolExecutor(len(runs)) as pool:
        workers = [pool.submit(work, run) for run in runs]
        try:
            yield
        finally:
            stop.set()
        for worker in workers:
            worker.result()


def place(calls: CallsBench, business_id: int) -> int:
    """Admit calls and end them at once until there is nothing to admit, as a pump does; how many were admitted."""
    admitted = 0
    while True:
        with calls.session(business_id) as session:
            outcome = admit_next(session, calls.runtime)
        if not isinstance(outcome, Admitted):
            return admitted
        with calls.session(business_id) as session:
            apply_event(session, calls.runtime, outcome.attempt.id, CallEvent.COMPLETED)
        admitted += 1
