"""What a task is: a plain function that does about two seconds of work and says where it stopped.

``slice(ctx, payload, cursor) -> Slice``. The kernel commits what it changed, its counters and its cursor in one
transaction, so a task needs no code of its own for crashes, progress, cancel or a worker that has to leave.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rq.timeouts import BaseTimeoutException
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from switchboard_core.db import savepoint
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.storable import storable_text
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

Item = TypeVar("Item")
Cursor = dict[str, Any]

BATCH = 100
"""Items under one savepoint at most."""


@dataclass(frozen=True)
class ItemError:
    """One item that failed: its name and one sentence for people."""

    item: str
    message: str


@dataclass(frozen=True)
class Slice:
    """The outcome of a slice.

    Attributes:
        next_cursor: where the next slice starts; None ends the job.
        total: items in all, once known.
        result: shown with the finished job.
        sleep_s: seconds until the next slice; the sweep wakes the job, or ``jobs.queueing.wake_now`` earlier.
        ends_as: the terminal status when ``next_cursor`` is None.
        reason: shown with the status.
    """

    next_cursor: Cursor | None = None
    total: int | None = None
    result: dict[str, Any] | None = None
    sleep_s: float | None = None
    ends_as: JobStatus = JobStatus.COMPLETED
    reason: str | None = None


@dataclass
class SliceContext:
    """What a slice works with.

    Attributes:
        session: the slice's transaction, bound to the job's business.
        settings: of the worker.
        job_id: the background job.
        business_id: its tenant.
        cancel_requested: a cancel waits; only tasks that end themselves see it true.
        budget_s: seconds this slice should take at most.
        limit: items this slice may touch; smaller after a failed commit.
        condemned: the commit of this one item failed: record it instead of doing it.
    """

    session: Session
    settings: Settings
    job_id: int
    business_id: int
    cancel_requested: bool = False
    budget_s: float = 2.0
    limit: int = 1000
    condemned: str | None = None
    done: int = 0
    errors: list[ItemError] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    @property
    def out_of_time(self) -> bool:
        """Whether the slice should return."""
        return time.monotonic() - self._started >= self.budget_s

    def each(
        self,
        items: Sequence[Item],
        apply: Callable[[Sequence[Item]], None],
        *,
        name: Callable[[Item], str] = str,
    ) -> None:
        """Apply a set-based change to ``items`` so that no item can harm another.

        Up to 100 items share a savepoint. When ``apply`` raises, the savepoint is rolled back and the batch is
        bisected until the bad item is alone: it is recorded in the job's errors and the rest goes on.

        Args:
            items: what to change, ``limit`` items at most.
            apply: changes a batch in ``session``; may be called again with parts of it.
            name: how people recognise an item.
        """
        if self.condemned:
            self.errors += [ItemError(name(item), self.condemned) for item in items]
            return
        for start in range(0, len(items), BATCH):
            self._bisect(items[start : start + BATCH], apply, name)

    def _bisect(
        self, items: Sequence[Item], apply: Callable[[Sequence[Item]], None], name: Callable[[Item], str]
    ) -> None:
        try:
            with savepoint(self.session):
                apply(items)
        except (OperationalError, InterfaceError, BaseTimeoutException):
            # The database or the slice's time is at fault, not the item: the whole slice is run again.
            raise
        except Exception as error:  # noqa: BLE001 - any failure of an item is that item's error, never the job's
            if len(items) > 1:
                middle = len(items) // 2
                self._bisect(items[:middle], apply, name)
                self._bisect(items[middle:], apply, name)
                return
            log.debug("item failed", job_id=self.job_id, item=name(items[0]), error=type(error).__name__)
            self.errors.append(ItemError(name(items[0]), sentence_of(error)))
        else:
            self.done += len(items)


SliceFunction = Callable[[SliceContext, dict[str, Any], Cursor | None], Slice]

FailureFunction = Callable[[SliceContext, dict[str, Any], Cursor | None, str], Slice]
"""``(ctx, payload, cursor, reason)``: ends what a failed task works for. ``reason`` is one sentence for people."""


@dataclass(frozen=True)
class OwningTask:
    """A task that works for a row of its domain, which must not stay *running* when the task fails.

    Attributes:
        run: one slice of it.
        on_failure: what follows in place of a further slice when the kernel has to fail the task: ``run`` raised, or
            its workers died again and again. The slice that it returns ends the job, or goes on where winding down
            takes longer; then it has noted, in its row or in the cursor, that ``run`` has nothing else to do any more.
    """

    run: SliceFunction
    on_failure: FailureFunction

    def __call__(self, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        """Run one slice."""
        return self.run(ctx, payload, cursor)


def sentence_of(error: BaseException) -> str:
    """One line about an error, short, without the statement and its values, and fit for a row."""
    original = getattr(error, "orig", None)
    text = storable_text(str(original or error)).strip().splitlines()
    return f"{type(original or error).__name__}: {text[0][:300] if text else 'no message'}"
