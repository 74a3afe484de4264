"""``BackgroundTaskManager``: who wants to know when a task changes, and how they are told."""

import asyncio
import inspect
import itertools
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeGuard

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from switchboard_core.db import after_commit
from switchboard_core.jobs.catalog import CATALOG, has_private_result
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import OPEN, enqueue, wakeup_of
from switchboard_core.jobs.schemas import TaskSnapshot, snapshot
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.transport import Transport
from switchboard_core.logs import get_logger
from switchboard_core.sql import delete_batch

log = get_logger(__name__)

CHANNEL = "switchboard:tasks"

SyncSubscriber = Callable[[TaskSnapshot], None]
AsyncSubscriber = Callable[[TaskSnapshot], Awaitable[None]]
Subscriber = SyncSubscriber | AsyncSubscriber


class TaskNotFoundError(LookupError):
    """The business has no such task."""


class BackgroundTaskManager:
    """Creates, lists, cancels and cleans up background tasks, and publishes each change after its commit.

    Changes go to the subscribers of this process and, through one Redis channel, to those of every other. Redis being
    away costs live updates only: pollers read the same numbers from PostgreSQL.
    """

    def __init__(self, redis: Redis, transport: Transport, *, admit_limit: int) -> None:
        self._redis = redis
        self._transport = transport
        self._admit_limit = admit_limit
        self._subscribers: dict[int, dict[int, tuple[Subscriber, asyncio.AbstractEventLoop | None]]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._tokens = itertools.count(1)
        self._lock = threading.Lock()

    def subscribe(self, task_id: int, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with each new snapshot of a task.

        Args:
            task_id: the background job.
            subscriber: a plain function, called in the publishing thread, or an async one, scheduled on the event
                loop that runs where ``subscribe`` is called.

        Returns:
            ``unsubscribe``; calling it twice does no harm.
        """
        loop: asyncio.AbstractEventLoop | None = None
        if _is_async(subscriber):
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                loop = None
        token = next(self._tokens)
        with self._lock:
            self._subscribers.setdefault(task_id, {})[token] = (subscriber, loop)

        def unsubscribe() -> None:
            with self._lock:
                of_task = self._subscribers.get(task_id, {})
                of_task.pop(token, None)
                if not of_task:
                    self._subscribers.pop(task_id, None)

        return unsubscribe

    def subscriber_count(self, task_id: int | None = None) -> int:
        """How many subscribers a task, or all tasks together, have in this process."""
        with self._lock:
            if task_id is not None:
                return len(self._subscribers.get(task_id, {}))
            return sum(len(of_task) for of_task in self._subscribers.values())

    def deliver(self, change: TaskSnapshot) -> None:
        """Hand a snapshot to this process's subscribers; one that raises harms neither the others nor the task."""
        with self._lock:
            subscribers = list(self._subscribers.get(change.id, {}).values())
        for subscriber, loop in subscribers:
            try:
                if _is_async(subscriber):
                    self._schedule(subscriber, loop, change)
                else:
                    subscriber(change)
            except Exception as error:
                # A subscriber's failure is its own.
                log.exception("task subscriber failed", task_id=change.id, error=type(error).__name__)

    def _schedule(
        self, subscriber: AsyncSubscriber, loop: asyncio.AbstractEventLoop | None, change: TaskSnapshot
    ) -> None:
        if loop is None or not loop.is_running():
            log.warning("async task subscriber could not be called: its event loop is gone", task_id=change.id)
            return

        async def call() -> None:
            try:
                await subscriber(change)
            except Exception as error:
                log.exception("task subscriber failed", task_id=change.id, error=type(error).__name__)

        def start() -> None:
            task = loop.create_task(call())
            # The loop itself keeps no hold of a task that waits for something.
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

        loop.call_soon_threadsafe(start)

    def publish(self, change: TaskSnapshot) -> None:
        """Tell every process about a committed change."""
        self.deliver(change)
        try:
            with self._transport.patience.telling():
                self._redis.publish(CHANNEL, _wire(change))
        except RedisError as error:
            log.warning("task change not published; pollers still see it", task_id=change.id, error=str(error)[:200])

    def publish_after_commit(self, session: Session, job: BackgroundJob) -> None:
        """Publish the row as it is now, once the session's transaction is committed; unless it changes once more."""
        change = snapshot(job)
        after_commit(session, lambda: self.publish(change), key=("publish", change.id))

    def create(
        self,
        session: Session,
        job_type: str,
        payload: dict[str, object],
        total: int | None = None,
        *,
        dedupe_key: str | None = None,
    ) -> TaskSnapshot:
        """Enqueue a task and announce it; with a ``dedupe_key`` the open task that has it. Raises as ``enqueue``."""
        job = enqueue(
            session,
            self._transport,
            job_type,
            payload,
            total=total,
            dedupe_key=dedupe_key,
            admit_limit=self._admit_limit,
        )
        self.publish_after_commit(session, job)
        log.info("task created", task_id=job.id, job_type=job.job_type)
        return snapshot(job)

    def get(self, session: Session, task_id: int) -> TaskSnapshot:
        """One task of the session's business.

        Raises:
            TaskNotFoundError: it has no such task.
        """
        return snapshot(self._row(session, task_id), max_errors=1000)

    def list(
        self,
        session: Session,
        *,
        status: JobStatus | None = None,
        job_type: str | None = None,
        before_id: int | None = None,
        limit: int = 50,
    ) -> list[TaskSnapshot]:
        """Tasks of the session's business, newest first, from below ``before_id``."""
        query = select(BackgroundJob).order_by(BackgroundJob.id.desc()).limit(limit)
        if status is not None:
            query = query.where(BackgroundJob.status == status)
        if job_type is not None:
            query = query.where(BackgroundJob.job_type == job_type)
        if before_id is not None:
            query = query.where(BackgroundJob.id < before_id)
        return [snapshot(job) for job in session.scalars(query)]

    def cancel(self, session: Session, task_id: int) -> TaskSnapshot:
        """Stop a task: at once if nobody works on it, otherwise at the end of its slice.

        A task that ends itself is woken to do so.

        Raises:
            TaskNotFoundError: the business has no such task.
        """
        job = self._row(session, task_id, lock=True)
        if job.status.terminal or job.cancel_requested_at is not None:
            return snapshot(job)
        at_once = self._may_end_at_once(session, job)
        now = func.clock_timestamp()
        ended = {
            "status": JobStatus.CANCELLED,
            "reason": "Cancelled on request.",
            "finished_at": now,
            "lease_until": None,
        }
        woken = {"run_after": now, "admitted_at": func.coalesce(BackgroundJob.admitted_at, now)}
        session.execute(
            update(BackgroundJob)
            .where(BackgroundJob.id == task_id)
            .values(cancel_requested_at=now, version=BackgroundJob.version + 1, **(ended if at_once else woken))
        )
        session.refresh(job)
        self.publish_after_commit(session, job)
        if at_once:
            # The sweep lets the next one in: a slice that enqueues holds admission's lock and may wait for this row.
            log.info("task finished", task_id=job.id, status=str(job.status), reason=job.reason)
        else:
            self._transport.wake_after_commit(session, wakeup_of(job))
        return snapshot(job)

    @staticmethod
    def _may_end_at_once(session: Session, job: BackgroundJob) -> bool:
        spec = CATALOG.get(job.job_type)
        if spec is None or spec.ends_itself:
            return False
        leased = select(BackgroundJob.lease_until > func.clock_timestamp()).where(BackgroundJob.id == job.id)
        return not session.scalar(leased)

    def clean_up(self, session: Session, older_than: timedelta, limit: int) -> int:
        """Delete finished tasks of the session's business that ended longer ago, the first ones first.

        Args:
            session: bound to the business.
            older_than: how long ago a task that is deleted ended at least.
            limit: how many at most.

        Returns:
            How many were deleted.
        """
        ended = BackgroundJob.status.not_in(OPEN), BackgroundJob.finished_at < func.now() - older_than
        old = select(BackgroundJob.id).where(*ended).order_by(BackgroundJob.id).limit(limit)
        return delete_batch(session, BackgroundJob.id, old)

    @staticmethod
    def _row(session: Session, task_id: int, *, lock: bool = False) -> BackgroundJob:
        job = session.get(BackgroundJob, task_id, with_for_update={"key_share": True} if lock else None)
        if job is None:
            msg = f"There is no task {task_id}."
            raise TaskNotFoundError(msg)
        return job


def _is_async(subscriber: Subscriber) -> TypeGuard[AsyncSubscriber]:
    """Also for an object whose ``__call__`` is async."""
    return inspect.iscoroutinefunction(subscriber) or inspect.iscoroutinefunction(type(subscriber).__call__)


def _wire(change: TaskSnapshot) -> str:
    # business_id travels between our own processes (who may see what), never to a client.
    kept = {"business_id", "result"} if has_private_result(change.job_type) else {"business_id"}
    return change.model_dump_json(exclude=kept)[:-1] + f',"business_id":{change.business_id}}}'


def parse_change(message: bytes | str) -> TaskSnapshot:
    """A snapshot from the channel."""
    return TaskSnapshot.model_validate_json(message)
