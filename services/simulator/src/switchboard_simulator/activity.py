"""Counts what is still going on, so that a test can await the end instead of sleeping."""

import asyncio


class Activity:
    """Calls that have not ended, recordings that are not made, callbacks that are not delivered."""

    def __init__(self) -> None:
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is going on."""
        return self._idle.is_set()

    def begin(self) -> None:
        """Something started."""
        self._open += 1
        self._idle.clear()

    def end(self) -> None:
        """Something that started has ended."""
        self._open -= 1
        if self._open == 0:
            self._idle.set()

    async def wait_idle(self, seconds: float) -> bool:
        """Wait at most so many seconds until nothing is going on; tell whether that came."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
