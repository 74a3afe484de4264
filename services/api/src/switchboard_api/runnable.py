"""What could run now, by queue, asked of the database once a second at most however many pools are polled."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from switchboard_core import crossing
from switchboard_core.runtime import Runtime

KEEP_S = 1.0


def count_runnable(runtime: Runtime) -> dict[str, int]:
    """Runnable work by queue, of all tenants together; a queue without work may be absent."""
    settings = runtime.settings
    with runtime.database.crossing() as session:
        return crossing.runnable_work(
            session,
            jobs_per_business=settings.jobs_admitted_per_business,
            recordings_per_business=settings.recordings_per_business,
        )


class RunnableWork:
    """Remembers a count for a moment: an autoscaler asks for all its pools in a row.

    Args:
        count: gives the numbers by queue.
        keep_s: how long they are good.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        count: Callable[[], Mapping[str, int]],
        *,
        keep_s: float = KEEP_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._numbers: Mapping[str, int] = {}
        self._good_until = float("-inf")
        self._lock = threading.Lock()

    def of(self, queues: Iterable[str]) -> int:
        """Runnable work of these queues together; whatever ``count`` raises is raised here."""
        # Whoever comes while somebody asks waits for that answer instead of asking too.
        with self._lock:
            if self._monotonic() >= self._good_until:
                self._numbers = self._count()
                self._good_until = self._monotonic() + self._keep_s
            return sum(self._numbers.get(queue, 0) for queue in set(queues))
