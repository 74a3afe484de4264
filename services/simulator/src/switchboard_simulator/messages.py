"""A text message and its states. No input or output, no clock: whoever moves a message says when."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from pydantic import Field

from switchboard_simulator.outcomes import NumberPattern

_SEGMENT, _SEGMENT_OF_MANY = 160, 153


class MessageStatus(StrEnum):
    """The carrier's states of an outgoing message, in its spelling."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"


_NEXT: dict[MessageStatus, frozenset[MessageStatus]] = {
    MessageStatus.QUEUED: frozenset({MessageStatus.SENDING, MessageStatus.FAILED}),
    MessageStatus.SENDING: frozenset({MessageStatus.SENT, MessageStatus.FAILED}),
    MessageStatus.SENT: frozenset({MessageStatus.DELIVERED, MessageStatus.UNDELIVERED}),
}


class MessageOutcome(StrEnum):
    """What becomes of a message; ``reject`` refuses the create call, ``silent`` never tells whether it arrived."""

    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    REJECT = "reject"
    SILENT = "silent"


class MessageScript(NumberPattern):
    """What becomes of messages to the numbers that match.

    Attributes:
        error_code: of a rejection (21211, 21610, 21614 …), or of a message that fails or is not delivered.
        step_seconds: from each status to the next; left out, that of the settings.
    """

    outcome: MessageOutcome = MessageOutcome.DELIVERED
    error_code: int | None = None
    step_seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None


class MessageBook:
    """The scripts; an unscripted message is delivered."""

    def __init__(self) -> None:
        self._scripts: list[MessageScript] = []

    def add(self, script: MessageScript) -> None:
        """Follow a script from now on; of two that are equally narrow the newer one counts."""
        self._scripts.append(script)

    def plan(self, number: str) -> MessageScript:
        """Return the script for a number."""
        found = [(script.precision, at) for at, script in enumerate(self._scripts) if script.matches(number)]
        return self._scripts[max(found)[1]] if found else MessageScript()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRequest:
    """What a create call asked for, checked."""

    to: str
    from_: str
    body: str
    status_callback: str | None = None

    def label(self, name: str) -> str | None:
        """Return a query parameter of the status callback's URL: how senders mark a recipient."""
        return next(iter(parse_qs(urlsplit(self.status_callback or "").query).get(name, [])), None)

    @property
    def segments(self) -> int:
        """How many texts the carrier makes of it; counted as if every character were of the GSM alphabet."""
        return 1 if len(self.body) <= _SEGMENT else -(-len(self.body) // _SEGMENT_OF_MANY)


@dataclass(slots=True, kw_only=True)
class Message:
    """An outgoing message at the carrier. Instants are seconds since the epoch.

    Attributes:
        index: position among all messages of this run.
        plan: what becomes of it.
    """

    account_sid: str
    index: int
    request: MessageRequest
    plan: MessageScript
    created_at: float
    sid: str = field(default_factory=lambda: f"SM{uuid4().hex}")
    status: MessageStatus = MessageStatus.QUEUED
    updated_at: float = 0.0
    sent_at: float | None = None
    error_code: int | None = None

    def __post_init__(self) -> None:
        self.updated_at = self.updated_at or self.created_at

    @property
    def settled(self) -> bool:
        """Whether the message has reached its last state."""
        return self.status not in _NEXT

    def move(self, status: MessageStatus, now: float) -> None:
        """Go to the next state.

        Raises:
            ValueError: the carrier never does that.
        """
        if status not in _NEXT.get(self.status, frozenset()):
            raise ValueError(f"a message cannot go from {self.status} to {status}")
        self.status = status
        self.updated_at = now
        if status is MessageStatus.SENT:
            self.sent_at = now


class Mailroom:
    """All messages since the start or the last reset, by sid and by account."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._by_account: defaultdict[str, list[Message]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """Enter a new message."""
        self._messages[message.sid] = message
        self._by_account[message.account_sid].append(message)

    def message(self, account_sid: str, sid: str) -> Message | None:
        """Return a message of an account."""
        message = self._messages.get(sid)
        return message if message is not None and message.account_sid == account_sid else None

    def newest(self, account_sid: str) -> list[Message]:
        """Return the messages of an account, newest first."""
        return self._by_account[account_sid][::-1]
