"""Sends one message of a broadcast through the outbox: once, and only to who still wants it."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage

from switchboard_core.broadcasts import opt_outs
from switchboard_core.broadcasts.service import person
from switchboard_core.broadcasts.sms import LONGEST_SMS
from switchboard_core.broadcasts.states import UNSUBSCRIBED, SkipReason
from switchboard_core.broadcasts.template import fill
from switchboard_core.broadcasts.turns import Attempt, Turn, release
from switchboard_core.calls.carrier import MessageOrder, RejectedError
from switchboard_core.leads.models import Lead
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.send import Mailer, SendResult, SkipMessageError, send_sms
from switchboard_core.outbox.states import Channel
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.models import Business

NO_NUMBER = "There is no number to send from: set caller_ids with PATCH /api/business."
UNSUBSCRIBE_BYTES = 24


def unsubscribe_url(public_url: str, token: str) -> str:
    """The address of a mail's unsubscribe link."""
    return f"{public_url}/u/{token}"


def token_hash(token: str) -> bytes:
    """What is kept of a token: it has 192 random bits, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()


def text_hash(text: str) -> bytes:
    """What is kept of a text, to recognise it in the carrier's list."""
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Post:
    """Sends the messages of one broadcast while a slice lasts.

    Attributes:
        runtime: of the process.
        mailer: the connection that mails share.
    """

    runtime: Runtime
    mailer: Mailer

    def send(self, turn: Turn) -> SendResult:
        """Send the message whose turn it is. No transaction may be open: the network takes its time."""
        letter = _Letter(self.runtime, turn)
        business_id, message_id = turn.broadcast.business_id, turn.message.id
        if turn.broadcast.channel is Channel.SMS:
            return send_sms(self.runtime, business_id, message_id, letter.order, letter.hand_in)
        return self.mailer.send(message_id, letter.mail)


@dataclass(frozen=True)
class _Letter:
    """One message, filled in for its recipient."""

    runtime: Runtime
    turn: Turn

    def order(self, _message: OutgoingMessage) -> MessageOrder:
        """An SMS for the carrier."""
        turn = self.turn
        _, text = self._filled_in()
        return MessageOrder(
            to_number=turn.recipient.address or "",
            from_number=turn.broadcast.from_number or self._own_number(),
            body=text,
            status_url=f"{self.runtime.settings.public_url}/webhooks/twilio/message-status"
            f"?recipient={turn.recipient.id}",
        )

    def hand_in(self, order: MessageOrder, hand_over: Callable[[], None]) -> str:
        """Send an SMS; the last look comes when the connection stands. Returns the carrier's id of it.

        Raises:
            RejectedError: refused by the carrier or by us, in words without the number.
            NotSentError: as the carrier's.
            AnswerLostError: as the carrier's.
            SkipMessageError: the last look said no.
        """
        if not order.from_number:
            raise RejectedError(0, NO_NUMBER, account_fault=True)
        if not 0 < len(order.body.strip()) <= LONGEST_SMS:
            sentence = (
                f"Filled in for this lead the text has {len(order.body)} characters; 1 to {LONGEST_SMS} can be sent."
            )
            raise RejectedError(0, sentence, account_fault=False)
        attempt = Attempt(from_number=order.from_number, body_hash=text_hash(order.body))

        def before_send() -> None:
            self._last_look(attempt)
            hand_over()

        try:
            return self.runtime.carrier.send_message(order, before_send).sid
        except RejectedError as error:
            if error.code == UNSUBSCRIBED:
                self._opt_out()
            # The carrier quotes the number in its own words, and ours end up in the task's errors.
            whose = "the account or the number it comes from" if error.account_fault else "the message"
            sentence = f"The carrier refused {whose} (code {error.code})."
            raise RejectedError(error.code, sentence, account_fault=error.account_fault) from error

    def mail(self, _message: OutgoingMessage) -> EmailMessage:
        """A mail without sender and recipient, which the outbox adds; the last look is part of it.

        Raises:
            SkipMessageError: the last look said no.
        """
        subject, text = self._filled_in()
        token = secrets.token_urlsafe(UNSUBSCRIBE_BYTES)
        url = unsubscribe_url(self.runtime.settings.public_url, token)
        letter = EmailMessage()
        # What comes from a lead must not begin a header of its own.
        letter["Subject"] = " ".join(subject.split())
        letter["List-Unsubscribe"] = f"<{url}>"
        letter["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        letter.set_content(f"{text}\n\n-- \nTo get no more of these messages: {url}\n")
        self._last_look(Attempt(body_hash=text_hash(text), unsubscribe_hash=token_hash(token)))
        return letter

    def _filled_in(self) -> tuple[str, str]:
        """Subject and text for the lead as it is now."""
        broadcast, lead_id = self.turn.broadcast, self.turn.recipient.lead_id
        with self.runtime.database.tenant(broadcast.business_id) as session:
            lead = session.get(Lead, lead_id) if lead_id is not None else None
        if lead is None:
            # Nothing to fill in; the last look notes why.
            return "", ""
        known = person(lead)
        return fill(broadcast.subject or "", known), fill(broadcast.body, known)

    def _own_number(self) -> str:
        with self.runtime.database.tenant(self.turn.broadcast.business_id) as session:
            pool = session.get_one(Business, self.turn.broadcast.business_id).caller_ids
        return str(pool[self.turn.recipient.id % len(pool)]) if pool else ""

    def _last_look(self, attempt: Attempt) -> None:
        broadcast, recipient = self.turn.broadcast, self.turn.recipient
        with self.runtime.database.tenant(broadcast.business_id) as session:
            reason = release(session, self.runtime.settings, recipient.id, broadcast.channel, attempt)
        if reason is not None:
            raise SkipMessageError(SkipReason(reason).sentence)

    def _opt_out(self) -> None:
        broadcast = self.turn.broadcast
        with self.runtime.database.tenant(broadcast.business_id) as session:
            opt_outs.add(
                session, broadcast.channel, [self.turn.recipient.address or ""], reason="told the carrier to stop"
            )
