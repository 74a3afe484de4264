"""What became of messages that have left: the carrier's callbacks, and its list where they do not come."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.broadcasts import opt_outs
from switchboard_core.broadcasts.models import Broadcast, BroadcastRecipient
from switchboard_core.broadcasts.send import text_hash
from switchboard_core.broadcasts.states import UNSUBSCRIBED, carrier_event, failure_sentence, is_old_news
from switchboard_core.calls.carrier import CLOCKS_APART, CarrierMessage, CarrierUnavailableError
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.logs import get_logger
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.states import Channel, MessageEvent, MessageState
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

Form = Mapping[str, str]

BATCH = 100
BUDGET_S = 1.0
"""Seconds of one pass: the sweep has other things to do."""
DELIVERY_AWAITED = timedelta(minutes=10)
"""An accepted message is asked about when it was not reported as delivered for so long."""
GIVE_UP_AFTER = 3
"""Questions in a row without an answer, after which a carrier that is away is left alone until the next pass."""
ASK_AT_MOST = timedelta(hours=24)
"""A message without a last word is asked about for so long, ever more rarely."""
STOPPED_BEFORE = "Its worker stopped before it was sent, and the broadcast has ended."


def find_recipient(runtime: Runtime, recipient: str | None) -> crossing.Ref | None:
    """The recipient whose id stands in a callback's URL."""
    if recipient is None or not recipient.isascii() or not recipient.isdecimal() or len(recipient) > 18:
        return None
    with runtime.database.crossing() as session:
        return crossing.broadcast_recipient(session, int(recipient))


def on_status(runtime: Runtime, ref: crossing.Ref, form: Form) -> MessageState | None:
    """Apply a status callback, in whatever order and however often it comes; returns where the message is then."""
    word, sid = form.get("MessageStatus") or form.get("SmsStatus") or "", form.get("MessageSid") or None
    event = carrier_event(word)
    if event is None:
        log.warning("callback with an unknown MessageStatus", recipient_id=ref.id, message_status=word[:40])
        return None
    with runtime.database.tenant(ref.business_id) as session:
        recipient = session.get_one(BroadcastRecipient, ref.id, with_for_update={"key_share": True})
        if recipient.message_id is None:
            log.warning("callback about a message that was never sent", recipient_id=ref.id)
            return None
        return _apply(session, recipient, event, sid, word, form.get("ErrorCode"))


def _apply(
    session: Session,
    recipient: BroadcastRecipient,
    event: MessageEvent,
    sid: str | None,
    word: str,
    error_code: str | int | None,
) -> MessageState | None:
    assert recipient.message_id is not None
    message = outbox.get(session, recipient.message_id, lock=True)
    if sid is not None and message.provider_id not in {None, sid}:
        log.error("the carrier has a second message of one recipient", recipient_id=recipient.id)
        return None
    if is_old_news(message.state, event, same_message=sid is not None and message.provider_id == sid):
        return message.state
    before = message.state
    reason = failure_sentence(word, error_code) if event is MessageEvent.UNDELIVERED else None
    message = outbox.record(session, message.id, event, outbox.Evidence(reason, sid))
    if message.state.settled and message.state is not MessageState.SENT:
        recipient.check_at = None
    # Told again, it says nothing new: the person may have asked for messages since.
    if message.state is not before and str(error_code) == str(UNSUBSCRIBED) and recipient.address:
        opt_outs.add(session, Channel.SMS, [recipient.address], reason="told the carrier to stop")
    session.flush()
    return message.state


@dataclass(frozen=True)
class _Silent:
    """A message that was not heard of, as it was read."""

    ref: crossing.Ref
    recipient: BroadcastRecipient
    message: OutgoingMessage

    @property
    def since(self) -> datetime:
        """Before the message can have been made, by the carrier's clock."""
        assert self.recipient.released_at is not None
        return self.recipient.released_at - CLOCKS_APART


def settle_silent_messages(runtime: Runtime) -> int:
    """Ask the carrier about messages that fell silent, and move them by its answer; returns how many moved.

    What the carrier does not know stays ``uncertain``, and is never sent again.
    """
    with runtime.database.crossing() as session:
        refs = crossing.silent_broadcast_messages(session, BATCH)
    moved, unanswered, until = 0, 0, time.monotonic() + BUDGET_S
    for ref in refs:
        try:
            moved += _look_into(runtime, ref)
            unanswered = 0
        except CarrierUnavailableError as error:
            log.warning("the carrier cannot say what became of a message; asked again later", error=str(error))
            unanswered += 1
        if unanswered == GIVE_UP_AFTER or time.monotonic() > until:
            break
    return moved


def _look_into(runtime: Runtime, ref: crossing.Ref) -> bool:
    with runtime.database.tenant(ref.business_id) as session:
        silent = _read(session, runtime, ref)
    if silent is None:
        return False
    found = _at_carrier(runtime, silent)
    if found is None:
        return False
    event = carrier_event(found.status)
    if event is None:
        return False
    with runtime.database.tenant(ref.business_id) as session:
        recipient = session.get_one(BroadcastRecipient, ref.id, with_for_update={"key_share": True})
        after = _apply(session, recipient, event, found.sid, found.status, found.error_code)
    return after is not None and after is not silent.message.state


def _read(session: Session, runtime: Runtime, ref: crossing.Ref) -> _Silent | None:
    """The message, once nobody works on it any more; says when it is looked at next."""
    recipient = session.get_one(BroadcastRecipient, ref.id, with_for_update={"key_share": True})
    if recipient.check_at is None or recipient.message_id is None or recipient.released_at is None:
        return None
    message = outbox.get(session, recipient.message_id, lock=True)
    now = session.scalars(select(db_now())).one()
    age, soon = now - recipient.released_at, timedelta(seconds=runtime.settings.settle_after_seconds)
    recipient.check_at = None
    if message.state is MessageState.SENDING:
        if (message.lease_until is not None and message.lease_until > now) or not _abandoned(
            session, message, recipient
        ):
            recipient.check_at = now + soon
            return None
        message = outbox.get(session, message.id)
    if message.channel is not Channel.SMS or message.state not in {MessageState.UNCERTAIN, MessageState.SENT}:
        return None
    if message.state is MessageState.SENT and age < DELIVERY_AWAITED:
        recipient.check_at = recipient.released_at + DELIVERY_AWAITED
        return None
    lost = message.provider_id is None
    window = timedelta(seconds=runtime.settings.unknown_outcome_after_seconds) if lost else ASK_AT_MOST
    if age < window:
        recipient.check_at = now + max(age, soon)
    return _Silent(ref, recipient, message)


def _abandoned(session: Session, message: OutgoingMessage, recipient: BroadcastRecipient) -> bool:
    """Settle a message whose worker is gone by how far it came; false where the task will take it up again."""
    if message.handed_over_at is None and _has_open_task(session, recipient.broadcast_id):
        return False
    outbox.settle_abandoned(session, message.id, STOPPED_BEFORE)
    return True


def will_be_sent(session: Session, message_id: uuid.UUID) -> bool:
    """Whether a message of the outbox belongs to a broadcast that goes on and will take it up again."""
    broadcast_id = session.scalar(
        select(BroadcastRecipient.broadcast_id).where(BroadcastRecipient.message_id == message_id)
    )
    return broadcast_id is not None and _has_open_task(session, broadcast_id)


def _has_open_task(session: Session, broadcast_id: int) -> bool:
    task = session.scalar(
        select(BackgroundJob.status)
        .join(Broadcast, Broadcast.background_job_id == BackgroundJob.id)
        .where(Broadcast.id == broadcast_id)
    )
    return task is not None and not task.terminal


def _at_carrier(runtime: Runtime, silent: _Silent) -> CarrierMessage | None:
    """The message at the carrier: by its sid, else the one with the same text that no other recipient has."""
    if silent.message.provider_id is not None:
        return runtime.carrier.fetch_message(silent.message.provider_id)
    recipient = silent.recipient
    if recipient.address is None or recipient.from_number is None:
        return None
    candidates = runtime.carrier.find_messages(recipient.address, recipient.from_number, silent.since)
    same = [found for found in candidates if text_hash(found.body) == recipient.body_hash]
    with runtime.database.tenant(silent.ref.business_id) as session:
        taken = set(
            session.scalars(
                select(OutgoingMessage.provider_id).where(
                    OutgoingMessage.provider_id.in_([found.sid for found in same])
                )
            )
        )
    return next((found for found in same if found.sid not in taken), None)
