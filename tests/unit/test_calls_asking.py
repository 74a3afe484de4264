"""Questions to the carrier: a pass of them ends, whatever the carrier does."""

import threading
import uuid

import pytest

from switchboard_core.calls import asking
from switchboard_core.calls.asking import ASKERS, BUDGET_S, GIVE_UP_AFTER, ask_about
from switchboard_core.calls.carrier import CarrierUnavailableError
from switchboard_core.crossing import AttemptRef

CALLS = [AttemptRef(1, uuid.UUID(int=number)) for number in range(40)]


class _Silences:
    """Which questions got no answer."""

    def __init__(self) -> None:
        self.refs: list[AttemptRef] = []

    def __call__(self, ref: AttemptRef, _error: CarrierUnavailableError) -> None:
        self.refs.append(ref)


class _Clock:
    """Time goes by when a test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_every_call_is_asked_about_once_and_the_first_ones_first() -> None:
    asked: list[AttemptRef] = []

    def ask(ref: AttemptRef) -> int:
        asked.append(ref)
        return 1

    assert ask_about(CALLS, ask, _Silences()) == [1] * len(CALLS)
    assert sorted(asked, key=lambda ref: ref.id.int) == CALLS
    assert asked[0] in CALLS[:ASKERS]


def test_nothing_to_ask_is_no_question() -> None:
    assert ask_about([], lambda _: 1, _Silences()) == []


def test_several_questions_are_under_way_at_a_time() -> None:
    together = threading.Barrier(ASKERS)  # nobody is answered before all have asked

    def ask(_ref: AttemptRef) -> int:
        together.wait(30)
        return 1

    assert len(ask_about(CALLS[: 2 * ASKERS], ask, _Silences())) == 2 * ASKERS


def test_a_question_that_hangs_holds_up_no_other() -> None:
    others = threading.Semaphore(0)

    def ask(ref: AttemptRef) -> int:
        if ref is CALLS[0]:
            for _ in CALLS[1:]:
                assert others.acquire(timeout=30)
        others.release()
        return 1

    assert len(ask_about(CALLS, ask, _Silences())) == len(CALLS)


def test_a_pass_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr(asking, "time", clock)

    def ask(_ref: AttemptRef) -> int:
        clock.now += BUDGET_S + 1
        return 1

    assert 1 <= len(ask_about(CALLS, ask, _Silences())) <= ASKERS


def test_a_carrier_that_is_away_is_left_alone_after_a_few_questions() -> None:
    def ask(_ref: AttemptRef) -> int:
        raise CarrierUnavailableError("503")

    silences = _Silences()
    answers = ask_about(CALLS, ask, silences)
    assert GIVE_UP_AFTER <= len(answers) < GIVE_UP_AFTER + ASKERS
    assert set(answers) == {0}
    assert len(silences.refs) == len(answers)


def test_an_error_of_a_question_reaches_who_asked() -> None:
    def ask(_ref: AttemptRef) -> int:
        raise LookupError("a defect")

    with pytest.raises(LookupError, match="a defect"):
        ask_about(CALLS, ask, _Silences())
