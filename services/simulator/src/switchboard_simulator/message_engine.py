"""The life of messages: queued per sender, sent, delivered or not; driven by timers, without input or output."""

from functools import partial
from uuid import uuid4

from switchboard_simulator import errors
from switchboard_simulator.activity import Activity
from switchboard_simulator.callbacks import Webhook, inbound_message, message_callback
from switchboard_simulator.clock import Clock, Timer
from switchboard_simulator.engine import LONGEST_QUEUE_SECONDS, Effects
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.message_ledger import MessageLedger
from switchboard_simulator.messages import (
    Mailroom,
    Message,
    MessageBook,
    MessageOutcome,
    MessageRequest,
    MessageStatus,
)
from switchboard_simulator.pacer import Pacer

_REJECTIONS = {
    errors.INVALID_TO: "The 'To' number is not a valid phone number.",
    errors.UNSUBSCRIBED: "Attempt to send to unsubscribed recipient",
    errors.NOT_MOBILE: "'To' number is not a valid mobile number",
}
_UNREACHABLE = 30003
_UNKNOWN_ERROR = 30008

Sender = tuple[str, str]


class MessageEngine:
    """All messages of the simulated carrier.

    Args:
        clock: the time.
        effects: where callbacks go.
        ledger: told about every message.
        activity: told about everything that begins and ends.
        per_second: messages sent a second for each number that sends.
        step: seconds from one status to the next.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        effects: Effects,
        ledger: MessageLedger,
        activity: Activity,
        per_second: float,
        step: float,
    ) -> None:
        self.room = Mailroom()
        self.book = MessageBook()
        self._clock = clock
        self._effects = effects
        self._ledger = ledger
        self._activity = activity
        self._per_second = per_second
        self._step = step
        self._pacers: dict[Sender, Pacer] = {}
        self._pumps: dict[Sender, Timer] = {}
        self._stopped = False

    def stop(self) -> None:
        """Let no message move after this."""
        self._stopped = True
        for timer in self._pumps.values():
            timer.cancel()

    def create(self, account_sid: str, request: MessageRequest) -> Message:
        """Accept a message.

        Raises:
            TwilioError: a script rejects this number.
        """
        plan = self.book.plan(request.to)
        if plan.outcome is MessageOutcome.REJECT:
            code = plan.error_code or errors.INVALID_TO
            raise TwilioError(400, code, _REJECTIONS.get(code, "The message was rejected."))
        now = self._clock.time()
        message = Message(account_sid=account_sid, index=len(self.room), request=request, plan=plan, created_at=now)
        self.room.add(message)
        self._ledger.accepted(message)
        self._activity.begin()
        sender = (account_sid, request.from_)
        self._pacers.setdefault(sender, Pacer(self._per_second, LONGEST_QUEUE_SECONDS)).join(message.sid, now)
        # The answer shows the message queued, as the carrier's does.
        self._pump_after(0.0, sender)
        return message

    def receive(self, account_sid: str, *, from_: str, to: str, body: str, url: str) -> str:
        """Let somebody send us a message; returns its sid.

        Args:
            account_sid: whose number ``to`` is.
            from_: who sends.
            to: our number.
            body: the text.
            url: the customer's webhook for messages.
        """
        sid = f"SM{uuid4().hex}"
        self._ledger.inbound += 1
        self._effects.notify(inbound_message(account_sid, sid, from_=from_, to=to, body=body, url=url))
        return sid

    def _pump_after(self, seconds: float, sender: Sender) -> None:
        if self._stopped:
            return
        if (pending := self._pumps.pop(sender, None)) is not None:
            pending.cancel()
        self._pumps[sender] = self._clock.call_later(seconds, partial(self._pump, sender))

    def _pump(self, sender: Sender) -> None:
        """Send the messages whose turn it is and come back when it is somebody else's."""
        pacer, now = self._pacers[sender], self._clock.time()
        self._pumps.pop(sender, None)
        for sid in pacer.expired(now):
            self._move(sender, sid, MessageStatus.FAILED, errors.QUEUED_TOO_LONG)
        for sid in pacer.started(now):
            self._move(sender, sid, MessageStatus.SENDING)
        if (at := pacer.next_event()) is not None:
            self._pump_after(at - now, sender)

    def _move(self, sender: Sender, sid: str, status: MessageStatus, error_code: int | None = None) -> None:
        message = self.room.message(sender[0], sid)
        if message is None or self._stopped:
            return
        before = message.status
        message.move(status, self._clock.time())
        message.error_code = error_code
        self._ledger.moved(message, before)
        self._tell(message_callback(message))
        following = _after(message)
        if following is None:
            self._activity.end()
            return
        step = message.plan.step_seconds
        self._clock.call_later(
            self._step if step is None else step,
            partial(self._move, sender, sid, following, _error_of(message, following)),
        )

    def _tell(self, webhook: Webhook | None) -> None:
        if webhook is not None:
            self._effects.notify(webhook)


def _after(message: Message) -> MessageStatus | None:
    """Return the state that follows, or nothing if the message has come to rest."""
    outcome = message.plan.outcome
    if message.status is MessageStatus.SENDING:
        return MessageStatus.FAILED if outcome is MessageOutcome.FAILED else MessageStatus.SENT
    if message.status is MessageStatus.SENT and outcome is not MessageOutcome.SILENT:
        undelivered = outcome is MessageOutcome.UNDELIVERED
        return MessageStatus.UNDELIVERED if undelivered else MessageStatus.DELIVERED
    return None


def _error_of(message: Message, status: MessageStatus) -> int | None:
    usual = {MessageStatus.UNDELIVERED: _UNREACHABLE, MessageStatus.FAILED: _UNKNOWN_ERROR}.get(status)
    return None if usual is None else message.plan.error_code or usual
