"""States of an outgoing message, and the one table that moves it.

Positive evidence (the server took it, the carrier delivered it) counts whenever it comes and from whoever brings it.
Everything else counts only for the attempt that it is about; ``outbox.service`` holds events against that fence.
"""

from enum import StrEnum


class Channel(StrEnum):
    """How a message travels."""

    EMAIL = "email"
    SMS = "sms"


class MessageState(StrEnum):
    """Where a message is."""

    QUEUED = "queued"
    """Nothing of it has left; it may be sent."""
    SENDING = "sending"
    """An attempt has claimed it. With an expired lease it counts as what is known: not sent, or uncertain."""
    SENT = "sent"
    """The server or the carrier has accepted it."""
    DELIVERED = "delivered"
    """The carrier says that the phone has it; mail has no such word."""
    FAILED = "failed"
    """It was certainly not sent, and trying again by itself would not help."""
    BOUNCED = "bounced"
    """The address does not take mail."""
    UNCERTAIN = "uncertain"
    """It left and its answer was lost: never sent again without proof that it did not arrive, or a person's word."""
    SKIPPED = "skipped"
    """Called off before anything left: opted out, deleted."""

    @property
    def accepted(self) -> bool:
        """Whether the server or the carrier has taken the message."""
        return self in {MessageState.SENT, MessageState.DELIVERED}

    @property
    def settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self not in {MessageState.QUEUED, MessageState.SENDING, MessageState.UNCERTAIN}


class MessageEvent(StrEnum):
    """What can happen to a message."""

    CLAIMED = "claimed"
    """An attempt begins."""
    ACCEPTED = "accepted"
    """The server or the carrier took it, or it was found in the archive."""
    NOT_SENT = "not_sent"
    """Certainly nothing was accepted; another try may help."""
    REFUSED = "refused"
    """Certainly nothing was accepted, for good: the server wants no such message, or its tries are used up."""
    BOUNCED = "bounced"
    """The address was refused, at once or later in a delivery report."""
    ANSWER_LOST = "answer_lost"
    """It left and nobody knows what became of it."""
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    """The carrier took it and could not deliver it."""
    ABSENT = "absent"
    """It is proven that it did not arrive."""
    RESENT = "resent"
    """A person wants it sent again."""
    SKIPPED = "skipped"


_S, _E = MessageState, MessageEvent

_TABLE: dict[MessageEvent, dict[MessageState, MessageState]] = {
    _E.CLAIMED: {_S.QUEUED: _S.SENDING, _S.SENDING: _S.SENDING},
    _E.ACCEPTED: dict.fromkeys((_S.QUEUED, _S.SENDING, _S.UNCERTAIN, _S.FAILED, _S.SKIPPED), _S.SENT),
    _E.NOT_SENT: {_S.SENDING: _S.QUEUED},
    _E.REFUSED: {_S.SENDING: _S.FAILED, _S.QUEUED: _S.FAILED},
    _E.BOUNCED: dict.fromkeys((_S.SENDING, _S.UNCERTAIN, _S.SENT), _S.BOUNCED),
    _E.ANSWER_LOST: {_S.SENDING: _S.UNCERTAIN},
    _E.DELIVERED: dict.fromkeys((_S.QUEUED, _S.SENDING, _S.UNCERTAIN, _S.SENT, _S.FAILED), _S.DELIVERED),
    _E.UNDELIVERED: dict.fromkeys((_S.SENDING, _S.UNCERTAIN, _S.SENT), _S.FAILED),
    _E.ABSENT: {_S.UNCERTAIN: _S.QUEUED},
    _E.RESENT: dict.fromkeys((_S.UNCERTAIN, _S.FAILED, _S.BOUNCED), _S.QUEUED),
    _E.SKIPPED: {_S.QUEUED: _S.SKIPPED, _S.SENDING: _S.SKIPPED},
}

UNFENCED = frozenset({_E.ACCEPTED, _E.DELIVERED, _E.UNDELIVERED, _E.BOUNCED, _E.RESENT})
"""Events that count whichever attempt is the newest."""


def next_state(state: MessageState, event: MessageEvent) -> MessageState | None:
    """Where an event moves a message; None: it changes nothing in this state."""
    return _TABLE[event].get(state)
