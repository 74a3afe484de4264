"""A worker that is killed, wherever: every item takes effect exactly once, and every counter equals its rows.

Killed here is what a dead process is to the database: a transaction that ended nowhere, and a lease that runs out. The
real ``kill -9`` is in test_worker_process.py.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from integration.kernel_support import Bench, walk
from switchboard_core.jobs.kernel import Kernel, Outcome

PAYLOAD = {"items": 7, "a_slice": 2}
SEEDS = range(6)


class KilledError(BaseException):
    """The process is gone."""


@contextmanager
def killed(jobs: Bench, strikes: Callable[[], bool]) -> Iterator[None]:
    """Whenever a statement or a commit is about to run or has just run, ask whether the process dies there."""
    engine = jobs.runtime.database.engine

    def boundary(*_: object) -> None:
        if strikes():
            raise KilledError

    def before_commit(connection: Connection) -> None:
        if strikes():
            # A killed client commits nothing: the server ends its transaction.
            connection.invalidate()
            raise KilledError

    # The moment after a commit is the one before the next statement.
    listeners = (("before_cursor_execute", boundary), ("commit", before_commit))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)


def end(jobs: Bench, kernel: Kernel, job_id: int) -> int:
    """Run the job to its end through all deaths; how often its worker died."""
    deaths = 0
    for _ in range(500):
        try:
            outcome = kernel.run_slice(job_id)
        except KilledError:
            deaths += 1
            # Time passes until somebody takes over.
            jobs.sql("UPDATE background_jobs SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")
            continue
        if outcome is Outcome.FINISHED:
            return deaths
    raise AssertionError("the job does not end")


def assert_exactly_once(jobs: Bench, job_id: int) -> None:
    row = jobs.job(job_id)
    assert (row["status"], row["reason"]) == ("completed", None)
    assert jobs.effects(job_id) == list(range(PAYLOAD["items"]))
    assert (row["done"], row["failed"], row["total"]) == (PAYLOAD["items"], 0, PAYLOAD["items"])
    assert row["lease_until"] is None


def test_killed_at_every_single_boundary_of_a_job_nothing_is_lost_or_doubled(jobs: Bench) -> None:
    kernel, died = jobs.kernel(walk), 0
    for fatal in itertools.count():
        job_id = jobs.enqueue(payload=PAYLOAD)
        passed = itertools.count()
        with killed(jobs, lambda number=fatal, passed=passed: next(passed) == number):  # type: ignore[misc]
            deaths = end(jobs, kernel, job_id)
        assert_exactly_once(jobs, job_id)
        died += deaths
        if deaths == 0:
            break  # the job has fewer boundaries than that
    assert died == fatal >= 20


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_again_and_again_at_random_nothing_is_lost_or_doubled(jobs: Bench, seed: int) -> None:
    chance = random.Random(seed)
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload=PAYLOAD)
    with killed(jobs, lambda: chance.random() < 0.04):
        end(jobs, kernel, job_id)
    assert_exactly_once(jobs, job_id)


def test_a_killed_worker_s_open_transaction_is_gone_from_the_pool(jobs: Bench) -> None:
    kernel, job_id = jobs.kernel(walk), jobs.enqueue(payload=PAYLOAD)
    deaths = iter([False] * 9 + [True])
    with killed(jobs, lambda: next(deaths, False)):
        assert end(jobs, kernel, job_id) == 1
    assert jobs.runtime.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert_exactly_once(jobs, job_id)
