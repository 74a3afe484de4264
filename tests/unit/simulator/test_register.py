"""Lists of calls: filters and pages."""

from datetime import UTC, datetime
from itertools import islice

import pytest

from switchboard_simulator.calls import CallStatus
from switchboard_simulator.register import CallFilter, Moment
from unit.simulator.world import ACCOUNT, CALLEE, World


def listed(world: World, before: int | None = None, **wanted: object) -> list[int]:
    narrowed = CallFilter(**wanted)  # type: ignore[arg-type]
    return [call.index for call in world.engine.register.newest_calls(ACCOUNT, narrowed, before)]


def test_calls_are_listed_newest_first() -> None:
    world = World()
    for n in range(3):
        world.call(f"+1415555010{n}")
    assert listed(world) == [2, 1, 0]


def test_a_page_goes_on_where_the_last_one_ended_although_calls_were_made_since() -> None:
    world = World()
    for n in range(5):
        world.call(f"+1415555010{n}")
    first = list(islice(world.engine.register.newest_calls(ACCOUNT, CallFilter(), None), 2))
    world.call("+14155550109")
    assert listed(world, before=first[-1].index) == [2, 1, 0]


def test_to_from_and_status_narrow_the_list() -> None:
    world = World(per_second=1.0)
    world.call(CALLEE)
    world.call("+14155550101")
    world.clock.advance(0)
    assert listed(world, to=CALLEE) == [0]
    assert listed(world, from_="+14155550000") == []
    assert listed(world, to=CALLEE, status=CallStatus.COMPLETED) == []


def test_a_call_that_was_only_initiated_is_listed_as_queued() -> None:
    world = World()
    call = world.call()
    world.clock.advance(0)
    assert call.status is CallStatus.INITIATED
    assert listed(world, status=CallStatus.QUEUED) == [0]


def test_a_call_not_dialled_yet_has_no_start_time_to_find_it_by() -> None:
    world = World()
    world.call()
    assert listed(world, started_after=Moment(0, 0)) == []


def test_bounds_include_their_second() -> None:
    world = World()
    world.call()
    world.clock.advance(0)
    now = int(world.clock.time())
    assert listed(world, started_after=Moment(now, now), started_before=Moment(now, now)) == [0]
    assert listed(world, started_after=Moment(now + 1, now + 1)) == []
    assert listed(world, started_before=Moment(now - 1, now - 1)) == []


def test_another_account_sees_none_of_them() -> None:
    world = World()
    call = world.call()
    assert world.engine.register.call("AC" + "b" * 32, call.sid) is None


def test_a_date_is_the_whole_day_and_a_time_one_second() -> None:
    midnight = int(datetime(2026, 1, 26, tzinfo=UTC).timestamp())
    assert Moment.parse("2026-01-26") == Moment(midnight, midnight + 86_399)
    assert Moment.parse("2026-01-26T00:00:05Z") == Moment(midnight + 5, midnight + 5)
    assert Moment.parse("2026-01-26T00:00:05") == Moment(midnight + 5, midnight + 5)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-01-26T25:00:00Z"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Moment.parse(text)
