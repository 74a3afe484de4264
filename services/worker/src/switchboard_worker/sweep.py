"""The sweep: puts right whatever a crash, a lost message or an emptied Redis left behind. Each part once at a time.

It compares what PostgreSQL says should be going on with what is: jobs that are due but in no queue, jobs that wait for
admission, businesses that could place a call, recordings nobody works on, calls that fell silent. Everything it does is
idempotent, so two sweeps at once (of a process that stood still, or of a part that took so long that PostgreSQL ended
the transaction of its lock) do no harm.

What asks the carrier has a thread of its own, and so has what merely deletes: neither a carrier that hangs nor a large
delete keeps a lost job from being queued again.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from redis.exceptions import RedisError
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.broadcasts import delivery, inbound
from switchboard_core.broadcasts.erasure import forget_addresses
from switchboard_core.calls.cleanup import (
    cleanup_stuck_runs,
    list_lost_recordings,
    rebuild_all_slots,
    settle_silent,
)
from switchboard_core.calls.models import OutboundCallRun
from switchboard_core.jobs.catalog import CATALOG
from switchboard_core.jobs.models import BackgroundJob, WorkerHeartbeat
from switchboard_core.jobs.queueing import admit, wakeup_of
from switchboard_core.jobs.transport import WakeUp, process_next_wakeup, recording_wakeup
from switchboard_core.leads.purge import purge
from switchboard_core.logs import get_logger
from switchboard_core.mailbox.search import forget_old_queries
from switchboard_core.metrics import SWEEP_ACTIONS
from switchboard_core.outbox.abandoned import settle_abandoned_messages
from switchboard_core.receipts import service as receipts
from switchboard_core.recordings.models import Recording
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ALL_QUEUES
from switchboard_core.sql import after_seconds
from switchboard_core.tenancy.service import forget_idempotency_keys

log = get_logger(__name__)

BATCH = 1000
PURGE_BATCHES = 10
SAY_EVERY_S = 60.0
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"
LONGEST_ID = 18
"""Digits of an id that surely is a bigint."""


@dataclass
class _Part:
    """Something the sweep does every ``every_s`` seconds."""

    name: str
    every_s: float
    run: Callable[[], int]
    due_at: float = field(default=0.0)
    said_at: float = field(default=-math.inf)

    @property
    def lock_name(self) -> str:
        """Of the advisory lock that keeps it from being run by two processes at once."""
        return f"switchboard.sweep.{self.name}"

    def say_interrupted(self, error: Exception) -> None:
        """Log that it met a Redis or a database in trouble; once a minute, however often that happens meanwhile."""
        now = time.monotonic()
        if now < self.said_at + SAY_EVERY_S:
            return
        self.said_at = now
        log.warning("sweep interrupted; the next one goes on", action=self.name, error=type(error).__name__)


@dataclass(frozen=True)
class _Orphan:
    """A due wake-up that is in no queue; where its lease ran out, the worker that had it is gone."""

    wakeup: WakeUp
    lease_ran_out: bool


class _Find(Protocol):
    """Finds rows across tenants that are due and not among those that are queued."""

    def __call__(self, session: Session, limit: int, *, queued_ids: Collection[int] = ()) -> list[crossing.Ref]: ...


class Sweep:
    """Runs the parts of the sweep from three threads, each when no other process does."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = threading.Event()
        interval = runtime.settings.sweep_interval_seconds
        self._retention = _Part("old tasks deleted", 3600.0, self.delete_old_tasks)
        self._have_more_old: list[int] = []
        self._asking = [
            _Part("silent calls settled", 2 * interval, lambda: settle_silent(runtime).attempts_settled),
            _Part("silent messages settled", 2 * interval, lambda: delivery.settle_silent_messages(runtime)),
            _Part("lost recordings found", 10 * interval, lambda: list_lost_recordings(runtime)),
        ]
        self._mending = [
            _Part("abandoned messages settled", 2 * interval, self.settle_abandoned_messages),
            _Part("jobs enqueued", interval, self.enqueue_due_jobs),
            _Part("jobs admitted", interval, self.admit_waiting_jobs),
            _Part("pumps woken", interval, self.wake_pumps),
            _Part("recordings enqueued", interval, self.enqueue_due_recordings),
            _Part("slots rebuilt", 15 * interval, self.rebuild_slots),
            _Part("stuck runs mended", 300.0, self.mend_stuck_runs),
        ]
        self._housekeeping = [
            self._retention,
            _Part("deleted leads purged", 60.0, self.purge_deleted_leads),
            _Part("spoken queries forgotten", 300.0, lambda: forget_old_queries(runtime, BATCH)),
            _Part("incoming messages forgotten", 3600.0, self.forget_incoming_messages),
            _Part("dead workers forgotten", 3600.0, self.forget_dead_workers),
        ]
        self._threads = [
            threading.Thread(target=self._run, args=[parts], name=name, daemon=True)
            for name, parts in (
                ("sweep", self._mending),
                ("sweep-carrier", self._asking),
                ("sweep-housekeeping", self._housekeeping),
            )
        ]

    def start(self) -> None:
        """Sweep from threads until ``stop``."""
        log.debug("sweep begins", every_s=self._runtime.settings.sweep_interval_seconds)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stop.set()
        until = time.monotonic() + 2.0
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=max(0.0, until - time.monotonic()))

    def _run(self, parts: list[_Part]) -> None:
        while not self._stop.wait(self._runtime.settings.sweep_interval_seconds):
            try:
                self._do_due(parts)
            except SQLAlchemyError as error:
                log.warning("sweep interrupted; the next one goes on", error=type(error).__name__)

    def tick(self) -> bool:
        """Do every part that is due; false where there is none that no other process is at."""
        return sum(self._do_due(parts) for parts in (self._asking, self._mending, self._housekeeping)) > 0

    def _do_due(self, parts: list[_Part]) -> int:
        return sum(self._do(part) for part in parts if time.monotonic() >= part.due_at and not self._stop.is_set())

    def _do(self, part: _Part) -> bool:
        """Do a part unless another process is at it; returns whether it was done.

        Raises:
            SQLAlchemyError: the database does not answer.
        """
        begun = False
        try:
            with self._runtime.database.crossing() as lock:
                begun = bool(lock.execute(text(_LOCK), {"name": part.lock_name}).scalar())
                if begun:
                    part.due_at = time.monotonic() + part.every_s
                    _mend(part)
        except SQLAlchemyError as error:
            if not begun:
                raise
            # PostgreSQL ends a transaction that idles for most of a lease. What the part has done stands.
            log.warning("the sweep lost a lock; it goes on", action=part.name, error=type(error).__name__)
        return begun

    def enqueue_due_jobs(self) -> int:
        """Queue background jobs that are due and in no queue; returns how many."""
        return self._enqueue_due(crossing.due_background_jobs, CATALOG, self._orphaned_jobs)

    def _orphaned_jobs(self, business_id: int, ids: list[int]) -> list[_Orphan]:
        with self._runtime.database.tenant(business_id) as session:
            ran_out = func.coalesce(BackgroundJob.lease_until < func.clock_timestamp(), False)
            # In the order in which they became due: without it PostgreSQL gives them in any.
            jobs = session.execute(
                select(BackgroundJob, ran_out)
                .where(BackgroundJob.id.in_(ids))
                .order_by(BackgroundJob.run_after, BackgroundJob.id)
            )
            return [_Orphan(wakeup_of(job), lease_ran_out) for job, lease_ran_out in jobs]

    def _enqueue_due(
        self, find: _Find, kinds: Collection[str], orphans_of: Callable[[int, list[int]], list[_Orphan]]
    ) -> int:
        """Queue what is due and in no queue, however much of what is due waits in the queues; returns how much."""
        with self._runtime.database.crossing() as session:
            if not find(session, 1):
                return 0
        queued = self._runtime.transport.queued_ids(ALL_QUEUES)
        seen, pushed = _numbers(queued, kinds), 0
        while True:
            with self._runtime.database.crossing() as session:
                refs = find(session, BATCH, queued_ids=seen)
            for business_id, ids in _by_business(refs).items():
                pushed += sum(
                    self._runtime.transport.push(orphan.wakeup, reclaim=orphan.lease_ran_out)
                    for orphan in orphans_of(business_id, ids)
                    # A kind of job of a newer release is not recognized before its row is read.
                    if orphan.wakeup.rq_id not in queued
                )
            if len(refs) < BATCH:
                return pushed
            seen += [ref.id for ref in refs]

    def admit_waiting_jobs(self) -> int:
        """Let waiting jobs into Redis, business by business; returns how many."""
        with self._runtime.database.crossing() as session:
            refs = crossing.businesses_with_waiting_jobs(session)
        admitted, limit = 0, self._runtime.settings.jobs_admitted_per_business
        for business_id, ids in _by_business(refs).items():
            with self._runtime.database.tenant(business_id) as session:
                for queue in session.scalars(select(BackgroundJob.queue).where(BackgroundJob.id.in_(ids))).all():
                    admitted += admit(session, self._runtime.transport, queue, limit=limit)
        return admitted

    def wake_pumps(self) -> int:
        """Wake the pump of each business that could place a call; returns how many were not queued already."""
        with self._runtime.database.crossing() as session:
            refs = crossing.callable_runs(session)
        woken = 0
        for business_id, ids in _by_business(refs).items():
            with self._runtime.database.tenant(business_id) as session:
                job_id = session.scalar(select(OutboundCallRun.background_job_id).where(OutboundCallRun.id == ids[0]))
            if job_id is not None:
                # One run stands for its business: the pump lets all of them take turns.
                woken += self._runtime.transport.push(process_next_wakeup(job_id, ids[0], business_id))
        return woken

    def enqueue_due_recordings(self) -> int:
        """Queue recordings with work to do that are in no queue; returns how many."""
        return self._enqueue_due(crossing.due_recordings, ("recording",), self._orphaned_recordings)

    def _orphaned_recordings(self, business_id: int, ids: list[int]) -> list[_Orphan]:
        with self._runtime.database.tenant(business_id) as session:
            ran_out = func.coalesce(Recording.lease_until < func.clock_timestamp(), False)
            rows = session.execute(
                select(Recording.id, ran_out).where(Recording.id.in_(ids)).order_by(Recording.run_after, Recording.id)
            )
            return [_Orphan(recording_wakeup(row_id, business_id), lease_ran_out) for row_id, lease_ran_out in rows]

    def rebuild_slots(self) -> int:
        """Make the semaphores what PostgreSQL says."""
        with self._runtime.database.crossing() as session:
            businesses = [ref.business_id for ref in crossing.businesses(session)]
        return rebuild_all_slots(self._runtime, businesses)

    def settle_abandoned_messages(self) -> int:
        """Settle messages that were being sent when their worker died and that no task takes up; returns how many."""
        return settle_abandoned_messages(self._runtime, (delivery.will_be_sent, receipts.will_be_sent))

    def mend_stuck_runs(self) -> int:
        """Hand stuck runs to a worker, and end those whose task has ended without them; returns how many."""
        report = cleanup_stuck_runs(self._runtime)
        return report.runs_taken_over + report.runs_failed

    def delete_old_tasks(self) -> int:
        """Delete finished tasks and remembered answers past their retention; returns how many tasks.

        A batch of each business at a time: the next sweep goes on with those that have more.
        """
        businesses, self._have_more_old = self._have_more_old, []
        if not businesses:
            with self._runtime.database.crossing() as session:
                businesses = [ref.business_id for ref in crossing.businesses(session)]
        deleted = 0
        for business_id in businesses:
            try:
                tasks, answers = self._delete_old_of(business_id)
            except SQLAlchemyError as error:
                # Tried again in an hour. It keeps no other business from it.
                log.warning("old tasks not deleted", business_id=business_id, error=type(error).__name__)
                continue
            deleted += tasks
            if BATCH in (tasks, answers):
                self._have_more_old.append(business_id)
        if self._have_more_old:
            self._retention.due_at = 0.0
        return deleted

    def _delete_old_of(self, business_id: int) -> tuple[int, int]:
        """Delete a batch of a business: how many tasks, and how many remembered answers."""
        settings = self._runtime.settings
        with self._runtime.database.tenant(business_id) as session:
            return (
                self._runtime.tasks.clean_up(session, timedelta(days=settings.task_retention_days), BATCH),
                forget_idempotency_keys(session, settings.idempotency_hours, BATCH),
            )

    def purge_deleted_leads(self) -> int:
        """Take leads away for good that were deleted longer ago than they can be restored; returns how many.

        A few batches at a time: the next run goes on.
        """
        undo_days, purged = self._runtime.settings.lead_undo_days, 0
        for _ in range(PURGE_BATCHES):
            with self._runtime.database.crossing() as session:
                refs = crossing.purgeable_leads(session, timedelta(days=undo_days).total_seconds(), BATCH)
            for business_id, ids in _by_business(refs).items():
                with self._runtime.database.tenant(business_id) as session:
                    forget_addresses(session, ids, undo_days=undo_days)
                    purged += purge(session, ids, undo_days=undo_days)
            if len(refs) < BATCH:
                break
        return purged

    def forget_incoming_messages(self) -> int:
        """Forget messages of people that came so long ago that they do not come again; returns how many.

        A batch of each business at a time: the next run goes on.
        """
        with self._runtime.database.crossing() as session:
            businesses = crossing.businesses(session)
        forgotten = 0
        for ref in businesses:
            with self._runtime.database.tenant(ref.business_id) as session:
                forgotten += inbound.forget_old_messages(session, BATCH)
        return forgotten

    def forget_dead_workers(self) -> int:
        """Delete the heartbeats of processes that were last seen more than a day ago; returns how many."""
        with self._runtime.database.crossing() as session:
            gone = session.execute(
                delete(WorkerHeartbeat)
                .where(WorkerHeartbeat.seen_at < after_seconds(-86_400.0))
                .returning(WorkerHeartbeat.name)
            ).all()
        return len(gone)


def _mend(part: _Part) -> None:
    """Run one part; whatever happens to it keeps no other from being run."""
    try:
        mended = part.run()
    except (SQLAlchemyError, RedisError) as error:
        part.say_interrupted(error)
    except Exception:
        log.exception("sweep failed; the next one goes on", action=part.name)
    else:
        if mended:
            SWEEP_ACTIONS.labels(action=part.name).inc(mended)
            log.debug("sweep", action=part.name, number=mended)


def _numbers(rq_ids: Iterable[str], kinds: Collection[str]) -> list[int]:
    """The ids of rows in those RQ ids that begin with one of ``kinds``."""
    parts = (rq_id.rpartition("_") for rq_id in rq_ids)
    return [
        int(number)
        for kind, _, number in parts
        if kind in kinds and number.isascii() and number.isdecimal() and len(number) <= LONGEST_ID
    ]


def _by_business(refs: list[crossing.Ref]) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = {}
    for ref in refs:
        grouped.setdefault(ref.business_id, []).append(ref.id)
    return grouped
