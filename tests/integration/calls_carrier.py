"""A carrier with accidents at the moments that matter."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from switchboard_core.calls.carrier import (
    CallOrder,
    Carrier,
    CarrierCall,
    CarrierMessage,
    CarrierRecording,
    MessageOrder,
)


class KilledError(BaseException):
    """The worker was killed at this point: nothing after it runs, no handler sees it as an error."""


def _nothing() -> None:
    """What usually happens in between."""


@dataclass
class DisturbedCarrier:
    """The carrier, with something else happening at the worst moments of a create call.

    Attributes:
        before_look: the connection stands; whether the call is still wanted is looked up next.
        before_send: it is wanted and marked as sent; the first byte leaves next.
        before_answer: the carrier has the call; its answer is read next.
    """

    carrier: Carrier
    before_look: Callable[[], object] = _nothing
    before_send: Callable[[], object] = _nothing
    before_answer: Callable[[], object] = _nothing

    @property
    def account_sid(self) -> str:
        return self.carrier.account_sid

    def create(self, order: CallOrder, before_send: Callable[[], None]) -> CarrierCall:
        call = self.carrier.create(order, self._disturbed(before_send))
        self.before_answer()
        return call

    def _disturbed(self, before_send: Callable[[], None]) -> Callable[[], None]:
        def look() -> None:
            self.before_look()
            before_send()
            self.before_send()

        return look

    def send_message(self, order: MessageOrder, before_send: Callable[[], None]) -> CarrierMessage:
        message = self.carrier.send_message(order, self._disturbed(before_send))
        self.before_answer()
        return message

    def fetch_message(self, message_sid: str) -> CarrierMessage | None:
        return self.carrier.fetch_message(message_sid)

    def find_messages(self, to_number: str, from_number: str, since: datetime) -> list[CarrierMessage]:
        return self.carrier.find_messages(to_number, from_number, since)

    def fetch(self, call_sid: str) -> CarrierCall | None:
        return self.carrier.fetch(call_sid)

    def find(self, to_number: str, since: datetime) -> list[CarrierCall]:
        return self.carrier.find(to_number, since)

    def calls(self, *, status: str | None = None, started_after: datetime | None = None) -> Iterator[CarrierCall]:
        return self.carrier.calls(status=status, started_after=started_after)

    def hang_up(self, call_sid: str) -> None:
        self.carrier.hang_up(call_sid)

    def recordings_of(self, call_sid: str) -> list[CarrierRecording]:
        return self.carrier.recordings_of(call_sid)


def kill() -> None:
    """Happens as a disturbance of a create call."""
    raise KilledError
