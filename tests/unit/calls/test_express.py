"""Which events the short way takes: read off the table of states, and held against it."""

from switchboard_core.calls.express import STEPS
from switchboard_core.calls.policy import RETRYABLE
from switchboard_core.calls.states import TRANSITIONS, AttemptState, CallEvent, next_state

S, E = AttemptState, CallEvent


def test_the_short_way_is_for_calls_that_go_on_and_for_ordinary_ends() -> None:
    assert {event: step.after for event, step in STEPS.items()} == {
        E.CREATED: S.PLACED,
        E.ANSWER_LOST: S.UNCERTAIN,
        E.INITIATED: S.PLACED,
        E.RINGING: S.RINGING,
        E.ANSWERED: S.IN_PROGRESS,
        E.COMPLETED: S.COMPLETED,
        E.BUSY: S.BUSY,
        E.NO_ANSWER: S.NO_ANSWER,
        E.CANCELED: S.CANCELED,
    }


def test_a_step_begins_in_exactly_the_wanted_states_that_the_table_moves_to_its_end() -> None:
    for event, step in STEPS.items():
        moved = {state for state in TRANSITIONS if next_state(state, event) is not state}
        assert moved - {S.CANCELING} == set(step.sources)
        assert {next_state(state, event) for state in step.sources} == {step.after}


def test_every_outcome_that_may_be_tried_again_is_looked_for_or_left_to_the_long_way() -> None:
    looked_for = {outcome for step in STEPS.values() for outcome in step.tried_again}
    assert set(RETRYABLE) - {"failed"} <= looked_for
    assert S.FAILED not in {step.after for step in STEPS.values()}
