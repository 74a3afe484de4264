"""The fault run explains each outcome that nobody knows: by an answer of the carrier, or by a fault of its moment."""

from typing import Any

import pytest

from faults.dialled import IN_FLIGHT_S, Cause, causes_of, check_unknown, matched
from faults.plan import Fault, Kind
from faults.play import Happened

WORKERS = ("worker-0", "worker-1", "worker-2")


def unknown(*sent_at: float) -> list[dict[str, Any]]:
    return [{"id": f"attempt-{number}", "sent_at": moment} for number, moment in enumerate(sent_at)]


def swallowed(kind: Kind, *targets: str, lasts_s: float = 0.0) -> int:
    happened = Happened(Fault(kind, targets, 1, "admitted", lasts_s), 100.0, ready_at=100.0 + lasts_s)
    return causes_of([happened], workers=WORKERS, read_timeout_s=4.0)[0].most


def test_answers_of_the_carrier_explain_as_many_as_they_are() -> None:
    check_unknown(unknown(1.0, 2.0), 2, [])


def test_an_outcome_that_nothing_explains_is_told() -> None:
    with pytest.raises(AssertionError, match="3 outcomes are unknown, of which 2 were answered 5xx"):
        check_unknown(unknown(1.0, 2.0, 3.0), 2, [Cause(500.0, 600.0, 9)])


def test_a_fault_of_the_moment_explains_one_more() -> None:
    check_unknown(unknown(1.0, 2.0, 550.0), 2, [Cause(500.0, 600.0, 1)])


def test_an_uncertain_answer_that_was_taken_for_certain_is_told() -> None:
    with pytest.raises(AssertionError, match="only 1 outcomes are unknown"):
        check_unknown(unknown(1.0), 2, [])


@pytest.mark.parametrize(
    ("causes", "explained"),
    [
        ([], 0),
        ([Cause(0, 3, 2)], 2),
        ([Cause(0, 9, 9)], 4),
        ([Cause(0, 9, 1), Cause(0, 1, 1)], 2),
        ([Cause(0, 9, 3), Cause(3, 4, 1), Cause(5, 6, 1)], 4),
        ([Cause(0, 2, 1), Cause(2, 3, 1), Cause(4, 4, 1)], 3),
    ],
    ids=str,
)
def test_each_cause_takes_its_share_and_no_moment_twice(causes: list[Cause], explained: int) -> None:
    assert matched([1.0, 2.0, 3.0, 4.0], causes) == explained


def test_a_killed_or_stopped_worker_swallows_the_one_call_that_it_sends() -> None:
    assert swallowed(Kind.KILL, "worker-1") == 1
    assert swallowed(Kind.STOP_FOR_LONG, *WORKERS, lasts_s=11.0) == 3
    assert swallowed(Kind.KILL, "api") == swallowed(Kind.FLUSH, "valkey") == swallowed(Kind.STORE_FULL, "store") == 0


def test_a_line_that_breaks_swallows_one_of_each_worker_and_a_silent_one_those_that_give_up() -> None:
    assert swallowed(Kind.CUT, "postgres", "valkey") == swallowed(Kind.AWAY, "carrier", lasts_s=3.0) == 3
    assert swallowed(Kind.SILENT, "carrier", lasts_s=8.0) == 12


def test_what_was_on_its_way_counts_and_what_came_long_before_does_not() -> None:
    happened = Happened(Fault(Kind.KILL, WORKERS, 1, "admitted", 2.0), 100.0, ready_at=107.0)
    causes = causes_of([happened], workers=WORKERS, read_timeout_s=4.0)
    assert matched([100.0 - IN_FLIGHT_S, 107.0 + IN_FLIGHT_S], causes) == 2
    assert matched([99.9 - IN_FLIGHT_S, 107.1 + IN_FLIGHT_S], causes) == 0
