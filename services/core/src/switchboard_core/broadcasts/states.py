"""Why a lead gets no message, where a message of a broadcast is, and what the carrier's words mean for it."""

from enum import StrEnum

from switchboard_core.outbox.states import MessageEvent, MessageState


class SkipReason(StrEnum):
    """Why a lead of a broadcast gets no message."""

    NO_ADDRESS = "no_address"
    OPTED_OUT = "opted_out"
    DO_NOT_CALL = "do_not_call"
    DUPLICATE = "duplicate"
    LEAD_DELETED = "lead_deleted"
    CALLED_OFF = "called_off"
    """The broadcast was cancelled, or ended early, before this lead's turn came."""

    @property
    def sentence(self) -> str:
        """For people."""
        return _SENTENCES[self]


_SENTENCES = {
    SkipReason.NO_ADDRESS: "The lead has no address of this kind.",
    SkipReason.OPTED_OUT: "The lead has opted out of these messages.",
    SkipReason.DO_NOT_CALL: "The lead's number is on the do-not-call list.",
    SkipReason.DUPLICATE: "Another lead of this broadcast has the same address.",
    SkipReason.LEAD_DELETED: "The lead was deleted before its turn came.",
    SkipReason.CALLED_OFF: "The broadcast ended before its turn came.",
}

_EVENTS = {
    "accepted": MessageEvent.ACCEPTED,
    "scheduled": MessageEvent.ACCEPTED,
    "queued": MessageEvent.ACCEPTED,
    "sending": MessageEvent.ACCEPTED,
    "sent": MessageEvent.ACCEPTED,
    "delivered": MessageEvent.DELIVERED,
    "partially_delivered": MessageEvent.DELIVERED,
    "read": MessageEvent.DELIVERED,
    "undelivered": MessageEvent.UNDELIVERED,
    "failed": MessageEvent.UNDELIVERED,
    "canceled": MessageEvent.UNDELIVERED,
}

UNSUBSCRIBED = 21610
"""The carrier's code for a number whose owner has sent STOP to ours."""


def carrier_event(status: str) -> MessageEvent | None:
    """What the carrier's status of a message means; None for a word that it has not used so far."""
    return _EVENTS.get(status.lower())


def is_old_news(state: MessageState, event: MessageEvent, *, same_message: bool) -> bool:
    """Whether a callback tells what was known before a message failed: callbacks come in any order.

    Args:
        state: of the message.
        event: what the callback says.
        same_message: whether the carrier's id in it was known already; an unknown one proves that a message exists.
    """
    return same_message and state is MessageState.FAILED and event is MessageEvent.ACCEPTED


def failure_sentence(status: str, error_code: str | int | None) -> str:
    """Why a message did not arrive, in one sentence without the number."""
    code = f" (code {error_code})" if error_code else ""
    return f"The carrier took the message and reports it as {status}{code}."
