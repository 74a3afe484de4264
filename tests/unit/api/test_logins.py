"""Logins that take their time have threads of their own."""

import threading

import anyio
from anyio import to_thread

from switchboard_api import logins


def test_slow_logins_wait_for_each_other_and_leave_the_threads_of_all_others_alone() -> None:
    trying, go_on = threading.Semaphore(0), threading.Event()

    def login() -> None:
        trying.release()
        assert go_on.wait(30)

    async def many() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(logins.tried, login)
            try:
                for _ in range(4):
                    await to_thread.run_sync(trying.acquire, True, 30)
                assert logins.AT_ONCE.borrowed_tokens == 4
                assert logins.AT_ONCE.statistics().tasks_waiting == 6
                assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
            finally:
                go_on.set()

    anyio.run(many)
