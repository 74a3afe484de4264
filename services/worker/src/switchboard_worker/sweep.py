"""The sweep: puts right whatever a crash, a lost message or an emptied Redis left behind. One at a time.

It compares what PostgreSQL says should be going on with what is: jobs that are due but in no queue, jobs that wait for
admission, businesses that could place a call, recordings nobody works on, calls that fell silent. Everything it does is
idempotent, so two sweeps at once (a stopped process whose lock has run out) do no harm.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from redis.exceptions import RedisError
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core import crossing
from switchboard_core.broadcasts import delivery
from switchboard_core.broadcasts.erasure import forget_addresses
from switchboard_core.calls.cleanup import (
    cleanup_stuck_runs,
    list_lost_recordings,
    rebuild_all_slots,
    settle_silent,
)
from switchboard_core.calls.models import OutboundCallRun
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
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('switchboard.sweep', 0))"


@dataclass
class _Part:
    """Something the sweep does every ``every_s`` seconds."""

    name: str
    every_s: float
    run: Callable[[], int]
    due_at: float = field(default=0.0)


@dataclass(frozen=True)
class _Orphan:
    """A due wake-up that is in no queue; where its lease ran out, the worker that had it is gone."""

    wakeup: WakeUp
    lease_ran_out: bool


class Sweep:
    """Runs the parts of the sweep from one thread, when no other process does."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)
        interval = runtime.settings.sweep_interval_seconds
        # Calls first: their slots wait, and the parts behind them wait for Redis, which may be silent.
        self._parts = [
            _Part("silent calls settled", 2 * interval, lambda: settle_silent(runtime).attempts_settled),
            _Part("silent messages settled", 2 * interval, lambda: delivery.settle_silent_messages(runtime)),
            _Part("abandoned messages settled", 2 * interval, self.settle_abandoned_messages),
            _Part("jobs enqueued", interval, self.enqueue_due_jobs),
            _Part("jobs admitted", interval, self.admit_waiting_jobs),
            _Part("pumps woken", interval, self.wake_pumps),
            _Part("recordings enqueued", interval, self.enqueue_due_recordings),
            _Part("lost recordings found", 10 * interval, lambda: list_lost_recordings(runtime)),
            _Part("slots rebuilt", 15 * interval, self.rebuild_slots),
            _Part("old tasks deleted", 3600.0, self.delete_old_tasks),
            _Part("stuck runs mended", 300.0, self.mend_stuck_runs),
            _Part("deleted leads purged", 60.0, self.purge_deleted_leads),
            _Part("spoken queries forgotten", 300.0, lambda: forget_old_queries(runtime, BATCH)),
            _Part("dead workers forgotten", 3600.0, self.forget_dead_workers),
        ]

    def start(self) -> None:
        """Sweep from a thread until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stop.wait(self._runtime.settings.sweep_interval_seconds):
            try:
                self.tick()
            except SQLAlchemyError as error:
                log.warning("sweep interrupted; the next one goes on", error=type(error).__name__)

    def tick(self) -> bool:
        """Do every part that is due; false where another process sweeps."""
        with self._runtime.database.crossing() as lock:
            if not lock.execute(text(_LOCK)).scalar():
                return False
            for part in self._parts:
                if self._stop.is_set() or time.monotonic() < part.due_at:
                    continue
                part.due_at = time.monotonic() + part.every_s
                _mend(part)
                # Keeps the lock's transaction from being ended as idle.
                lock.execute(text("SELECT 1"))
        return True

    def enqueue_due_jobs(self) -> int:
        """Queue background jobs that are due and in no queue; returns how many."""
        with self._runtime.database.crossing() as session:
            refs = crossing.due_background_jobs(session, BATCH)
        if not refs:
            return 0
        queued = self._runtime.transport.queued_ids(ALL_QUEUES)
        orphans: list[_Orphan] = []
        for business_id, ids in _by_business(refs).items():
            with self._runtime.database.tenant(business_id) as session:
                ran_out = func.coalesce(BackgroundJob.lease_until < func.clock_timestamp(), False)
                # In the order in which they became due: without it PostgreSQL gives them in any.
                jobs = session.execute(
                    select(BackgroundJob, ran_out)
                    .where(BackgroundJob.id.in_(ids))
                    .order_by(BackgroundJob.run_after, BackgroundJob.id)
                )
                orphans += [_Orphan(wakeup_of(job), lease_ran_out) for job, lease_ran_out in jobs]
        return self._enqueue(orphans, queued)

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
        with self._runtime.database.crossing() as session:
            refs = crossing.due_recordings(session, BATCH)
        if not refs:
            return 0
        queued = self._runtime.transport.queued_ids(("recordings",))
        orphans: list[_Orphan] = []
        for business_id, ids in _by_business(refs).items():
            with self._runtime.database.tenant(business_id) as session:
                ran_out = func.coalesce(Recording.lease_until < func.clock_timestamp(), False)
                rows = session.execute(
                    select(Recording.id, ran_out)
                    .where(Recording.id.in_(ids))
                    .order_by(Recording.run_after, Recording.id)
                )
                orphans += [
                    _Orphan(recording_wakeup(row_id, business_id), lease_ran_out) for row_id, lease_ran_out in rows
                ]
        return self._enqueue(orphans, queued)

    def _enqueue(self, orphans: list[_Orphan], queued: set[str]) -> int:
        return sum(
            self._runtime.transport.push(orphan.wakeup, reclaim=orphan.lease_ran_out)
            for orphan in orphans
            if orphan.wakeup.rq_id not in queued
        )

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
        """Delete finished tasks and remembered answers past their retention; returns how many tasks."""
        older_than = timedelta(days=self._runtime.settings.task_retention_days)
        with self._runtime.database.crossing() as session:
            businesses = crossing.businesses(session)
        deleted = 0
        for ref in businesses:
            with self._runtime.database.tenant(ref.business_id) as session:
                deleted += self._runtime.tasks.clean_up(session, older_than)
                forget_idempotency_keys(session, self._runtime.settings.idempotency_hours)
        return deleted

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
        log.warning("sweep interrupted; the next one goes on", action=part.name, error=type(error).__name__)
    except Exception:
        log.exception("sweep failed; the next one goes on", action=part.name)
    else:
        if mended:
            SWEEP_ACTIONS.labels(action=part.name).inc(mended)
            log.debug("sweep", action=part.name, number=mended)


def _by_business(refs: list[crossing.Ref]) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = {}
    for ref in refs:
        grouped.setdefault(ref.business_id, []).append(ref.id)
    return grouped
