"""Kills the worker of a background job at every boundary of its slices, and checks that nobody can tell afterwards.

For the tests of any kind of job. What a killed process is to the database is a transaction that ended nowhere, or one
that was committed by somebody who did nothing more: no wake-up, no publishing. Both can happen at each commit that a
job makes, those of its claims and those that a slice makes on its own included. So ``check_kills`` runs a job
undisturbed and counts its commits; then, for each of them, in an order that a seed decides, it makes the same world
again, kills the worker just before or just after that commit, lets the lease run out, and has another worker end the
job. Rows, counters, and whatever else the world lets one observe must be as if nothing had happened.

    @contextmanager
    def world() -> Iterator[World]:
        business_id = ...      # a new business with the same data each time
        yield World(runtime, business_id, job_id, tasks, observe=lambda: rows_without_ids(business_id))

    def test_killed_anywhere_it_ends_the_same() -> None:
        assert check_kills(world).slices >= 3

``observe`` returns what has to be equal: no ids, no moments. Mails, files and calls at a server belong in it too, so
that an effect that happens twice is seen. A job's sleep is cut short. The real ``kill -9`` is in
test_worker_process.py.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select, update

from switchboard_core.jobs.kernel import Kernel
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.slices import SliceFunction
from switchboard_core.runtime import Runtime

SEED = int(os.environ.get("SWITCHBOARD_TEST_SEED", "3"))
EVERY_BOUNDARY = bool(os.environ.get("SWITCHBOARD_EVERY_BOUNDARY"))
"""Set by ``make boundaries``: tests that have time for some boundaries only try all of them."""
MOST_SLICES = 500


class KilledError(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class World:
    """A business with a job to be done.

    Attributes:
        runtime: database, queues and settings of the workers.
        business_id: whose job it is.
        job_id: the background job, enqueued and not begun.
        tasks: what the workers know.
        observe: everything that the job is for, comparable between two worlds.
        over: whether there is nothing more to do; by default when the job has reached a terminal state.
        budget_s: seconds of a slice; 0 makes as many slices as possible.
        name: what to call an item of the job's errors, where that is an id.
    """

    runtime: Runtime
    business_id: int
    job_id: int
    tasks: Mapping[str, SliceFunction]
    observe: Callable[[], object]
    over: Callable[[], bool] | None = None
    budget_s: float = 0.0
    name: Callable[[str], str] = str


MakeWorld = Callable[[], AbstractContextManager[World]]


@dataclass(frozen=True)
class Undisturbed:
    """A run in which nobody was killed."""

    slices: int
    commits: int
    outcome: object


@dataclass(frozen=True)
class Boundary:
    """A moment to die at: just before, or just after, the commit with this number."""

    commit: int
    after: bool


def check_kills(make_world: MakeWorld, *, seed: int = SEED, at_most: int | None = None) -> Undisturbed:
    """Kill the worker at every boundary, each time in a fresh world.

    Args:
        make_world: makes the same world each time, and takes it down.
        seed: of the order.
        at_most: boundaries to try; by default, and in ``make boundaries``, all of them.

    Returns:
        The undisturbed run, to say something about it.
    """
    with make_world() as world:
        calm = _undisturbed(world)
    boundaries = [Boundary(commit, after) for commit in range(calm.commits) for after in (False, True)]
    random.Random(seed).shuffle(boundaries)
    for boundary in boundaries[: None if EVERY_BOUNDARY else at_most]:
        with make_world() as world:
            assert _end_after(world, boundary), f"seed {seed}: {boundary} was never reached"
            outcome = _outcome(world)
        assert outcome == calm.outcome, f"seed {seed}: killed at {boundary}"
    return calm


def some_of(boundaries: int, number: int, *, seed: int = SEED) -> list[int]:
    """Which of the boundaries 0 to ``boundaries - 1`` to die at: as many as there is time for, or all of them."""
    return list(range(boundaries)) if EVERY_BOUNDARY else sorted(random.Random(seed).sample(range(boundaries), number))


def _undisturbed(world: World) -> Undisturbed:
    commits = 0

    def count(boundary: Boundary) -> bool:
        nonlocal commits
        commits = boundary.commit + 1
        return False

    with _worker(world) as kernel, _deaths(world, count):
        slices = _run(world, kernel)
    return Undisturbed(slices, commits, _outcome(world))


def _end_after(world: World, boundary: Boundary) -> bool:
    """Run the job, once killed at ``boundary``; returns whether that was reached."""
    died = False

    def strikes(reached: Boundary) -> bool:
        nonlocal died
        died = died or reached == boundary
        return reached == boundary

    with _worker(world) as first, _deaths(world, strikes), suppress(KilledError):
        _run(world, first)
    _let_the_lease_run_out(world)
    with _worker(world) as second:
        _run(world, second)
    return died


def _run(world: World, kernel: Kernel) -> int:
    """Run slices until there is nothing more to do; returns how many."""
    for number in range(MOST_SLICES):
        if _over(world):
            return number
        kernel.run_slice(world.job_id, budget_s=world.budget_s)
        _cut_sleep_short(world)
    raise AssertionError(f"not over after {MOST_SLICES} slices: {_job(world)}")


@contextmanager
def _worker(world: World) -> Iterator[Kernel]:
    runtime = world.runtime
    kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, world.tasks)
    try:
        yield kernel
    finally:
        kernel.close()


@contextmanager
def _deaths(world: World, strikes: Callable[[Boundary], bool]) -> Iterator[None]:
    """Ask around each commit of this thread that is the job's whether the process dies there."""
    dialect, me, commits = world.runtime.database.engine.dialect, threading.get_ident(), iter(range(10**6))
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        if threading.get_ident() != me or _observing.active:
            commit(connection)
            return
        number = next(commits)
        if strikes(Boundary(number, after=False)):
            raise KilledError  # SQLAlchemy gives the connection up; the server ends its transaction
        commit(connection)
        if strikes(Boundary(number, after=True)):
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "do_commit", do_commit)
        yield


class _Observing(threading.local):
    """Whether this thread looks at the world, which is no part of the job."""

    active = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.active = True
        try:
            yield
        finally:
            self.active = False


_observing = _Observing()


def _over(world: World) -> bool:
    with _observing():
        return world.over() if world.over else _job(world).status.terminal


def _outcome(world: World) -> object:
    job = _job(world)
    columns = ("status", "total", "done", "failed", "result", "reason", "lease_until", "crash_count")
    errors = [(world.name(error["item"]), error["message"]) for error in job.errors]
    return {name: getattr(job, name) for name in columns}, errors, world.observe()


def _job(world: World) -> BackgroundJob:
    with world.runtime.database.tenant(world.business_id) as session:
        return session.scalars(select(BackgroundJob).where(BackgroundJob.id == world.job_id)).one()


def _let_the_lease_run_out(world: World) -> None:
    with world.runtime.database.tenant(world.business_id) as session:
        session.execute(
            update(BackgroundJob)
            .where(BackgroundJob.id == world.job_id, BackgroundJob.lease_until.is_not(None))
            .values(lease_until=func.now())
        )


def _cut_sleep_short(world: World) -> None:
    with _observing(), world.runtime.database.tenant(world.business_id) as session:
        session.execute(
            update(BackgroundJob)
            .where(BackgroundJob.id == world.job_id, BackgroundJob.run_after > func.now())
            .values(run_after=func.now())
        )
