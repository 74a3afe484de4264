"""An RQ worker that runs slices: real queues, registries and worker hashes, no fork, heartbeats during a job.

Ordinary RQ jobs run as in RQ's ``SimpleWorker``, with heartbeats too. For the kernel's own functions one MULTI before
the slice and one after replace SimpleWorker's bookkeeping, and the end of a slice either finishes the hash or puts it
back at the tail of its queue in one step, with no *finished* in between.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import cast

from redis import Redis
from redis.client import Pipeline, PubSub, PubSubWorkerThread
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, worker_registration
from rq.exceptions import DeserializationError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import WorkerStatus

from switchboard_core.jobs.kernel import Outcome
from switchboard_core.jobs.transport import BACKGROUND_JOB, FAILURE_TTL_S, PROCESS_NEXT, RECORDING, Transport
from switchboard_core.logs import get_logger

log = get_logger(__name__)

KERNEL_FUNCTIONS = frozenset({BACKGROUND_JOB, PROCESS_NEXT, RECORDING})
WORKER_TTL_S = 30
BEAT_S = 5.0
LEAVE_WITHIN_S = 9.0
LEFT_IN_A_SLICE = 3
"""Exit status of a process that left in the midst of a slice which did not end."""
MOST_AHEAD_S = 2.0
"""Seconds by which a worker's first queue or the others may be ahead of one another: a long slice."""


class Turns:
    """Equal shares of a worker's time for its first queue and for all the others, while both have work.

    By strict priority a campaign whose pump always finds something to do would keep all else from being begun.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0

    @property
    def others_first(self) -> bool:
        """Whether the others are looked into first now."""
        return self._ahead_s > 0

    def worked(self, seconds: float, *, on_first: bool) -> None:
        """Note that a job of the first queue, or of another one, took so long."""
        ahead_s = self._ahead_s + (seconds if on_first else -seconds)
        self._ahead_s = max(-MOST_AHEAD_S, min(MOST_AHEAD_S, ahead_s))


class KernelWorker(SimpleWorker):
    """One process, one job at a time."""

    max_connection_wait_time = 5.0
    """Longest pause between attempts to reach a Redis that is away, in seconds; RQ's own is a minute."""

    def __init__(self, queues: Sequence[str], redis: Redis, *, name: str, stopping: threading.Event) -> None:
        super().__init__(
            list(queues),
            name=name,
            connection=redis,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            job_monitoring_interval=int(BEAT_S) * 2,
        )
        self._stopping = stopping
        self._transport = Transport(redis)
        self._turns = Turns()
        self._waiting = False
        self._listening = True

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: finish the current slice and leave; after nine seconds leave at once.

        Leaving at once loses nothing: the lease runs out and another worker starts where the last commit was.
        """
        self._stopping.set()
        watchdog = threading.Timer(LEAVE_WITHIN_S, _leave_now)
        watchdog.daemon = True
        watchdog.start()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def _shutdown(self) -> None:
        # Only the wait for work is broken off. Whatever else goes on comes to its end, and the loop sees the request.
        self._stop_requested = True
        if self._waiting:
            raise StopRequested

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        if self._stopping.is_set():
            # The signal came before there was anybody to tell this worker.
            self._stop_requested = True

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job. One that arrives while workers are suspended goes back to the head of its queue."""
        while True:
            self._waiting = True
            try:
                if self._stop_requested:
                    raise StopRequested
                taken = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
            finally:
                self._waiting = False
            if taken is None or not is_suspended(self.connection, self):
                return taken
            job, queue = taken
            with self.connection.pipeline() as pipeline:
                pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
                pipeline.lpush(queue.key, job.id)
                pipeline.execute()
            self.check_for_suspension(burst=timeout is None)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that this worker lives, and who it is: a Redis that was emptied knows of nobody."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        if self._waiting and self._stop_requested:
            # The signal's own StopRequested was swallowed: logging does that with whatever is raised inside it.
            raise StopRequested
        with self.connection.pipeline() as trip:
            super().heartbeat(timeout, trip)
            trip.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
            worker_registration.register(self, trip)
            trip.execute()

    def stop_listening(self) -> None:
        """Let the thread that waits for RQ's commands end with its connection, which the caller closes next.

        RQ ends it only where it could sign off: not with a Redis that is away or full.
        """
        listener = cast("PubSubWorkerThread | None", self.pubsub_thread)
        if listener is not None:
            self._listening = False
            listener.stop()

    def _pubsub_exception_handler(self, exc: Exception, pubsub: PubSub, pubsub_thread: PubSubWorkerThread) -> None:
        if self._listening:
            super()._pubsub_exception_handler(exc, pubsub, pubsub_thread)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a job in this process, with heartbeats from a second thread."""
        began = time.monotonic()
        try:
            self._execute(job, queue)
        finally:
            first, *others = self.queues
            self._turns.worked(time.monotonic() - began, on_first=queue.name == first.name)
            self._ordered_queues = [*others, first] if self._turns.others_first else [first, *others]

    def _execute(self, job: Job, queue: Queue) -> None:
        if not _is_kernel_s(job):
            execution = self.prepare_execution(job)
            with self._beating(job, execution):
                self.perform_job(job, queue, execution)
            self.set_state(WorkerStatus.IDLE)
            return
        execution = self._begin(job)
        failure: BaseException | None = None
        outcome: object = None
        try:
            with (
                self._beating(job, execution),
                self.death_penalty_class(job.timeout or queue.DEFAULT_TIMEOUT, JobTimeoutException, job_id=job.id),
            ):
                outcome = job.perform()
        except Exception as error:
            # The row knows what to do about it; RQ's registry shows it until the sweep queues the job again.
            log.exception("slice could not be run", rq_id=job.id)
            failure = error
        self._end(job, execution, outcome, failure)

    def _begin(self, job: Job) -> Execution:
        job.started_at = now()
        ttl = self.get_heartbeat_ttl(job)
        with self.connection.pipeline() as pipeline:
            execution = Execution.create(job, ttl, pipeline=pipeline, worker_name=self.name)
            self.executions[execution.id] = execution
            self.set_state(WorkerStatus.BUSY, pipeline=pipeline)
            self.heartbeat(pipeline=pipeline)
            job.heartbeat(now(), ttl, pipeline=pipeline)
            job.prepare_for_execution(self.name, pipeline=pipeline)
            pipeline.persist(job.key)
            if len(self.queues) == 1:
                pipeline.lrem(self.queues[0].intermediate_queue_key, 1, job.id)
            pipeline.execute()
        return execution

    def _end(self, job: Job, execution: Execution, outcome: object, failure: BaseException | None) -> None:
        started_at, ended_at = job.started_at or now(), now()
        with self.connection.pipeline() as pipeline:
            self.increment_total_working_time(ended_at - started_at, pipeline)
            self.cleanup_execution(job, pipeline=pipeline, execution=execution)
            if failure is None:
                self.increment_successful_job_count(pipeline=pipeline)
                self._transport.end(job, "again" if outcome is Outcome.AGAIN else "finished", ended_at, pipeline)
            else:
                self.increment_failed_job_count(pipeline=pipeline)
                Result.create_failure(
                    job,
                    FAILURE_TTL_S,
                    f"{type(failure).__name__}: the worker's log has the details",
                    worker_name=self.name,
                    pipeline=pipeline,
                    execution_id=execution.id,
                    execution_started_at=execution.created_at,
                    execution_ended_at=ended_at,
                )
                self._transport.end(job, "failed", ended_at, pipeline)
            self.set_state(WorkerStatus.IDLE, pipeline=pipeline)
            pipeline.execute()

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 - RQ's signature
        """Seconds until an execution without a heartbeat is taken for dead by RQ."""
        return int(self.job_monitoring_interval) + 60

    @contextmanager
    def _beating(self, job: Job, execution: Execution) -> Iterator[None]:
        """Heartbeats of worker, execution and job while the job runs; SimpleWorker sends none."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_S):
                try:
                    self.maintain_heartbeats(job, execution)
                except RedisError as error:
                    log.warning("heartbeat not sent", rq_id=job.id, error=type(error).__name__)

        thread = threading.Thread(target=beat, name=f"heartbeat-{job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=1.0)


def _is_kernel_s(job: Job) -> bool:
    try:
        return job.func_name in KERNEL_FUNCTIONS
    except DeserializationError:
        # Written by some other serializer: RQ's own way of running it says so in the failed registry.
        return False


def _leave_now() -> None:
    log.warning("the current slice does not end: leaving now, another worker takes the job over")
    # Not by a signal to itself: the first process of a container is not reached by any.
    os._exit(LEFT_IN_A_SLICE)
