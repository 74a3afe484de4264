"""Callbacks of calls that go on are applied together: those that wait while a transaction commits share the next one.

Under little load each is alone and waits for nobody. Under much, a commit and a round trip serve many of them.
"""

import asyncio

from starlette.concurrency import run_in_threadpool

from switchboard_core.calls.express import Told, apply_together
from switchboard_core.db import Database

MOST = 100
"""Callbacks in one transaction."""


class Together:
    """Applies what several callbacks tell in one transaction. Of the event loop that first uses it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Told, asyncio.Future[bool]]] = []
        self._work: asyncio.Task[None] | None = None

    async def apply(self, told: Told) -> bool:
        """Apply an event; true once that is committed, false where it has to go its own way."""
        applied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((told, applied))
        if self._work is None:
            self._work = asyncio.create_task(self._apply_all(), name="callbacks together")
        return await applied

    async def _apply_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._apply(batch)
        finally:
            self._work = None

    async def _apply(self, batch: list[tuple[Told, asyncio.Future[bool]]]) -> None:
        done = [False] * len(batch)
        try:
            done = await run_in_threadpool(apply_together, self._database, [told for told, _ in batch])
        finally:
            # Whatever happened, nobody waits for ever.
            for (_, applied), result in zip(batch, done, strict=True):
                if not applied.done():
                    applied.set_result(result)
