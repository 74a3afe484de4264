"""What the carrier's words mean, and what people's answers ask for."""

from itertools import permutations

import pytest

from switchboard_core.broadcasts.inbound import Wish, sid_of, wish_of
from switchboard_core.broadcasts.states import SkipReason, carrier_event, failure_sentence, is_old_news
from switchboard_core.outbox.states import MessageEvent, MessageState, next_state


def after(start: MessageState, *events: MessageEvent) -> MessageState:
    """Where callbacks with one id bring a message."""
    state, known = start, False
    for event in events:
        if not is_old_news(state, event, same_message=known):
            state = next_state(state, event) or state
        known = True
    return state


@pytest.mark.parametrize("last", ["delivered", "undelivered", "failed"])
@pytest.mark.parametrize("start", [MessageState.SENDING, MessageState.UNCERTAIN, MessageState.SENT])
def test_callbacks_end_the_same_in_every_order_and_doubled(start: MessageState, last: str) -> None:
    found = [carrier_event(word) for word in ("queued", "sending", "sent", last)]
    events = [event for event in found if event is not None]
    ends = {after(start, *order, *order) for order in permutations(events)}
    assert ends == {MessageState.DELIVERED if last == "delivered" else MessageState.FAILED}


def test_a_message_that_was_given_up_and_exists_after_all_is_sent() -> None:
    assert after(MessageState.FAILED, MessageEvent.ACCEPTED) is MessageState.SENT


def test_an_unknown_word_of_the_carrier_means_nothing() -> None:
    assert carrier_event("teleported") is None


def test_a_failure_is_told_with_its_code_and_without_a_number() -> None:
    assert (
        failure_sentence("undelivered", 30003)
        == "The carrier took the message and reports it as undelivered (code 30003)."
    )


def test_every_reason_has_a_sentence() -> None:
    assert all(reason.sentence.endswith(".") for reason in SkipReason)


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        ("STOP", Wish.STOP),
        (" stop. ", Wish.STOP),
        ("Stopall", Wish.STOP),
        ("UNSUBSCRIBE", Wish.STOP),
        ("cancel", Wish.STOP),
        ("End", Wish.STOP),
        ("QUIT!", Wish.STOP),
        ("start", Wish.START),
        ("Please stop by tomorrow", Wish.OTHER),
        ("", Wish.OTHER),
    ],
)
def test_a_word_on_its_own_is_a_wish(body: str, wish: Wish) -> None:
    assert wish_of({"Body": body}) is wish


def test_the_carriers_own_verdict_counts_first() -> None:
    assert wish_of({"Body": "Basta", "OptOutType": "STOP"}) is Wish.STOP
    assert wish_of({"Body": "stop", "OptOutType": "HELP"}) is Wish.OTHER


@pytest.mark.parametrize(
    ("sid", "known"),
    [
        ("SM" + "0" * 32, True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("SM 1", False),
        ("SM\x001", False),
        ("SM\u0661", False),
    ],
)
def test_only_an_id_that_can_be_remembered_counts_as_one(sid: str, known: bool) -> None:
    assert sid_of({"MessageSid": sid}) == (sid if known else None)


def test_a_message_without_an_id_has_none() -> None:
    assert sid_of({"SmsStatus": "received"}) is None
