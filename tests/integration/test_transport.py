"""Wake-ups in RQ's own structures: deterministic ids that are safe to push at any moment."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from switchboard_core.jobs.transport import (
    Ending,
    Transport,
    WakeUp,
    background_wakeup,
    process_next_wakeup,
    recording_wakeup,
)

WAKEUP = background_wakeup("delete_leads", 123, "maintenance", 60)
NOW = datetime(2026, 1, 26, 11, 5, 20, tzinfo=UTC)


@pytest.fixture
def client(redis_url: str) -> "Iterator[redis.Redis]":
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def transport(client: "redis.Redis") -> Transport:
    return Transport(client)


def queue(client: "redis.Redis", name: str = "maintenance") -> Queue:
    return Queue(name, connection=client, serializer=JSONSerializer)


def fetch(client: "redis.Redis", wakeup: WakeUp = WAKEUP) -> Job:
    return Job.fetch(wakeup.rq_id, connection=client, serializer=JSONSerializer)


def pop(client: "redis.Redis") -> Job:
    """Take the next job as a worker does."""
    taken = Queue.dequeue_any([queue(client)], None, connection=client, serializer=JSONSerializer)
    assert taken is not None
    client.delete("rq:queue:maintenance:intermediate")
    return taken[0]


def begin(job: Job, client: "redis.Redis") -> Execution:
    """Start an execution as the worker does."""
    with client.pipeline() as pipeline:
        execution = Execution.create(job, 70, pipeline=pipeline, worker_name="w")
        job.prepare_for_execution("w", pipeline=pipeline)
        pipeline.persist(job.key)
        pipeline.execute()
    return execution


def end(transport: Transport, job: Job, execution: Execution, ending: Ending) -> None:
    with transport.redis.pipeline() as pipeline:
        execution.delete(job, pipeline)
        transport.end(job, ending, datetime.now(UTC), pipeline)
        pipeline.execute()


def places(client: "redis.Redis") -> dict[str, int]:
    """Where the wake-up is to be found, and how often."""
    found = {
        "queue": queue(client).get_job_ids().count(WAKEUP.rq_id),
        "started": len(StartedJobRegistry("maintenance", client).get_job_ids(cleanup=False)),
        "finished": FinishedJobRegistry("maintenance", client).get_job_ids(cleanup=False).count(WAKEUP.rq_id),
        "failed": FailedJobRegistry("maintenance", client).get_job_ids(cleanup=False).count(WAKEUP.rq_id),
    }
    return {name: number for name, number in found.items() if number}


def assert_waits(client: "redis.Redis") -> None:
    """Queued once, for good, and nowhere else."""
    assert places(client) == {"queue": 1}
    assert fetch(client).get_status() is JobStatus.QUEUED
    assert client.ttl(fetch(client).key) == -1


@pytest.mark.parametrize(
    ("wakeup", "rq_id", "queue_name", "args", "timeout"),
    [
        (WAKEUP, "delete_leads_123", "maintenance", [123], 60),
        (process_next_wakeup(7, 3), "process_next_7", "high", [7, 3], 600),
        (recording_wakeup(9), "recording_9", "recordings", [9], 600),
    ],
)
def test_a_wake_up_is_an_rq_job_with_a_deterministic_id_and_ids_for_arguments(
    client: "redis.Redis",
    transport: Transport,
    wakeup: WakeUp,
    rq_id: str,
    queue_name: str,
    args: list[int],
    timeout: int,
) -> None:
    assert transport.push(wakeup)
    job = queue(client, queue_name).jobs[0]
    assert (job.id, job.args, job.kwargs, job.timeout, job.origin) == (rq_id, args, {}, timeout, queue_name)
    assert job.get_status() is JobStatus.QUEUED
    assert job.enqueued_at is not None
    assert client.smembers("rq:queues") == {f"rq:queue:{queue_name}".encode()}


def test_a_wake_up_is_queued_once_however_often_it_is_pushed(client: "redis.Redis", transport: Transport) -> None:
    assert [transport.push(WAKEUP) for _ in range(3)] == [True, False, False]
    assert_waits(client)


def test_a_finished_wake_up_stays_visible_for_a_while(client: "redis.Redis", transport: Transport) -> None:
    transport.push(WAKEUP)
    job = pop(client)
    end(transport, job, begin(job, client), "finished")
    assert places(client) == {"finished": 1}
    assert fetch(client).get_status() is JobStatus.FINISHED
    assert 490 <= client.ttl(job.key) <= 500


def test_a_failed_wake_up_stays_visible_for_a_day(client: "redis.Redis", transport: Transport) -> None:
    transport.push(WAKEUP)
    job = pop(client)
    end(transport, job, begin(job, client), "failed")
    assert places(client) == {"failed": 1}
    assert fetch(client).get_status() is JobStatus.FAILED
    assert client.ttl(job.key) > 23 * 3600


def test_a_slice_that_goes_on_is_back_at_the_tail_and_was_never_finished(
    client: "redis.Redis", transport: Transport
) -> None:
    other = background_wakeup("update_leads", 5, "maintenance", 60)
    transport.push(WAKEUP)
    job = pop(client)
    execution = begin(job, client)
    transport.push(other)
    end(transport, job, execution, "again")
    assert queue(client).get_job_ids() == [other.rq_id, WAKEUP.rq_id]
    assert_waits(client)


@pytest.mark.parametrize("ending", ["again", "finished", "failed"])
def test_a_job_that_was_queued_again_while_it_ran_stays_queued_however_it_ends(
    client: "redis.Redis", transport: Transport, ending: Ending
) -> None:
    transport.push(WAKEUP)
    job = pop(client)
    execution = begin(job, client)
    assert transport.push(WAKEUP)
    end(transport, job, execution, ending)
    assert_waits(client)


@pytest.mark.parametrize("first", ["finished", "failed"])
def test_pushing_what_has_ended_takes_it_out_of_its_registry(
    client: "redis.Redis", transport: Transport, first: Ending
) -> None:
    transport.push(WAKEUP)
    job = pop(client)
    end(transport, job, begin(job, client), first)
    assert transport.push(WAKEUP)
    assert_waits(client)


def test_a_wake_up_survives_the_time_to_live_of_its_earlier_end(client: "redis.Redis", transport: Transport) -> None:
    """RQ's own trap: finished with a TTL while it is queued, and dropped without a word once that has passed."""
    transport.push(WAKEUP)
    job = pop(client)
    execution = begin(job, client)
    transport.push(WAKEUP)
    end(transport, job, execution, "finished")
    client.pexpire(f"{job.key}-gone", 1)  # nothing of it expires ...
    assert client.pttl(job.key) == -1
    again = pop(client)  # ... and a worker finds it
    assert again.id == job.id


@pytest.mark.parametrize("ends", list(itertools.product(("again", "finished", "failed"), repeat=2)))
def test_two_executions_of_one_id_leave_it_in_exactly_one_place(
    client: "redis.Redis", transport: Transport, ends: tuple[Ending, Ending]
) -> None:
    for order in _orders():
        client.flushall()
        expected = _play(client, transport, order, ends)
        assert places(client) == {"queue" if expected == "queued" else expected: 1}, order
        assert fetch(client).get_status().value == expected, order
        assert (client.ttl(fetch(client).key) == -1) == (expected == "queued"), order


def _orders() -> "list[tuple[str, ...]]":
    """Every way in which the two lives can interleave."""
    a, b = ("push", "begin a", "end a"), ("push", "begin b", "end b")
    orders = []
    for at in itertools.combinations(range(6), 3):
        left, right = iter(a), iter(b)
        orders.append(tuple(next(left) if place in at else next(right) for place in range(6)))
    return orders


def _play(client: "redis.Redis", transport: Transport, order: tuple[str, ...], ends: tuple[Ending, Ending]) -> str:
    """Do the steps; the status that the job has to have afterwards."""
    running: dict[str, tuple[Job, Execution]] = {}
    waits, last = False, "queued"
    for step in order:
        verb, _, who = step.partition(" ")
        if verb == "push":
            transport.push(WAKEUP)
            waits = True
        elif verb == "begin" and waits:
            job = pop(client)
            running[who] = (job, begin(job, client))
            waits = False
        elif verb == "end" and who in running:
            ending = ends[who == "b"]
            end(transport, *running.pop(who), ending)
            waits, last = waits or ending == "again", ending
    return "queued" if waits else last


def test_an_emptied_redis_is_not_left_with_half_a_job(client: "redis.Redis", transport: Transport) -> None:
    for ending in ("again", "finished", "failed"):
        transport.push(WAKEUP)
        job = pop(client)
        execution = begin(job, client)
        client.flushall()
        end(transport, job, execution, ending)
        assert client.keys("*") == []
        with pytest.raises(NoSuchJobError):
            fetch(client)
    assert transport.push(WAKEUP)
    assert_waits(client)


def test_reclaiming_forgets_the_executions_of_a_dead_worker(client: "redis.Redis", transport: Transport) -> None:
    transport.push(WAKEUP)
    begin(pop(client), client)
    transport.push(WAKEUP)
    assert places(client) == {"queue": 1, "started": 1}  # a wake-up alone takes nothing from a worker that lives
    transport.push(WAKEUP, reclaim=True)
    assert_waits(client)
    assert client.keys("rq:execution*") == []


def test_an_earlier_failure_is_not_shown_with_a_finished_job(client: "redis.Redis", transport: Transport) -> None:
    transport.push(WAKEUP)
    job = pop(client)
    execution = begin(job, client)
    Result.create_failure(job, 60, "boom")
    end(transport, job, execution, "failed")
    failure = fetch(client).latest_result()
    assert failure is not None
    assert failure.exc_string == "boom"
    transport.push(WAKEUP)
    job = pop(client)
    end(transport, job, begin(job, client), "finished")
    assert fetch(client).latest_result() is None


def test_counting_and_listing_what_waits(transport: Transport) -> None:
    transport.push(WAKEUP)
    transport.push(process_next_wakeup(7, 3))
    assert transport.waiting(("maintenance", "high", "low")) == 2
    assert transport.queued_ids(("maintenance", "high", "low")) == {"delete_leads_123", "process_next_7"}
    assert (transport.waiting(()), transport.queued_ids(())) == (0, set())


def test_waking_with_redis_away_raises_nothing() -> None:
    transport = Transport(redis.Redis(port=9, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0)))
    transport.wake(WAKEUP)
    with pytest.raises(redis.exceptions.RedisError):
        transport.push(WAKEUP)
