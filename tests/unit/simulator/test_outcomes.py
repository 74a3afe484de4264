"""What callees do: scripts first, the seeded mix otherwise."""

from collections import Counter

import pytest
from pydantic import ValidationError

from switchboard_simulator.outcomes import Habits, OutcomeBook, OutcomeKind, Script
from switchboard_simulator.speech_library import clip_named

NUMBER = "+14155550100"


def book(**habits: object) -> OutcomeBook:
    return OutcomeBook(Habits.model_validate(habits))


def kinds(outcomes: OutcomeBook, number: str, calls: int) -> list[str]:
    return [outcomes.plan(number).kind.value for _ in range(calls)]


def test_the_same_seed_gives_the_same_plans_in_any_order() -> None:
    numbers = [f"+1415555{n:04}" for n in range(200)]
    one, other = book(seed=7), book(seed=7)
    forwards = {number: one.plan(number) for number in numbers}
    backwards = {number: other.plan(number) for number in reversed(numbers)}
    assert forwards == backwards


def test_another_seed_gives_other_plans() -> None:
    numbers = [f"+1415555{n:04}" for n in range(200)]
    assert [book(seed=1).plan(n) for n in numbers] != [book(seed=2).plan(n) for n in numbers]


def test_the_mix_follows_its_weights() -> None:
    outcomes = book(mix={"answer": 3, "busy": 1})
    seen = Counter(outcomes.plan(f"+1415555{n:04}").kind for n in range(4000))
    assert set(seen) == {OutcomeKind.ANSWER, OutcomeKind.BUSY}
    assert seen[OutcomeKind.ANSWER] == pytest.approx(3000, abs=150)


def test_an_outcome_without_weight_never_happens() -> None:
    outcomes = book(mix={"fail": 0, "busy": 1, "answer": 0})
    assert {outcomes.plan(f"+1415555{n:04}").kind for n in range(500)} == {OutcomeKind.BUSY}


def test_times_vary_within_the_spread() -> None:
    outcomes = book(talk_seconds=10, spread=0.2)
    talks = [outcomes.plan(f"+1415555{n:04}").talk for n in range(500)]
    assert 8 <= min(talks) < 8.2
    assert 11.8 < max(talks) <= 12


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one weight must be above 0"):
        Habits(mix={OutcomeKind.ANSWER: 0})


def test_successive_calls_get_successive_outcomes_and_the_last_one_repeats() -> None:
    outcomes = book()
    sequence = [{"outcome": "busy"}, {"outcome": "no_answer"}, {"outcome": "answer"}]
    outcomes.add(Script.model_validate({"number": NUMBER, "outcomes": sequence}))
    assert kinds(outcomes, NUMBER, 5) == ["busy", "no_answer", "answer", "answer", "answer"]


def test_numbers_of_one_pattern_have_sequences_of_their_own() -> None:
    outcomes = book()
    outcomes.add(Script.model_validate({"prefix": "+1415", "outcomes": [{"outcome": "busy"}, {"outcome": "fail"}]}))
    assert kinds(outcomes, "+14155550101", 2) == kinds(outcomes, "+14155550102", 2) == ["busy", "fail"]


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ([{"number": NUMBER, "outcome": "busy"}, {"prefix": "+1415555010", "outcome": "fail"}], "busy"),
        ([{"prefix": "+1415", "outcome": "busy"}, {"prefix": "+1", "suffix": "0", "outcome": "fail"}], "busy"),
        ([{"suffix": "00", "outcome": "busy"}, {"outcome": "fail"}], "busy"),
        ([{"outcome": "fail"}, {"outcome": "busy"}], "busy"),
        ([{"number": "+14155550999", "outcome": "fail"}, {"outcome": "busy"}], "busy"),
    ],
)
def test_the_narrower_script_counts_and_of_two_alike_the_newer(scripts: list[object], expected: str) -> None:
    outcomes = book()
    for script in scripts:
        outcomes.add(Script.model_validate(script))
    assert outcomes.plan(NUMBER).kind == expected


def test_a_scripted_time_is_exact_and_a_missing_one_is_the_usual() -> None:
    outcomes = book(ring_seconds=4, spread=0.5)
    outcomes.add(Script.model_validate({"outcome": "answer", "talk_seconds": 0.25}))
    plan = outcomes.plan(NUMBER)
    assert (plan.talk, plan.ring) == (0.25, 4)


def test_a_machine_greets_and_a_person_does_not() -> None:
    outcomes = book()
    outcomes.add(Script.model_validate({"number": NUMBER, "outcome": "machine"}))
    outcomes.add(Script.model_validate({"outcome": "answer"}))
    assert outcomes.plan(NUMBER).clip.greeting
    assert not any(outcomes.plan(f"+1415555{n:04}").clip.greeting for n in range(1, 100))


def test_a_script_can_choose_the_clip() -> None:
    outcomes = book()
    outcomes.add(Script.model_validate({"outcome": "answer", "clip": "04-awb.wav"}))
    assert outcomes.plan(NUMBER).clip == clip_named("04-awb.wav")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ({"outcome": "maybe"}, "outcome"),
        ({"outcome": "answer", "clip": "none.wav"}, "there is no clip 'none.wav'"),
        ({"outcome": "answer", "talk_secs": 1}, "talk_secs"),
        ({"outcomes": []}, "outcomes"),
        ({"outcome": "answer", "talk_seconds": -1}, "talk_seconds"),
        ("busy", "Script"),
    ],
)
def test_a_wrong_script_is_refused_with_its_reason(script: object, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Script.model_validate(script)
