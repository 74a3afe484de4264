"""What was read from the API server and is still true: nothing was heard or done that could have changed it.

A reconciliation needs a dozen reads, and most of them have the answer of the last time. So answers are kept until a
watch, or a write of this process, says that something of theirs has changed; and never for long, because a watch may
miss what happened while it was interrupted.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

TRUSTED_S = 30.0
"""Drift that no watch has told is found by the next reconciliation after this."""

T = TypeVar("T")


def objects_of(key: tuple[str, str], kind: str) -> Hashable:
    """Names the list of a Switchboard's objects of one kind."""
    return "objects", key, kind


def secret_named(namespace: str, name: str) -> Hashable:
    """Names a Secret."""
    return "secret", namespace, name


@dataclass(eq=False)
class _Answer(Generic[T]):
    asked_at: float
    value: T | None = None
    has_come: bool = False


class Kept:
    """Answers by what they are about.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[Hashable, _Answer[object]] = {}

    async def read(self, about: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer that is kept, or else a new one; whoever gets it must not change it."""
        self._forget_old()
        found = self._answers.get(about)
        if found and found.has_come:
            return cast("T", found.value)
        self._answers.pop(about, None)
        pending: _Answer[object] = _Answer(self._clock())
        self._answers[about] = pending
        value = await ask()
        # What changed while it was on its way has taken the place away: it is told, but not kept.
        pending.value, pending.has_come = value, True
        return value

    def drop(self, about: Hashable) -> None:
        """Something of this has changed."""
        self._answers.pop(about, None)

    def clear(self) -> None:
        """Keep nothing."""
        self._answers.clear()

    def _forget_old(self) -> None:
        """They stand in the order in which they were asked for."""
        begin = self._clock() - TRUSTED_S
        while self._answers:
            about, oldest = next(iter(self._answers.items()))
            if oldest.asked_at > begin:
                return
            del self._answers[about]

    def __len__(self) -> int:
        return len(self._answers)
