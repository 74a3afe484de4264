"""An RQ worker that runs slices: real queues, registries and worker hashes, no fork, heartbeats during a job.

Ordinary RQ jobs run as in RQ's ``SimpleWorker``. For the kernel's own functions one MULTI before the slice and one
after replace SimpleWorker's bookkeeping, and the end of a slice either finishes the hash or puts it back at the tail
of its queue in one step, with no *finished* in between.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import now, utcformat
from rq.worker import WorkerStatus

from switchboard_core.jobs.kernel import Outcome
from switchboard_core.jobs.transport import BACKGROUND_JOB, PROCESS_NEXT, RECORDING, Transport
from switchboard_core.logs import get_logger

log = get_logger(__name__)

KERNEL_FUNCTIONS = frozenset({BACKGROUND_JOB, PROCESS_NEXT, RECORDING})
WORKER_TTL_S = 30
BEAT_S = 5.0
LEAVE_WITHIN_S = 9.0


class KernelWorker(SimpleWorker):
    """One process, one job at a time."""

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

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: finish the current slice and leave; after nine seconds leave at once.

        Leaving at once loses nothing: the lease runs out and another worker starts where the last commit was.
        """
        self._stopping.set()
        watchdog = threading.Timer(LEAVE_WITHIN_S, _leave_now)
        watchdog.daemon = True
        watchdog.start()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a job in this process, with heartbeats from a second thread."""
        if job.func_name not in KERNEL_FUNCTIONS:
            super().execute_job(job, queue)
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
        self._end(job, queue, execution, outcome, failure)

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

    def _end(
        self, job: Job, queue: Queue, execution: Execution, outcome: object, failure: BaseException | None
    ) -> None:
        started_at, ended_at = job.started_at or now(), now()
        job.ended_at = ended_at
        if failure is not None:
            self.handle_job_failure(
                job,
                queue,
                queue.started_job_registry,
                exc_string=f"{type(failure).__name__}: the worker's log has the details",
                execution=execution,
            )
            self.set_state(WorkerStatus.IDLE)
            return
        with self.connection.pipeline() as pipeline:
            self.increment_successful_job_count(pipeline=pipeline)
            self.increment_total_working_time(ended_at - started_at, pipeline)
            self.cleanup_execution(job, pipeline=pipeline, execution=execution)
            self._transport.end(
                job,
                again=outcome is Outcome.AGAIN,
                ended_at=utcformat(ended_at),
                now_s=ended_at.timestamp(),
                pipeline=pipeline,
            )
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


def _leave_now() -> None:
    log.warning("the current slice does not end: leaving now, another worker takes the job over")
    os.kill(os.getpid(), signal.SIGKILL)
