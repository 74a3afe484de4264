"""The carrier behind one interface; ``twilio_carrier`` implements it, worker and api see only this."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

CLOCKS_APART = timedelta(seconds=30)
"""How far the carrier's clock may be from PostgreSQL's: what we made is looked for from so long before we sent it."""


class NotSentError(Exception):
    """Certainly no call was placed and no message sent: the request never left, or the carrier said 429.

    Safe to try again. ``retry_after_s`` is the carrier's own wish, where it gave one.
    """

    def __init__(self, sentence: str, *, carrier_fault: bool, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.carrier_fault = carrier_fault
        self.retry_after_s = retry_after_s


class AnswerLostError(Exception):
    """The request was sent and its answer is missing or 5xx: the call or message may exist. Never replay it."""


class RejectedError(Exception):
    """The carrier refused the call or message for good (4xx): nothing was placed or sent.

    ``account_fault`` tells a refusal of the account (authentication, suspension) or of the number that it comes from
    from one of the number that it goes to.
    """

    def __init__(self, code: int, sentence: str, *, account_fault: bool) -> None:
        super().__init__(sentence)
        self.code = code
        self.account_fault = account_fault


class CarrierUnavailableError(Exception):
    """A look-up or hang-up could not be done now; nothing is known and nothing has changed."""


@dataclass(frozen=True)
class CallOrder:
    """A call to place.

    Attributes:
        to_number: E.164.
        from_number: E.164.
        voice_url: where the carrier fetches what to say.
        status_url: where it reports progress; carries the attempt's id.
        recording_url: where it reports recordings; None: the call is not recorded.
        amd_url: where it reports whether a machine answered; None: it does not listen.
        ring_timeout_s: how long it rings, in seconds.
    """

    to_number: str
    from_number: str
    voice_url: str
    status_url: str
    recording_url: str | None
    amd_url: str | None
    ring_timeout_s: int


@dataclass(frozen=True)
class CarrierCall:
    """A call as the carrier knows it; ``status`` in its own spelling."""

    sid: str
    status: str
    to_number: str
    from_number: str
    created_at: datetime | None
    answered_by: str | None
    duration_s: int | None


@dataclass(frozen=True)
class CarrierRecording:
    """A recording as the carrier knows it."""

    sid: str
    call_sid: str
    status: str
    media_url: str
    duration_s: int | None


@dataclass(frozen=True)
class MessageOrder:
    """A text message to send.

    Attributes:
        to_number: E.164.
        from_number: E.164.
        body: 1,600 characters at most.
        status_url: where the carrier reports delivery.
    """

    to_number: str
    from_number: str
    body: str
    status_url: str


@dataclass(frozen=True)
class CarrierMessage:
    """A text message as the carrier knows it; ``status`` in its own spelling."""

    sid: str
    status: str
    to_number: str
    from_number: str
    body: str
    created_at: datetime | None
    error_code: int | None


class Carrier(Protocol):
    """What we need of a carrier. Every method blocks for a bounded time."""

    @property
    def account_sid(self) -> str:
        """The account that calls are placed with."""
        ...

    def create(self, order: CallOrder, before_send: Callable[[], None]) -> CarrierCall:
        """Place a call, once.

        ``before_send`` runs when the connection stands and before the first byte of the request; when it raises,
        nothing is sent and its exception comes out.

        Raises:
            NotSentError: certainly nothing was placed.
            AnswerLostError: it may have been placed.
            RejectedError: refused for good.
        """
        ...

    def fetch(self, call_sid: str) -> CarrierCall | None:
        """What the carrier says of a call; None: it does not know it. Raises ``CarrierUnavailableError``."""
        ...

    def find(self, to_number: str, since: datetime) -> list[CarrierCall]:
        """Calls to a number made since a moment, oldest first. Raises ``CarrierUnavailableError``."""
        ...

    def calls(self, *, status: str | None = None, started_after: datetime | None = None) -> Iterator[CarrierCall]:
        """Every call of the account, page by page. Raises ``CarrierUnavailableError``, also in the middle.

        Args:
            status: only those in this state, in the carrier's spelling.
            started_after: only those that began to be dialled after a moment; one that still waits has not begun.
        """
        ...

    def hang_up(self, call_sid: str) -> None:
        """End a call, whatever state it is in; ended already is fine. Raises ``CarrierUnavailableError``."""
        ...

    def recordings_of(self, call_sid: str) -> list[CarrierRecording]:
        """The recordings of a call. Raises ``CarrierUnavailableError``."""
        ...

    def send_message(self, order: MessageOrder, before_send: Callable[[], None]) -> CarrierMessage:
        """Send a text message, once; ``before_send`` and exceptions as of ``create``."""
        ...

    def fetch_message(self, message_sid: str) -> CarrierMessage | None:
        """What the carrier says of a message; None: it does not know it. Raises ``CarrierUnavailableError``."""
        ...

    def find_messages(self, to_number: str, from_number: str, since: datetime) -> list[CarrierMessage]:
        """Messages between two numbers made since a moment, oldest first. Raises ``CarrierUnavailableError``."""
        ...
