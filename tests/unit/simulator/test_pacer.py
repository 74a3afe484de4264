"""Calls per second."""

import pytest

from switchboard_simulator.pacer import Pacer

DAY = 86_400.0


def test_the_first_call_starts_at_once_and_the_next_one_an_interval_later() -> None:
    pacer = Pacer(per_second=4, longest_wait=DAY)
    for sid in "abc":
        pacer.join(sid, 100.0)
    assert pacer.started(100.0) == ["a"]
    assert pacer.next_event() == 100.25
    assert pacer.started(100.1) == []
    assert pacer.started(100.25) == ["b"]


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    pacer = Pacer(per_second=1, longest_wait=DAY)
    pacer.join("a", 0.0)
    pacer.started(0.0)
    for sid in "bcd":
        pacer.join(sid, 50.0)
    assert pacer.started(50.0) == ["b"]


def test_late_timers_do_not_slow_the_account_down() -> None:
    pacer = Pacer(per_second=10, longest_wait=DAY)
    for n in range(100):
        pacer.join(str(n), 0.0)
    started = sum(len(pacer.started(n * 0.103)) for n in range(98))
    assert started == pytest.approx(100, abs=2)


def test_whoever_leaves_the_queue_is_not_started() -> None:
    pacer = Pacer(per_second=1, longest_wait=DAY)
    pacer.join("a", 0.0)
    pacer.join("b", 0.0)
    pacer.leave("a")
    assert pacer.started(0.0) == ["b"]
    assert len(pacer) == 0


def test_whoever_waited_too_long_is_given_up() -> None:
    pacer = Pacer(per_second=1, longest_wait=10)
    pacer.join("a", 0.0)
    pacer.join("b", 5.0)
    assert pacer.expired(9.0) == []
    assert pacer.expired(10.0) == ["a"]


def test_nobody_waiting_means_nothing_to_do() -> None:
    assert Pacer(per_second=1, longest_wait=DAY).next_event() is None
