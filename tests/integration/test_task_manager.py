"""``BackgroundTaskManager``: what becomes of tasks, and who is told."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from integration.kernel_support import ENDS_ITSELF, TASK, Bench, bench, kernel_database, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Kernel
from switchboard_core.jobs.manager import CHANNEL, BackgroundTaskManager, TaskNotFoundError, parse_change
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.transport import Transport
from waiting import await_true


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey) as made:
        yield made


@pytest.fixture
def tasks(jobs: Bench) -> BackgroundTaskManager:
    return jobs.runtime.tasks


def create(jobs: Bench, job_type: str = TASK, *, items: int = 4, a_slice: int = 2) -> int:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        return jobs.runtime.tasks.create(session, job_type, {"items": items, "a_slice": a_slice}, total=items).id


def follow(jobs: Bench, task_id: int) -> list[TaskSnapshot]:
    seen: list[TaskSnapshot] = []
    jobs.runtime.tasks.subscribe(task_id, seen.append)
    return seen


def statuses(seen: list[TaskSnapshot]) -> list[str]:
    return [str(change.status) for change in seen]


# What becomes of a task


def test_success(jobs: Bench) -> None:
    task_id = create(jobs)
    seen = follow(jobs, task_id)
    jobs.run(jobs.kernel(walk), task_id)
    assert statuses(seen) == ["running", "running", "completed"]
    assert [change.done for change in seen] == [0, 2, 4]
    assert [change.version for change in seen] == sorted({change.version for change in seen})
    assert {"task created", "task started", "task finished"} <= set(jobs.said("info"))


def test_failure(jobs: Bench) -> None:
    def task(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        raise RuntimeError("the leads are gone")

    task_id = create(jobs)
    seen = follow(jobs, task_id)
    jobs.run(jobs.kernel(task), task_id)
    assert statuses(seen) == ["running", "failed"]
    assert seen[-1].reason == "RuntimeError: the leads are gone"
    assert "task failed" in jobs.said("error")


def test_cancellation(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    task_id = create(jobs)
    seen = follow(jobs, task_id)
    jobs.kernel(walk).run_slice(task_id)
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        answer = tasks.cancel(session, task_id)
        assert statuses(seen) == ["running", "running"]  # told after the commit
    assert statuses(seen) == ["running", "running", "cancelled"]
    assert (answer.status, answer.reason, answer.done) == (JobStatus.CANCELLED, "Cancelled on request.", 2)
    assert answer == seen[-1]


def test_cancellation_of_a_task_that_ends_itself(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    task_id = create(jobs, ENDS_ITSELF)
    seen = follow(jobs, task_id)
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        answer = tasks.cancel(session, task_id)
    assert (answer.status, answer.cancel_requested) == (JobStatus.PENDING, True)
    assert [change.cancel_requested for change in seen] == [True]


def test_cancellation_of_what_does_not_exist_or_is_another_s(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    theirs = jobs.enqueue(business_id=jobs.another_business())
    for task_id in (theirs, 123_456_789):
        with (
            pytest.raises(TaskNotFoundError, match=f"There is no task {task_id}"),
            jobs.runtime.database.tenant(jobs.business_id) as session,
        ):
            tasks.cancel(session, task_id)
    assert jobs.job(theirs)["cancel_requested_at"] is None


def test_listing(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    ids = [create(jobs) for _ in range(3)]
    campaign = create(jobs, ENDS_ITSELF)
    jobs.enqueue(business_id=jobs.another_business())
    jobs.run(jobs.kernel(walk), ids[0])
    with jobs.runtime.database.tenant(jobs.business_id) as session:

        def listed(**filters: Any) -> list[int]:
            return [task.id for task in tasks.list(session, **filters)]

        assert listed() == [campaign, *ids[::-1]]
        assert listed(limit=2) == [campaign, ids[2]]
        assert listed(before_id=ids[2]) == [ids[1], ids[0]]
        assert listed(status=JobStatus.COMPLETED) == [ids[0]]
        assert listed(job_type=ENDS_ITSELF) == [campaign]


def test_showing_one(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    task_id = create(jobs)
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        shown = tasks.get(session, task_id)
    assert (shown.total, shown.done, shown.status, shown.version) == (4, 0, JobStatus.PENDING, 1)
    assert shown.rq_id == f"delete_leads_{task_id}"


def test_clean_up(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    old, recent, running = (create(jobs) for _ in range(3))
    for task_id in (old, recent):
        jobs.run(jobs.kernel(walk), task_id)
    jobs.set(old, "finished_at = now() - interval '31 days'")
    jobs.set(running, "created_at = now() - interval '400 days'")
    theirs = jobs.enqueue(business_id=jobs.another_business())
    jobs.set(theirs, "status = 'failed', finished_at = now() - interval '400 days'")
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        assert tasks.clean_up(session, timedelta(days=30), limit=10) == 1
    left = [row["id"] for row in jobs.sql("SELECT id FROM background_jobs ORDER BY id")]
    assert left == [recent, running, theirs]


# Who is told


def test_nobody_is_told_of_a_change_that_is_rolled_back(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    task_id = create(jobs)
    seen = follow(jobs, task_id)
    jobs.roll_back(lambda session: tasks.cancel(session, task_id))
    assert seen == []


def test_only_the_subscribers_of_a_task_are_told(jobs: Bench) -> None:
    mine, other = create(jobs), create(jobs)
    seen = follow(jobs, mine)
    jobs.run(jobs.kernel(walk), other)
    assert seen == []


def test_who_unsubscribed_is_not_told_and_may_say_so_twice(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    task_id = create(jobs)
    kept, left = follow(jobs, task_id), list[TaskSnapshot]()
    unsubscribe = tasks.subscribe(task_id, left.append)
    assert tasks.subscriber_count(task_id) == 2
    unsubscribe()
    unsubscribe()
    assert (tasks.subscriber_count(task_id), tasks.subscriber_count()) == (1, 1)
    jobs.kernel(walk).run_slice(task_id)
    assert (len(kept), left) == (2, [])


def test_a_subscriber_may_leave_while_it_is_told(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    task_id, seen = create(jobs), list[TaskSnapshot]()

    def once(change: TaskSnapshot) -> None:
        seen.append(change)
        leave()

    leave = tasks.subscribe(task_id, once)
    jobs.run(jobs.kernel(walk), task_id)
    assert len(seen) == 1
    assert tasks.subscriber_count() == 0


def test_a_subscriber_that_raises_harms_neither_the_others_nor_the_task(
    jobs: Bench, tasks: BackgroundTaskManager
) -> None:
    task_id = create(jobs)

    def broken(_change: TaskSnapshot) -> None:
        raise RuntimeError("my own fault")

    tasks.subscribe(task_id, broken)
    seen = follow(jobs, task_id)
    jobs.run(jobs.kernel(walk), task_id)
    assert statuses(seen) == ["running", "running", "completed"]
    assert jobs.job(task_id)["status"] == "completed"
    assert jobs.said("error").count("task subscriber failed") == 3


class Listener:
    """Async subscribers on a loop of their own thread, as in the api."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.seen: list[TaskSnapshot] = []
        self.threads: set[int] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def subscribe(self, tasks: BackgroundTaskManager, task_id: int, subscriber: Any = None) -> None:
        async def join() -> None:
            tasks.subscribe(task_id, subscriber or self.hear)

        asyncio.run_coroutine_threadsafe(join(), self.loop).result(10)

    async def hear(self, change: TaskSnapshot) -> None:
        await asyncio.sleep(0)
        self.threads.add(threading.get_ident())
        self.seen.append(change)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    @property
    def ident(self) -> int | None:
        return self._thread.ident


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    if not listener.loop.is_closed():
        listener.close()


def test_an_async_subscriber_is_called_on_its_own_loop(
    jobs: Bench, tasks: BackgroundTaskManager, listener: Listener
) -> None:
    task_id = create(jobs)
    listener.subscribe(tasks, task_id)
    jobs.run(jobs.kernel(walk), task_id)
    await_true(lambda: len(listener.seen) == 3, "three changes")
    assert statuses(listener.seen) == ["running", "running", "completed"]
    assert listener.threads == {listener.ident}


def test_an_object_whose_call_is_async_is_an_async_subscriber(
    jobs: Bench, tasks: BackgroundTaskManager, listener: Listener
) -> None:
    class Screen:
        async def __call__(self, change: TaskSnapshot) -> None:
            await listener.hear(change)

    task_id = create(jobs)
    listener.subscribe(tasks, task_id, Screen())
    jobs.run(jobs.kernel(walk), task_id)
    await_true(lambda: len(listener.seen) == 3, "three changes")


def test_an_async_subscriber_that_raises_is_logged_and_hears_on(
    jobs: Bench, tasks: BackgroundTaskManager, listener: Listener
) -> None:
    task_id = create(jobs)

    async def broken(change: TaskSnapshot) -> None:
        await listener.hear(change)
        raise RuntimeError("my own fault")

    listener.subscribe(tasks, task_id, broken)
    jobs.run(jobs.kernel(walk), task_id)
    await_true(lambda: jobs.said("error").count("task subscriber failed") == 3, "three failures in the log")
    assert len(listener.seen) == 3
    assert jobs.job(task_id)["status"] == "completed"


def test_an_async_subscriber_whose_loop_is_gone_is_a_warning(
    jobs: Bench, tasks: BackgroundTaskManager, listener: Listener
) -> None:
    task_id = create(jobs)
    listener.subscribe(tasks, task_id)
    listener.close()
    jobs.run(jobs.kernel(walk), task_id)
    assert "async task subscriber could not be called: its event loop is gone" in jobs.said("warning")
    assert jobs.said("error") == []
    assert (listener.seen, jobs.job(task_id)["status"]) == ([], "completed")


def test_an_async_subscriber_from_where_no_loop_runs_is_a_warning(jobs: Bench, tasks: BackgroundTaskManager) -> None:
    async def nowhere(_change: TaskSnapshot) -> None:
        pytest.fail("there is no loop to run on")

    task_id = create(jobs)
    tasks.subscribe(task_id, nowhere)
    jobs.run(jobs.kernel(walk), task_id)
    assert "async task subscriber could not be called: its event loop is gone" in jobs.said("warning")


# Other processes


@pytest.fixture
def channel(valkey: EmbeddedValkey, jobs: Bench) -> Iterator[Any]:
    del jobs  # it empties Redis first
    with redis.Redis.from_url(valkey.url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(CHANNEL)
        while not pubsub.subscribed:
            pubsub.get_message(timeout=1)
        pubsub.get_message(timeout=1)
        yield pubsub


def heard(channel: Any, number: int) -> list[TaskSnapshot]:
    """The next changes on the channel."""
    changes: list[TaskSnapshot] = []

    def listen() -> bool:
        if message := channel.get_message(timeout=0.1):
            changes.append(parse_change(message["data"]))
        return len(changes) >= number

    await_true(listen, f"{number} changes on the channel")
    return changes


def test_another_process_hears_the_same_changes(jobs: Bench, channel: Any) -> None:
    task_id = create(jobs)
    seen = follow(jobs, task_id)
    jobs.run(jobs.kernel(walk), task_id)
    created, *changes = heard(channel, 4)
    assert created.status is JobStatus.PENDING
    assert changes == seen
    assert {change.business_id for change in changes} == {jobs.business_id}


def test_another_process_s_subscribers_are_told(jobs: Bench, channel: Any) -> None:
    task_id = create(jobs)
    replica = BackgroundTaskManager(jobs.runtime.redis, jobs.runtime.transport, admit_limit=16)
    seen: list[TaskSnapshot] = []
    replica.subscribe(task_id, seen.append)
    jobs.run(jobs.kernel(walk), task_id)
    for change in heard(channel, 4)[1:]:
        replica.deliver(change)
    assert statuses(seen) == ["running", "running", "completed"]


def test_a_long_list_of_errors_travels_in_part_and_is_whole_for_pollers(
    jobs: Bench, tasks: BackgroundTaskManager, channel: Any
) -> None:
    def task(ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        ctx.each(range(250), lambda _: 1 / 0)  # type: ignore[arg-type]
        return Slice(total=250)

    task_id = create(jobs)
    jobs.run(jobs.kernel(task), task_id)
    last = heard(channel, 3)[-1]
    assert (last.failed, len(last.errors)) == (250, 100)
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        assert len(tasks.get(session, task_id).errors) == 250


def test_without_redis_the_task_goes_on_and_this_process_is_told(jobs: Bench) -> None:
    nobody = redis.Redis(port=9, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))
    tasks = BackgroundTaskManager(nobody, Transport(nobody), admit_limit=16)
    task_id, seen = create(jobs), list[TaskSnapshot]()
    tasks.subscribe(task_id, seen.append)
    kernel = Kernel(jobs.runtime.settings, jobs.runtime.database, Transport(nobody), tasks, {TASK: walk})
    jobs.kernels.append(kernel)
    jobs.run(kernel, task_id)
    assert statuses(seen) == ["running", "running", "completed"]
    assert "task change not published; pollers still see it" in jobs.said("warning")
