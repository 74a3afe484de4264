"""The virtual clock moves only by hand."""

import asyncio

from switchboard_simulator.clock import LoopClock, VirtualClock


def test_timers_run_in_order_each_at_its_own_instant() -> None:
    clock = VirtualClock(now=100.0)
    seen: list[tuple[str, float]] = []
    clock.call_later(3, lambda: seen.append(("late", clock.time())))
    clock.call_later(1, lambda: seen.append(("early", clock.time())))
    clock.advance(5)
    assert seen == [("early", 101.0), ("late", 103.0)]
    assert clock.time() == 105.0


def test_a_timer_set_by_a_timer_runs_in_the_same_advance() -> None:
    clock = VirtualClock(now=0.0)
    seen: list[float] = []
    clock.call_later(1, lambda: clock.call_later(1, lambda: seen.append(clock.time())))
    clock.advance(2)
    assert seen == [2.0]


def test_a_canceled_timer_does_not_run() -> None:
    clock = VirtualClock()
    seen: list[str] = []
    timer = clock.call_later(1, lambda: seen.append("ran"))
    timer.cancel()
    timer.cancel()
    clock.advance(2)
    assert seen == []


def test_nothing_happens_before_its_time() -> None:
    clock = VirtualClock()
    seen: list[str] = []
    clock.call_later(1, lambda: seen.append("ran"))
    clock.advance(0.999)
    assert seen == []


def test_the_real_clock_runs_on_the_loop() -> None:
    async def wait() -> bool:
        done = asyncio.Event()
        LoopClock().call_later(0.0, done.set)
        async with asyncio.timeout(5):
            return await done.wait()

    assert asyncio.run(wait())
