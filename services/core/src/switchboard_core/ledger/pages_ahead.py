"""Pages fetched ahead: while one is written to the database, the next one is on its way.

The event loop runs in a thread of its own, so that fetching goes on while the worker's thread waits for PostgreSQL, and
stays up between slices: a page that arrives after its slice has ended is there for the next one.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from switchboard_core.ledger.accounting_api import AccountingApi, Page
from switchboard_core.ledger.states import Collection

Result = TypeVar("Result")

CLOSE_WITHIN_S = 5.0


class EventLoopThread:
    """An asyncio event loop in a thread, started when first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Run a coroutine there."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="ledger-pages", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End the loop and its thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_WITHIN_S)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class PagesAhead:
    """The pages of one sync: the one that is being written, and the one after it.

    Args:
        loop: where pages are fetched.
        api: the accounting system; closed with this.
    """

    def __init__(self, loop: EventLoopThread, api: AccountingApi) -> None:
        self._loop = loop
        self._api = api
        self._current: Page | None = None
        self._ahead: tuple[str, Future[Page]] | None = None

    def take(self, collection: Collection, address: str, etag: str | None = None) -> Page:
        """The page at ``address``: kept from before, fetched ahead, or fetched now.

        Raises:
            AccountingError, BusyError: it could not be had.
        """
        if self._current is not None and self._current.address == address:
            return self._current
        self._current = None
        if self._ahead is None or self._ahead[0] != address:
            self.fetch_ahead(collection, address, etag)
        assert self._ahead is not None
        future = self._ahead[1]
        wait([future])  # a wait that is interrupted, by the timeout of the job say, can be taken up again
        self._ahead = None
        self._current = future.result()
        return self._current

    def fetch_ahead(self, collection: Collection, address: str, etag: str | None = None) -> None:
        """Begin to fetch a page; whatever else was fetched ahead is given up."""
        if self._ahead is not None:
            if self._ahead[0] == address:
                return
            self._ahead[1].cancel()
        self._ahead = (address, self._loop.submit(self._api.page(collection, address, etag)))

    def arrived(self, address: str) -> bool:
        """Whether the page is there, so that taking it neither waits nor fails."""
        if self._ahead is None or self._ahead[0] != address:
            return False
        future = self._ahead[1]
        return future.done() and not future.cancelled() and future.exception() is None

    def close(self) -> None:
        """Give up what is on its way, and close the connections."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None
        self._loop.submit(self._api.close()).result(CLOSE_WITHIN_S)
