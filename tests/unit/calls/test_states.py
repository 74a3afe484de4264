"""The state table of call attempts, held against every order and every duplication of what a carrier can say."""

from collections import Counter
from collections.abc import Iterable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_core.calls.states import (
    SETTLED,
    TERMINAL_CALLS,
    TRANSITIONS,
    AttemptState,
    CallEvent,
    CallStatus,
    RunStatus,
    carrier_event,
    job_status,
    next_state,
)

E, S = CallEvent, AttemptState

DIALLED = (E.INITIATED, E.RINGING)
"""What the carrier reports of every call that is picked up or rings out."""

CALLS = {
    "answered": ((*DIALLED, E.ANSWERED, E.COMPLETED), S.COMPLETED),
    "busy": ((*DIALLED, E.BUSY), S.BUSY),
    "no answer": ((*DIALLED, E.NO_ANSWER), S.NO_ANSWER),
    "failed at once": ((E.FAILED,), S.FAILED),
    "failed on the way": ((E.INITIATED, E.FAILED), S.FAILED),
    "canceled in the queue": ((E.CANCELED,), S.CANCELED),
    "canceled while it rang": ((*DIALLED, E.CANCELED), S.CANCELED),
}
"""Calls that exist: what the carrier says of them, and how the attempt has to end."""

ANSWERS: tuple[tuple[CallEvent, ...], ...] = (
    (E.CREATED,),
    (E.ANSWER_LOST,),  # timed out, or answered with 5xx
    (E.ANSWER_LOST, E.CREATED),  # the sweep was faster than a slow answer
    (),  # the worker was killed
)
"""What the create call itself may tell of a call that exists."""

REFUSALS = {
    "nothing was sent": ((E.NOT_SENT,), S.NOT_PLACED),
    "nothing was sent, and the sweep looked before the slow answer": ((E.ANSWER_LOST, E.NOT_SENT), S.NOT_PLACED),
    "refused": ((E.REJECTED,), S.FAILED),
    "refused, and the sweep looked before the slow answer": ((E.ANSWER_LOST, E.REJECTED), S.FAILED),
}
"""Attempts that never became a call."""

HISTORIES = [
    pytest.param((*told, *answer), end, id=f"{name}, create: {'+'.join(answer) or 'no word'}")
    for name, (told, end) in CALLS.items()
    for answer in ANSWERS
] + [pytest.param(told, end, id=name) for name, (told, end) in REFUSALS.items()]

RANK = {
    state: rank
    for rank, states in enumerate(
        [{S.DIALING}, {S.UNCERTAIN}, {S.PLACED}, {S.RINGING}, {S.IN_PROGRESS}, {S.CANCELING}, SETTLED]
    )
    for state in states
}


def after(events: Iterable[CallEvent], state: AttemptState = S.DIALING) -> AttemptState:
    for event in events:
        state = next_state(state, event)
    return state


def ends(events: Iterable[CallEvent], *, copies: int) -> set[AttemptState]:
    """Every state that some order of ``events`` leads to, each of them arriving 1 to ``copies`` times.

    A walk over (state, copies that are left) instead of over permutations: it covers them all, and stays small.
    """
    kinds = tuple(dict.fromkeys(events))

    @cache
    def walk(state: AttemptState, left: tuple[int, ...]) -> frozenset[AttemptState]:
        # Whoever has arrived once may stay away from now on.
        found = {state} if all(number < copies for number in left) else set()
        for at, number in enumerate(left):
            if number:
                fewer = (*left[:at], number - 1, *left[at + 1 :])
                found |= walk(next_state(state, kinds[at]), fewer)
        return frozenset(found)

    return set(walk(S.DIALING, (copies,) * len(kinds)))


@pytest.mark.parametrize(("history", "end"), HISTORIES)
def test_every_order_and_duplication_of_a_history_ends_the_same(
    history: tuple[CallEvent, ...], end: AttemptState
) -> None:
    assert ends(history, copies=3) == {end}


@pytest.mark.parametrize(("history", "end"), HISTORIES)
def test_an_attempt_ends_the_same_however_many_events_are_lost_before_the_last(
    history: tuple[CallEvent, ...], end: AttemptState
) -> None:
    last = next(event for event in history if next_state(S.DIALING, event).settled)
    others = [event for event in history if event is not last]
    for chosen in range(2 ** len(others)):
        kept = [event for at, event in enumerate(others) if chosen >> at & 1]
        assert ends([*kept, last], copies=2) == {end}


@pytest.mark.parametrize(("history", "end"), HISTORIES)
def test_a_cancel_at_any_point_ends_as_canceled_or_as_the_carrier_had_ended_it_before(
    history: tuple[CallEvent, ...], end: AttemptState
) -> None:
    events = [event for event in history for _ in range(2)]
    seen: set[tuple[AttemptState, frozenset[tuple[CallEvent, int]]]] = set()

    def walk(state: AttemptState, left: Counter[CallEvent], *, asked: bool, ended_first: bool) -> None:
        key = (state, frozenset({**left, E.CANCEL_REQUESTED: int(asked)}.items()))
        if key in seen:
            return
        seen.add(key)
        if not asked:
            assert not state.settled or state is end
            walk(next_state(state, E.CANCEL_REQUESTED), left, asked=True, ended_first=state.settled)
        elif not +left:
            assert state is (end if ended_first else S.CANCELED)
        for event in +left:
            walk(next_state(state, event), left - Counter([event]), asked=asked, ended_first=ended_first)

    walk(S.DIALING, Counter(events), asked=False, ended_first=False)


@given(st.lists(st.sampled_from(CallEvent), max_size=60))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_live_states_never_go_back_and_settled_ones_absorb_everything(events: list[CallEvent]) -> None:
    state = S.DIALING
    for event in events:
        following = next_state(state, event)
        assert RANK[following] >= RANK[state]
        if state.settled:
            assert following is state
        state = following


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_long_random_arrivals_of_a_call_converge(data: st.DataObject) -> None:
    told, end = data.draw(st.sampled_from(list(CALLS.values())))
    answer = data.draw(st.sampled_from(ANSWERS))
    history = [*told, *answer]
    extra = data.draw(st.lists(st.sampled_from(history), max_size=40))
    assert after(data.draw(st.permutations(history + extra))) is end


@pytest.mark.parametrize("state", [state for state in AttemptState if not state.settled])
def test_every_live_state_can_end(state: AttemptState) -> None:
    for event, end in {E.COMPLETED: S.COMPLETED, E.FAILED: S.FAILED, E.CANCELED: S.CANCELED}.items():
        assert next_state(state, event) is (S.CANCELED if state is S.CANCELING else end)
    assert next_state(state, E.OUTCOME_UNKNOWN) is S.FAILED


def test_only_an_attempt_nobody_has_heard_of_can_turn_out_not_to_have_been_sent() -> None:
    """Once the carrier has spoken of a call, a claim that nothing was sent is wrong and must not free the slot."""
    for state in AttemptState:
        heard_of = RANK[state] >= RANK[S.PLACED] and state is not S.CANCELING
        assert (next_state(state, E.NOT_SENT) is state) is heard_of


def test_no_event_brings_a_settled_attempt_back() -> None:
    assert not SETTLED & set(TRANSITIONS)
    assert {next_state(state, event) for state in SETTLED for event in CallEvent} == SETTLED


@pytest.mark.parametrize(
    ("word", "event"),
    [
        ("queued", E.INITIATED),
        ("initiated", E.INITIATED),
        ("ringing", E.RINGING),
        ("in-progress", E.ANSWERED),
        ("IN-PROGRESS", E.ANSWERED),
        ("answered", E.ANSWERED),
        ("completed", E.COMPLETED),
        ("busy", E.BUSY),
        ("no-answer", E.NO_ANSWER),
        ("failed", E.FAILED),
        ("canceled", E.CANCELED),
        ("cancelled", None),
        ("", None),
    ],
)
def test_the_carriers_words_are_understood(word: str, event: CallEvent | None) -> None:
    assert carrier_event(word) is event


def test_the_job_of_every_attempt_state_has_a_status_of_the_contract() -> None:
    assert {state: job_status(state).value for state in AttemptState} == {
        S.DIALING: "dialing",
        S.UNCERTAIN: "uncertain",
        S.PLACED: "dialing",
        S.RINGING: "ringing",
        S.IN_PROGRESS: "in_progress",
        S.CANCELING: "canceling",
        S.COMPLETED: "completed",
        S.BUSY: "busy",
        S.NO_ANSWER: "no_answer",
        S.FAILED: "failed",
        S.CANCELED: "canceled",
        S.NOT_PLACED: "queued",
    }


def test_a_job_holds_a_slot_exactly_while_it_is_neither_queued_nor_ended() -> None:
    assert {status for status in CallStatus if status.active} == set(CallStatus) - TERMINAL_CALLS - {CallStatus.QUEUED}
    assert {status for status in RunStatus if status.terminal} == {"completed", "failed", "cancelled"}
