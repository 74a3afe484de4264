"""What the simulator saw of messages."""

from collections import Counter

from pydantic import BaseModel, Field

from switchboard_simulator.faults import CreateFate
from switchboard_simulator.messages import Message, MessageStatus

_CREATES = ("rejected", *CreateFate)


class MessageReport(BaseModel):
    """Everything counted of messages since the start or the last reset."""

    messages: int = Field(description="create calls that made a message, whatever answer the client got")
    by_status: dict[str, int]
    by_number: dict[str, int]
    by_recipient: dict[str, int] = Field(description="per `recipient` in the query of the status callback's URL")
    recipients_messaged_more_than_once: list[str]
    creates: dict[str, int] = Field(description="answers to create calls, as for calls")
    inbound: int = Field(description="messages that numbers sent to us")


class MessageLedger:
    """Counts messages and answers. Pure bookkeeping: it is told what happened."""

    def __init__(self) -> None:
        self.creates: Counter[str] = Counter()
        self.statuses: Counter[MessageStatus] = Counter()
        self.inbound = 0
        self._numbers: Counter[str] = Counter()
        self._recipients: Counter[str] = Counter()

    def accepted(self, message: Message) -> None:
        """A create call made this message."""
        self._numbers[message.request.to] += 1
        if (recipient := message.request.label("recipient")) is not None:
            self._recipients[recipient] += 1
        self.statuses[message.status] += 1

    def moved(self, message: Message, before: MessageStatus) -> None:
        """This message went on to its next state."""
        self.statuses[before] -= 1
        self.statuses[message.status] += 1

    def report(self) -> MessageReport:
        """Return the figures so far."""
        return MessageReport(
            messages=self._numbers.total(),
            by_status={status.value: n for status, n in self.statuses.items() if n},
            by_number=dict(self._numbers),
            by_recipient=dict(self._recipients),
            recipients_messaged_more_than_once=sorted(name for name, n in self._recipients.items() if n > 1),
            creates=dict.fromkeys(_CREATES, 0) | self.creates,
            inbound=self.inbound,
        )
