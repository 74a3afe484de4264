"""One replica acts; no write begins after its deadline; a handover is immediate."""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from switchboard_operator.api import CONFLICT, ApiError
from switchboard_operator.lease import Elector, Timing

TIMING = Timing(lease=12, deadline=8, renew=2, retry=1, request=3)


class Store:
    """A Lease in memory, with optimistic locking, that can be cut off."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = False
        self.version = 0

    async def read(self) -> dict[str, Any] | None:
        self._reach()
        return copy.deepcopy(self.lease)

    async def write(self, lease: dict[str, Any]) -> dict[str, Any]:
        self._reach()
        found = lease["metadata"].get("resourceVersion")
        if self.lease is not None and found != str(self.version):
            raise ApiError(CONFLICT, "somebody was faster")
        self.version += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    def _reach(self) -> None:
        if self.down:
            raise ApiError(0, "cut off")

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


class World:
    """A clock that moves only when a test lets it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        until = self.now + seconds
        await settle()
        while due := [each for each in self._sleepers if each[0] <= until and not each[1].done()]:
            at, future = min(due, key=lambda each: each[0])
            self._sleepers.remove((at, future))
            self.now = max(self.now, at)
            future.set_result(None)
            await settle()
        self.now = until


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Replica:
    """An elector whose work only says that it runs."""

    def __init__(self, store: Store, world: World, name: str) -> None:
        self.elector = Elector(store, name, TIMING, clock=world.clock, sleep=world.sleep)
        self.stop = asyncio.Event()
        self.working = False
        self.held_at_end: str | None = None
        self._store = store
        self.task = asyncio.ensure_future(self.elector.run(self._work, self.stop))

    async def _work(self) -> None:
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False
            self.held_at_end = self._store.holder

    async def leave(self) -> None:
        self.stop.set()
        await self.task


def play(story: Callable[[Store, World], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Store(), World())

    asyncio.run(run())


def test_exactly_one_of_two_acts() -> None:
    async def story(store: Store, world: World) -> None:
        one, two = Replica(store, world, "one"), Replica(store, world, "two")
        await world.advance(30)
        assert [one.working, two.working] == [True, False]
        assert store.holder == "one"
        await one.leave()
        await two.leave()

    play(story)


def test_a_leader_that_leaves_cancels_its_work_first_and_hands_over_at_once() -> None:
    async def story(store: Store, world: World) -> None:
        one, two = Replica(store, world, "one"), Replica(store, world, "two")
        await world.advance(5)
        await one.leave()
        assert (one.working, one.held_at_end, store.holder) == (False, "one", "")
        await world.advance(1.5)
        assert two.working
        await two.leave()

    play(story)


def test_a_silent_leader_is_replaced_after_its_lease() -> None:
    async def story(store: Store, world: World) -> None:
        await store.write({"metadata": {}, "spec": {"holderIdentity": "killed", "leaseDurationSeconds": 12}})
        two = Replica(store, world, "two")
        await world.advance(TIMING.lease)
        before = two.working
        await world.advance(2 * TIMING.retry)
        assert (before, two.working) == (False, True)
        assert store.lease
        assert store.lease["spec"]["leaseTransitions"] == 1
        await two.leave()

    play(story)


def test_a_leader_that_is_cut_off_stops_before_anybody_else_starts() -> None:
    async def story(store: Store, world: World) -> None:
        one = Replica(store, world, "one")
        await world.advance(4)
        store.down = True
        windows = []
        for _ in range(16):
            await world.advance(1)
            windows.append((world.now, one.working, one.elector.write_window()))
        # The last renewal began at 4 s at the latest: nothing may be written 8 s later.
        assert all(window == 0 for at, _, window in windows if at >= 12)
        assert not one.working
        store.down = False
        await one.leave()

    play(story)


def test_a_write_must_end_before_the_lease_does() -> None:
    async def story(store: Store, world: World) -> None:
        one = Replica(store, world, "one")
        await world.advance(0)
        assert one.elector.write_window() == TIMING.lease
        store.down = True
        await world.advance(7)
        assert 0 < one.elector.write_window() <= TIMING.lease - 5
        await one.leave()

    play(story)


def test_a_leader_whose_lease_was_taken_stops_at_once() -> None:
    async def story(store: Store, world: World) -> None:
        one = Replica(store, world, "one")
        await world.advance(1)
        assert store.lease
        store.lease["spec"]["holderIdentity"] = "intruder"
        await world.advance(3)
        assert not one.working
        assert one.elector.write_window() == 0
        await one.leave()
        assert store.holder == "intruder"

    play(story)


def test_work_that_fails_ends_the_process_and_frees_the_lease() -> None:
    async def story(store: Store, world: World) -> None:
        async def fail() -> None:
            raise RuntimeError

        elector = Elector(store, "one", TIMING, clock=world.clock, sleep=world.sleep)
        task = asyncio.ensure_future(elector.run(fail, asyncio.Event()))
        await world.advance(3)
        with pytest.raises(RuntimeError):
            await task
        assert store.holder == ""

    play(story)


def test_a_timing_that_cannot_be_safe_is_refused() -> None:
    with pytest.raises(ValueError, match="request < deadline < lease"):
        Timing(lease=5, deadline=8)
