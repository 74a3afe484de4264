"""Callbacks that are applied together: who shares a transaction, and that nobody shares a misfortune."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from switchboard_api.webhooks import together
from switchboard_api.webhooks.together import MOST, Together
from switchboard_core.calls.express import Told
from switchboard_core.calls.settle import NOTHING
from switchboard_core.calls.states import CallEvent
from switchboard_core.crossing import AttemptRef
from switchboard_core.db import Database

Apply = Callable[[Database, Sequence[Told]], list[bool]]
NO_DATABASE = cast("Database", None)


def ringing() -> Told:
    return Told(AttemptRef(1, uuid.uuid4()), CallEvent.RINGING, NOTHING)


class Slow:
    """Applies nothing before it is let go; writes down who came together."""

    def __init__(self) -> None:
        self.batches: list[list[Told]] = []
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, _database: Database, told: Sequence[Told]) -> list[bool]:
        self.batches.append(list(told))
        self.began.set()
        assert self.go.wait(30)
        return [True] * len(told)


def use(monkeypatch: pytest.MonkeyPatch, apply: Any) -> Together:
    monkeypatch.setattr(together, "apply_together", apply)
    return Together(NO_DATABASE)


async def begun(slow: Slow) -> None:
    assert await asyncio.to_thread(slow.began.wait, 30)


def test_those_that_come_while_one_commits_share_the_next_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()

    async def scene() -> list[bool]:
        applied = use(monkeypatch, slow)
        first = asyncio.create_task(applied.apply(ringing()))
        await begun(slow)
        others = [asyncio.create_task(applied.apply(ringing())) for _ in range(MOST + 2)]
        await asyncio.sleep(0)
        slow.go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(scene()) == [True] * (MOST + 3)
    assert [len(batch) for batch in slow.batches] == [1, MOST, 2]


def test_who_is_gone_before_the_answer_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()

    async def scene() -> list[bool | BaseException]:
        applied = use(monkeypatch, slow)
        waiting = [asyncio.create_task(applied.apply(ringing())) for _ in range(2)]
        await begun(slow)
        waiting[0].cancel()
        slow.go.set()
        return await asyncio.gather(*waiting, applied.apply(ringing()), return_exceptions=True)

    gone, *others = asyncio.run(scene())
    assert isinstance(gone, asyncio.CancelledError)
    assert others == [True, True]


def test_after_a_defect_each_goes_its_own_way_and_the_next_ones_are_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(("a defect", None))

    def apply(_database: Database, _told: Sequence[Told]) -> list[bool]:
        if defect := next(calls):
            raise RuntimeError(defect)
        return [True]

    async def scene() -> list[bool]:
        applied = use(monkeypatch, apply)
        return [await applied.apply(ringing()), await applied.apply(ringing())]

    assert asyncio.run(scene()) == [False, True]
