"""Wake-ups in RQ: real RQ queues, hashes and registries, written so that deterministic ids are safe.

Re-enqueueing an id in RQ 3 has two traps: a running job gets a second life under the same hash, and a job that
finishes after it was re-enqueued is left *finished* with a TTL while it is still queued; when the TTL expires, it is
silently dropped. So a wake-up is pushed by one atomic script (write the hash, persist it, leave the finished and failed
registries, push if absent), and the end of an execution looks whether the id is queued again before it ends the hash.
A doubled wake-up is harmless: the claim in PostgreSQL decides.

Within a queue the businesses take turns (start-time fair queueing, docs/decisions/0024): each wake-up is put where the
turn of its business comes, so one that has a single job waits for nobody's backlog.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import utcformat
from sqlalchemy.orm import Session

from switchboard_core.clock import SystemClock
from switchboard_core.db import after_commit
from switchboard_core.logs import get_logger
from switchboard_core.redis import Patience
from switchboard_core.settings import ALL_QUEUES

log = get_logger(__name__)

BACKGROUND_JOB = "switchboard_worker.tasks.entry.run_background_job"
PROCESS_NEXT = "switchboard_worker.tasks.calls.process_next_queued_job"
RECORDING = "switchboard_recorder.jobs.process_recording"

Ending = Literal["again", "finished", "failed"]

# How long a finished wake-up stays visible in `rq info` and rq-dashboard.
RESULT_TTL_S = 500
FAILURE_TTL_S = 24 * 3600

_LINE_UP = """
-- Puts a wake-up where the turn of its business (the lane) comes: behind everything of the same turn, before all later
-- ones. A business's own wake-ups have one turn each, so they stay in order. 'now' is the turn that is being served.
local function line_up(queue, turns, hash, id, lane)
    if not lane or lane == '' then
        redis.call('RPUSH', queue, id)
        return
    end
    local head = redis.call('LINDEX', queue, 0)
    if not head then
        redis.call('DEL', turns)
    end
    local now = tonumber(redis.call('HGET', turns, 'now') or 0)
    local first = head and tonumber(redis.call('HGET', 'rq:job:' .. head, 'turn') or nil)
    if first and first - 1 > now then
        now = first - 1
    end
    local turn = math.max(now, tonumber(redis.call('HGET', turns, lane) or -1) + 1)
    redis.call('HSET', turns, 'now', now, lane, turn)
    redis.call('HSET', hash, 'lane', lane, 'turn', turn)
    local last = -1
    while true do
        local chunk = redis.call('LRANGE', queue, last - 99, last)
        for at = #chunk, 1, -1 do
            -- Who has no turn is passed by nobody.
            local theirs = tonumber(redis.call('HGET', 'rq:job:' .. chunk[at], 'turn') or nil)
            if not theirs or theirs <= turn then
                if last == -1 and at == #chunk then
                    redis.call('RPUSH', queue, id)
                else
                    redis.call('LINSERT', queue, 'AFTER', chunk[at], id)
                end
                return
            end
        end
        if #chunk < 100 then
            redis.call('LPUSH', queue, id)
            return
        end
        last = last - 100
    end
end
"""

_PUSH = (
    _LINE_UP
    + """
-- KEYS: job hash, queue, set of queues, finished registry, failed registry, the job's executions, started registry,
--       turns of the queue
-- ARGV: job id, queue key, 1 to drop executions of dead workers, lane, then field, value, ...
redis.call('SADD', KEYS[3], ARGV[2])
if ARGV[3] == '1' then
    for _, execution in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
        redis.call('ZREM', KEYS[7], ARGV[1] .. ':' .. execution)
        redis.call('DEL', 'rq:execution:' .. ARGV[1] .. ':' .. execution)
    end
    redis.call('DEL', KEYS[6])
end
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PERSIST', KEYS[1])
if redis.call('LPOS', KEYS[2], ARGV[1]) then
    return 0
end
line_up(KEYS[2], KEYS[8], KEYS[1], ARGV[1], ARGV[4])
return 1
"""
)

_END = (
    _LINE_UP
    + """
-- KEYS: job hash, queue, finished registry, failed registry, results of earlier executions, turns of the queue
-- ARGV: job id, 'again' | 'finished' | 'failed', time of the end, TTL of the hash in seconds, score in the registry
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'data') == 0 then
    -- Redis was emptied meanwhile: half a hash is no job. The sweep queues what is still to be done.
    redis.call('DEL', KEYS[1])
    return
end
local queued = redis.call('LPOS', KEYS[2], ARGV[1])
if queued or ARGV[2] == 'again' then
    redis.call('HSET', KEYS[1], 'status', 'queued', 'ended_at', ARGV[3])
    redis.call('PERSIST', KEYS[1])
    if not queued then
        line_up(KEYS[2], KEYS[6], KEYS[1], ARGV[1], redis.call('HGET', KEYS[1], 'lane'))
    end
    return
end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'ended_at', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
if ARGV[2] == 'failed' then
    redis.call('ZADD', KEYS[4], ARGV[5], ARGV[1])
else
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[1])
    redis.call('DEL', KEYS[5])
end
"""
)


@dataclass(frozen=True)
class WakeUp:
    """An RQ job that carries ids and nothing else: no secret, no phone number.

    Attributes:
        rq_id: deterministic id, such as ``delete_leads_123``.
        queue: name of the RQ queue.
        function: dotted name of the function that the worker calls.
        args: its arguments, ids only.
        timeout_s: hard limit in seconds.
        lane: the business, which takes turns with the others of its queue; None: behind everything that waits.
    """

    rq_id: str
    queue: str
    function: str
    args: tuple[int, ...]
    timeout_s: int
    lane: int | None = None


def background_wakeup(job_type: str, job_id: int, queue: str, timeout_s: int, business_id: int | None = None) -> WakeUp:
    """The wake-up of a background job: ``{job_type}_{id}``."""
    return WakeUp(f"{job_type}_{job_id}", queue, BACKGROUND_JOB, (job_id,), timeout_s, business_id)


def process_next_wakeup(job_id: int, run_id: int, business_id: int | None = None) -> WakeUp:
    """The wake-up of a run's pump; ``job_id`` is the run's background job."""
    return WakeUp(f"process_next_{job_id}", "high", PROCESS_NEXT, (job_id, run_id), 600, business_id)


def recording_wakeup(recording_id: int, business_id: int | None = None) -> WakeUp:
    """The wake-up of a recording."""
    return WakeUp(f"recording_{recording_id}", "recordings", RECORDING, (recording_id,), 600, business_id)


class Transport:
    """Pushes wake-ups to RQ and ends their executions.

    Attributes:
        redis: the client.
        patience: of all that tell this Redis something after a commit.
    """

    def __init__(self, redis: "Redis", patience: Patience | None = None) -> None:
        self.redis = redis
        self.patience = patience or Patience(SystemClock())
        self._push = redis.register_script(_PUSH)
        self._end = redis.register_script(_END)

    def push(self, wakeup: WakeUp, *, reclaim: bool = False) -> bool:
        """Queue a wake-up unless it is queued already.

        Args:
            wakeup: what to queue.
            reclaim: also forget executions of it: its worker is known to be dead.

        Returns:
            Whether it was pushed.

        Raises:
            RedisError: Redis does not answer; the sweep will push it later.
        """
        return bool(self._push(keys=self._push_keys(wakeup), args=self._push_args(wakeup, reclaim=reclaim)))

    def wake(self, *wakeups: WakeUp) -> None:
        """Queue wake-ups after a commit. Redis being away is logged, not raised: the sweep queues them later."""
        try:
            for wakeup in wakeups:
                with self.patience.telling():
                    self.push(wakeup)
        except RedisError as error:
            log.warning(
                "Redis does not answer; the sweep will enqueue later",
                jobs=[wakeup.rq_id for wakeup in wakeups],
                error=type(error).__name__,
            )

    def wake_after_commit(self, session: Session, *wakeups: WakeUp) -> None:
        """Queue wake-ups once the session's transaction is committed; the same ones only once in a transaction."""
        key = ("wake", *(wakeup.rq_id for wakeup in wakeups))
        after_commit(session, lambda: self.wake(*wakeups), key=key)

    def drop(self, rq_id: str) -> bool:
        """Forget a wake-up that waits; returns whether it was in a queue. Raises ``RedisError``."""
        with self.redis.pipeline() as pipeline:
            for name in ALL_QUEUES:
                pipeline.lrem(_queue_key(name), 0, rq_id)
            pipeline.delete(Job.key_for(rq_id))
            removed = pipeline.execute()[:-1]
        return any(removed)

    def waiting(self, queues: Iterable[str]) -> int:
        """How many wake-ups wait in ``queues``."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for name in queues:
                pipeline.llen(_queue_key(name))
            return sum(pipeline.execute())

    def queued_ids(self, queues: Iterable[str]) -> set[str]:
        """A snapshot of the ids that wait in ``queues``."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for name in queues:
                pipeline.lrange(_queue_key(name), 0, -1)
            return {item.decode() for items in pipeline.execute() for item in items}

    def end(self, job: Job, ending: Ending, ended_at: datetime, pipeline: Pipeline) -> None:
        """Add the end of an execution to ``pipeline``, in one step with no *finished* in between.

        Args:
            job: what was executed.
            ending: ``again`` puts it back to the tail of its queue. However it ended, a job that was queued again
                meanwhile stays queued, with no TTL and in no registry.
            ended_at: now.
            pipeline: executed by the caller.
        """
        ttl_s = FAILURE_TTL_S if ending == "failed" else RESULT_TTL_S
        queue = job.origin
        self._end(
            keys=[
                job.key,
                _queue_key(queue),
                f"rq:finished:{queue}",
                f"rq:failed:{queue}",
                f"rq:results:{job.id}",
                _turns_key(queue),
            ],
            args=[job.id, ending, utcformat(ended_at), ttl_s, ended_at.timestamp() + ttl_s],
            client=pipeline,
        )

    def _push_keys(self, wakeup: WakeUp) -> list[str]:
        queue = wakeup.queue
        return [
            Job.key_for(wakeup.rq_id),
            _queue_key(queue),
            Queue.redis_queues_keys,
            f"rq:finished:{queue}",
            f"rq:failed:{queue}",
            f"rq:executions:{wakeup.rq_id}",
            f"rq:wip:{queue}",
            _turns_key(queue),
        ]

    def _push_args(self, wakeup: WakeUp, *, reclaim: bool) -> list[str | bytes]:
        job = Job.create(
            wakeup.function,
            args=wakeup.args,
            connection=self.redis,
            id=wakeup.rq_id,
            timeout=wakeup.timeout_s,
            result_ttl=RESULT_TTL_S,
            failure_ttl=FAILURE_TTL_S,
            status=JobStatus.QUEUED,
            origin=wakeup.queue,
            serializer=JSONSerializer,
            description=wakeup.rq_id,
        )
        job.enqueued_at = job.created_at
        fields: list[str | bytes] = []
        for name, value in job.to_dict().items():
            plain = value.value if isinstance(value, JobStatus) else value
            fields += [name, plain if isinstance(plain, bytes) else str(plain)]
        lane = "" if wakeup.lane is None else str(wakeup.lane)
        return [wakeup.rq_id, _queue_key(wakeup.queue), "1" if reclaim else "0", lane, *fields]


def _turns_key(name: str) -> str:
    return f"switchboard:turns:{name}"


def _queue_key(name: str) -> str:
    return f"{Queue.redis_queue_namespace_prefix}{name}"
