"""The plan of a fault run: decided by its seed alone, and nothing is left out."""

from collections import Counter

import pytest

from faults.plan import CARRIER_OFF_S, Cast, Fault, Kind, carrier_clock, clocks, plan

CAST = Cast(("worker-0", "worker-1"), ("recorder-0",), ("api",), lease_s=10.0)
WHOLE_DECK = 40


def deal(seed: int = 1, number: int = WHOLE_DECK, cast: Cast = CAST) -> list[Fault]:
    return plan(seed, cast, attempts=1000, number=number)


def test_a_seed_is_a_plan() -> None:
    assert deal(7) == deal(7)
    assert deal(7) != deal(8)
    assert clocks(7, CAST.processes) == clocks(7, CAST.processes)


def test_faults_come_one_after_the_other_and_before_the_last_attempt() -> None:
    points = [fault.at for fault in deal()]
    assert points == sorted(set(points))
    assert points[0] >= 2
    assert points[-1] < 1000


def test_every_kind_comes_before_any_card_comes_twice() -> None:
    assert {fault.kind for fault in deal()} == set(Kind)
    names = {name for fault in deal() for name in fault.targets}
    assert names == {*CAST.processes, "postgres", "valkey", "store", "carrier"}


def test_the_carrier_is_refused_and_silent_and_the_database_is_slow_in_seconds() -> None:
    lasting = {(fault.kind, fault.targets): fault.lasts_s for fault in deal()}
    for what in ((Kind.AWAY, ("carrier",)), (Kind.SILENT, ("carrier",)), (Kind.SLOW, ("postgres",))):
        assert 1 <= lasting[what] < CAST.lease_s


@pytest.mark.parametrize("seed", range(5))
def test_a_long_stop_is_longer_than_the_lease_and_a_short_one_shorter(seed: int) -> None:
    lasting = {kind: [fault.lasts_s for fault in deal(seed) if fault.kind is kind] for kind in Kind}
    assert max(lasting[Kind.STOP_BRIEFLY]) < CAST.lease_s < min(lasting[Kind.STOP_FOR_LONG])


def test_servers_that_others_use_are_not_restarted() -> None:
    faults = deal(cast=Cast(CAST.workers, CAST.recorders, CAST.apis, lease_s=3.0, servers=False))
    assert not {fault.kind for fault in faults} & {Kind.RESTART_POSTGRES, Kind.RESTART_VALKEY}


def test_one_clock_is_right_and_the_others_are_not() -> None:
    off = clocks(3, CAST.processes)
    assert Counter(seconds == 0 for seconds in off.values()) == {True: 1, False: 3}


def test_the_carriers_clock_is_a_few_seconds_off_either_way() -> None:
    off = [carrier_clock(seed) for seed in range(200)]
    assert off == [carrier_clock(seed) for seed in range(200)]
    assert -CARRIER_OFF_S <= min(off) < -2 < 2 < max(off) <= CARRIER_OFF_S
