"""The work queue: every key once, one worker at a time, failures wait longer and longer."""

import asyncio
from collections.abc import Awaitable, Callable

from switchboard_operator.workqueue import LONGEST_BACKOFF_S, WorkQueue


def play(story: Callable[[WorkQueue[str]], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(WorkQueue(jitter=lambda: 1.0))

    asyncio.run(run())


def test_a_key_waits_once_however_often_it_is_added() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        for key in ("a", "b", "a"):
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    play(story)


def test_a_key_that_is_being_worked_on_comes_again_afterwards() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert await queue.get() == "a"

    play(story)


def test_waiting_workers_wake_up() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await waiting == "a"

    play(story)


def test_the_earlier_of_two_times_counts() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add_after("a", 1000)
        queue.add_after("a", 0)
        queue.add_after("a", 2000)
        assert await asyncio.wait_for(queue.get(), 1) == "a"

    play(story)


def test_failures_wait_twice_as_long_each_time() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        waits = [queue.add_failed("a") for _ in range(12)]
        assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
        assert max(waits) == LONGEST_BACKOFF_S
        queue.succeeded("a")
        assert queue.add_failed("a") == 0.5
        queue.forget("a")

    play(story)
