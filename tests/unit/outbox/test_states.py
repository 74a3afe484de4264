"""The table that moves a message."""

import pytest

from switchboard_core.outbox.states import MessageEvent, MessageState, next_state

E, S = MessageEvent, MessageState


@pytest.mark.parametrize(
    ("state", "event", "after"),
    [
        (S.QUEUED, E.CLAIMED, S.SENDING),
        (S.SENDING, E.ACCEPTED, S.SENT),
        (S.SENDING, E.NOT_SENT, S.QUEUED),
        (S.SENDING, E.REFUSED, S.FAILED),
        (S.SENDING, E.BOUNCED, S.BOUNCED),
        (S.SENDING, E.ANSWER_LOST, S.UNCERTAIN),
        (S.SENDING, E.SKIPPED, S.SKIPPED),
        (S.SENT, E.DELIVERED, S.DELIVERED),
        (S.SENT, E.UNDELIVERED, S.FAILED),
        (S.SENT, E.BOUNCED, S.BOUNCED),
        (S.UNCERTAIN, E.ACCEPTED, S.SENT),
        (S.UNCERTAIN, E.ABSENT, S.QUEUED),
        (S.UNCERTAIN, E.RESENT, S.QUEUED),
        (S.FAILED, E.RESENT, S.QUEUED),
        (S.BOUNCED, E.RESENT, S.QUEUED),
    ],
)
def test_an_event_moves_a_message(state: MessageState, event: MessageEvent, after: MessageState) -> None:
    assert next_state(state, event) is after


@pytest.mark.parametrize("state", [S.SENT, S.DELIVERED])
def test_what_was_accepted_never_goes_back_to_the_queue(state: MessageState) -> None:
    assert {next_state(state, event) for event in E} & {S.QUEUED, S.SENDING, S.UNCERTAIN, S.SKIPPED} == set()


def test_an_uncertain_message_leaves_its_state_by_evidence_or_a_person_s_word_only() -> None:
    ways = {event for event in E if next_state(S.UNCERTAIN, event) not in (None, S.UNCERTAIN)}
    assert ways == {E.ACCEPTED, E.DELIVERED, E.UNDELIVERED, E.BOUNCED, E.ABSENT, E.RESENT}


@pytest.mark.parametrize("state", [S.QUEUED, S.SENDING, S.UNCERTAIN, S.FAILED])
def test_a_late_acceptance_counts_in_every_open_state(state: MessageState) -> None:
    assert next_state(state, E.ACCEPTED) is S.SENT


def test_only_what_waits_or_is_claimed_can_be_claimed() -> None:
    assert {state for state in S if next_state(state, E.CLAIMED)} == {S.QUEUED, S.SENDING}
