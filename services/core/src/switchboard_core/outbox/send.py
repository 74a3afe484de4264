"""Sends one message of the outbox: claim, compose, hand over, settle; each step committed before the next begins.

What a kill leaves behind says how far it came. A claim that was never handed over sent nothing; one that was handed
over and never settled may have arrived, becomes ``uncertain`` and is not sent again by itself.

No transaction may be open here, for the network takes its time: call it from a slice whose own session has not been
used yet.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.message import EmailMessage
from types import TracebackType
from typing import Self, TypeVar

import stamina
from sqlalchemy.exc import InterfaceError, OperationalError

from switchboard_core.calls import carrier
from switchboard_core.logs import get_logger
from switchboard_core.outbox import accounts, service
from switchboard_core.outbox.accounts import AccountError, Sender
from switchboard_core.outbox.errors import (
    AddressRefusedError,
    AnswerLostError,
    ContentRefusedError,
    NotAllowedError,
    NotSentError,
)
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.smtp import SmtpSession
from switchboard_core.outbox.states import MessageEvent, MessageState
from switchboard_core.runtime import Runtime

log = get_logger(__name__)

Order = TypeVar("Order")

_jitter = random.Random()  # noqa: S311 - spreads retries, protects nothing

SETTLE_S = 10.0
"""Seconds of a lease beyond what the network may take: for the transactions around it."""

LONGEST_RETRY_S = 3600.0

TRIES_WHILE_NOT_ALLOWED = 4
"""Of one mail that the account may not send, others first: fewer than end a broadcast, so that one mail ends none."""


class SkipMessageError(Exception):
    """Raised by ``compose``: the message must not be sent after all; its text says why."""


class _CalledOffError(Exception):
    """The last look said no: deleted meanwhile, or its lease ran out."""


@dataclass(frozen=True)
class SendResult:
    """What became of a message.

    Attributes:
        state: of the message now.
        reason: one sentence for people.
        retry_in_s: seconds until trying again makes sense; None: it is settled, or waits for a person.
        account_fault: the account cannot send until a person mends it, or so it seems; the message is ``queued``, or
            ``failed`` where it was not allowed too often.
    """

    state: MessageState
    reason: str | None = None
    retry_in_s: float | None = None
    account_fault: bool = False


def send_email(
    runtime: Runtime, business_id: int, message_id: uuid.UUID, compose: Callable[[OutgoingMessage], EmailMessage]
) -> SendResult:
    """Send one mail, if it may still be sent.

    Args:
        runtime: of the process.
        business_id: whose message it is.
        message_id: the row in the outbox.
        compose: makes subject, body and attachments; sender, recipient, date and Message-ID are added here. It opens
            transactions of its own. ``SkipMessageError`` calls the message off; anything else it raises leaves the
            message in its queue and comes out.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    with Mailer(runtime, business_id) as mailer:
        return mailer.send(message_id, compose)


def send_sms(
    runtime: Runtime,
    business_id: int,
    message_id: uuid.UUID,
    compose: Callable[[OutgoingMessage], Order],
    send_message: Callable[[Order, Callable[[], None]], str],
) -> SendResult:
    """Send one SMS, if it may still be sent.

    Args:
        runtime: of the process.
        business_id: whose message it is.
        message_id: the row in the outbox.
        compose: makes the carrier's order, as in ``send_email``.
        send_message: hands the order to the carrier and returns its id of the message. It runs its second argument
            before the first byte of the request, as ``Carrier.send_message`` does; what that raises comes out. It
            raises the exceptions of ``calls.carrier``: ``NotSentError``, ``RejectedError``, ``AnswerLostError``.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    timeout_s = runtime.settings.carrier_connect_timeout_seconds + runtime.settings.carrier_read_timeout_seconds
    work = _Attempt(runtime, business_id, message_id)
    if (claimed := work.begin(timeout_s)) is not None:
        return claimed
    try:
        order = work.composed(compose)
        provider_id = send_message(order, lambda: work.hand_over(timeout_s, archive=None))
    except SkipMessageError as skip:
        return work.settle(MessageEvent.SKIPPED, str(skip))
    except _CalledOffError as off:
        return work.settle(MessageEvent.NOT_SENT, str(off), retry_in_s=0.0)
    except carrier.NotSentError as error:
        return work.not_sent(str(error), retry_in_s=error.retry_after_s)
    except carrier.RejectedError as error:
        return (
            work.not_sent(str(error), account=True)
            if error.account_fault
            else work.settle(MessageEvent.REFUSED, str(error))
        )
    except carrier.AnswerLostError as error:
        return work.settle(MessageEvent.ANSWER_LOST, str(error))
    return work.settle(MessageEvent.ACCEPTED, provider_id=provider_id)


class Mailer:
    """Sends mails of one business over one connection, which is opened for the first of them.

    Args:
        runtime: of the process.
        business_id: whose mails they are.
    """

    def __init__(self, runtime: Runtime, business_id: int) -> None:
        self._runtime = runtime
        self._business_id = business_id
        self._sender: Sender | None = None
        self._smtp: SmtpSession | None = None

    def send(self, message_id: uuid.UUID, compose: Callable[[OutgoingMessage], EmailMessage]) -> SendResult:
        """Send one mail, if it may still be sent; arguments and exceptions as of ``send_email``."""
        settings = self._runtime.settings
        work = _Attempt(self._runtime, self._business_id, message_id)
        if (claimed := work.begin(settings.smtp_timeout_seconds)) is not None:
            return claimed
        try:
            self._deliver(work, work.composed(compose))
        except SkipMessageError as skip:
            return work.settle(MessageEvent.SKIPPED, str(skip))
        except _CalledOffError as off:
            return work.settle(MessageEvent.NOT_SENT, str(off), retry_in_s=0.0)
        except AccountError as error:
            return work.not_sent(str(error), account=True)
        except NotAllowedError as error:
            return work.not_allowed(str(error))
        except NotSentError as error:
            return work.not_sent(str(error), account=error.account_fault)
        except AddressRefusedError as error:
            return work.settle(MessageEvent.BOUNCED, str(error))
        except ContentRefusedError as error:
            return work.settle(MessageEvent.REFUSED, str(error))
        except AnswerLostError as error:
            return work.settle(MessageEvent.ANSWER_LOST, str(error))
        return work.settle(MessageEvent.ACCEPTED)

    def _deliver(self, work: "_Attempt", letter: EmailMessage) -> None:
        settings = self._runtime.settings
        sender = self._known_sender()
        smtp = self._smtp = self._smtp or SmtpSession(sender.server, settings)
        with self._runtime.database.tenant(self._business_id) as session:
            header = service.name_it(session, work.message.id, sender.domain)
        sender.address(letter, work.message, header)
        smtp.deliver(
            letter,
            sender.from_address,
            work.message.recipient or "",
            archive=sender.archive,
            before_end=lambda archived: work.hand_over(
                settings.smtp_answer_timeout_seconds, archive=sender.archive if archived else None
            ),
        )

    def _known_sender(self) -> Sender:
        if self._sender is None:
            with self._runtime.database.tenant(self._business_id) as session:
                self._sender = accounts.sender(session, self._runtime.settings)
        return self._sender

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._smtp is not None:
            self._smtp.close()


class _Attempt:
    """One try at one message: every step is a transaction of its own."""

    message: OutgoingMessage

    def __init__(self, runtime: Runtime, business_id: int, message_id: uuid.UUID) -> None:
        self._runtime = runtime
        self._business_id = business_id
        self._message_id = message_id

    def begin(self, network_s: float) -> SendResult | None:
        """Claim the message; where it cannot be claimed, what is to be said about it."""
        with self._runtime.database.tenant(self._business_id) as session:
            claim = service.claim(session, self._message_id, lease_s=network_s + SETTLE_S)
        self.message = claim.message
        return None if claim.mine else SendResult(claim.message.state, claim.message.reason, claim.wait_s)

    def composed(self, compose: Callable[[OutgoingMessage], Order]) -> Order:
        """What ``compose`` makes; the message goes back to its queue when it fails."""
        try:
            return compose(self.message)
        except SkipMessageError:
            raise
        except Exception:
            self.not_sent("It could not be composed.")
            raise

    def hand_over(self, network_s: float, *, archive: str | None) -> None:
        """The last look. Raises ``_CalledOffError`` when the message may not be sent any more."""
        with self._runtime.database.tenant(self._business_id) as session:
            may_go = service.hand_over(
                session, self._message_id, self.message.attempt, lease_s=network_s + SETTLE_S, archive=archive
            )
        if not may_go:
            msg = "Called off just before it was sent: it was deleted, or another worker had it already."
            raise _CalledOffError(msg)

    def not_sent(self, reason: str, *, account: bool = False, retry_in_s: float | None = None) -> SendResult:
        """Nothing was sent: back to the queue, or failed when its tries are used up."""
        settings = self._runtime.settings
        if not account and self.message.tries + 1 >= settings.outbox_max_tries:
            return self.settle(MessageEvent.REFUSED, f"Given up after {settings.outbox_max_tries} tries. {reason}")
        if account:
            return replace(self.settle(MessageEvent.NOT_SENT, reason), account_fault=True)
        wait_s = retry_in_s or backoff_s(self.message.tries, settings.outbox_retry_seconds)
        return self.settle(MessageEvent.NOT_SENT, reason, retry_in_s=wait_s)

    def not_allowed(self, reason: str) -> SendResult:
        """Nothing was sent: the account's fault, as others that are refused will show, or else this mail's."""
        if self.message.tries + 1 >= TRIES_WHILE_NOT_ALLOWED:
            return replace(self.settle(MessageEvent.REFUSED, reason), account_fault=True)
        wait_s = backoff_s(self.message.tries, self._runtime.settings.outbox_retry_seconds)
        return replace(self.settle(MessageEvent.NOT_SENT, reason, retry_in_s=wait_s), account_fault=True)

    def settle(
        self,
        event: MessageEvent,
        reason: str | None = None,
        *,
        provider_id: str | None = None,
        retry_in_s: float | None = None,
    ) -> SendResult:
        """Write down what became of the attempt."""
        evidence = service.Evidence(reason, provider_id, retry_in_s)
        message = _write_down(self._runtime, self._business_id, self.message, event, evidence)
        waits = message.state is MessageState.QUEUED
        return SendResult(message.state, message.reason, retry_in_s if waits else None)


def backoff_s(tries: int, base_s: float) -> float:
    """Seconds until the next try: doubled each time, an hour at most, spread by a half in both directions."""
    return min(LONGEST_RETRY_S, base_s * 2.0 ** min(tries, 20)) * _jitter.uniform(0.5, 1.5)


@stamina.retry(on=(OperationalError, InterfaceError), attempts=8, timeout=30.0)
def _write_down(
    runtime: Runtime, business_id: int, message: OutgoingMessage, event: MessageEvent, evidence: service.Evidence
) -> OutgoingMessage:
    with runtime.database.tenant(business_id) as session:
        return service.record(session, message.id, event, evidence, attempt=message.attempt)
