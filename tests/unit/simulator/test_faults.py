"""Faults are seeded, exclude each other where they must, and do not shift each other."""

import pytest
from pydantic import ValidationError

from switchboard_simulator.faults import CallbackFate, CreateFate, Dice, Faults


def test_without_faults_nothing_goes_wrong() -> None:
    dice = Dice(Faults())
    assert {dice.create() for _ in range(100)} == {CreateFate.ANSWERED}
    assert {dice.callback() for _ in range(100)} == {CallbackFate()}
    assert not any(dice.query_fails() or dice.media_is_cut() or dice.create_delay() for _ in range(100))


def test_the_same_seed_decides_the_same() -> None:
    faults = Faults(seed=5, create_lose_answer=0.5, callback_lose=0.5)
    one, other = Dice(faults), Dice(faults)
    assert [(one.create(), one.callback()) for _ in range(200)] == [
        (other.create(), other.callback()) for _ in range(200)
    ]


@pytest.mark.parametrize(
    ("fault", "fate"),
    [
        ("create_lose_answer", CreateFate.LOSE_ANSWER),
        ("create_hang", CreateFate.HANG),
        ("create_429", CreateFate.TOO_MANY),
        ("create_5xx_before", CreateFate.ERROR_BEFORE),
        ("create_5xx_after", CreateFate.ERROR_AFTER),
    ],
)
def test_a_certain_fault_always_happens(fault: str, fate: CreateFate) -> None:
    dice = Dice(Faults.model_validate({fault: 1.0}))
    assert {dice.create() for _ in range(100)} == {fate}


def test_faults_of_a_create_call_happen_as_often_as_told() -> None:
    dice = Dice(Faults(seed=1, create_429=0.25, create_hang=0.25))
    fates = [dice.create() for _ in range(4000)]
    assert fates.count(CreateFate.TOO_MANY) == pytest.approx(1000, abs=120)
    assert fates.count(CreateFate.HANG) == pytest.approx(1000, abs=120)


def test_switching_one_fault_on_leaves_the_others_decisions_alone() -> None:
    few = Dice(Faults(seed=3, callback_lose=0.3))
    more = Dice(Faults(seed=3, callback_lose=0.3, callback_duplicate=1, callback_delay=1, create_429=0.5))
    assert [few.callback().lost for _ in range(200)] == [more.callback().lost for _ in range(200)]


def test_delays_and_copies_stay_within_their_limit() -> None:
    dice = Dice(Faults(callback_delay=1, callback_duplicate=1, callback_delay_seconds=2))
    fates = [dice.callback() for _ in range(200)]
    assert all(0 <= fate.delay <= 2 and 0 <= (fate.copy_after or 0) <= 2 for fate in fates)
    assert len({fate.delay for fate in fates}) > 100


def test_more_than_one_certain_fate_is_refused() -> None:
    with pytest.raises(ValidationError, match="their sum must be at most 1"):
        Faults(create_429=0.6, create_hang=0.6)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValidationError, match="callback_loose"):
        Faults.model_validate({"callback_loose": 1})
