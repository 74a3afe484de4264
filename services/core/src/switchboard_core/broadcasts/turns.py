"""Whose turn it is, and whether it may really go: the two short transactions before a message leaves."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Subquery, and_, case, exists, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core.broadcasts.models import Broadcast, BroadcastRecipient, MessageRate
from switchboard_core.broadcasts.opt_outs import is_out_of
from switchboard_core.broadcasts.pace import Bucket
from switchboard_core.broadcasts.service import limit_per_minute
from switchboard_core.broadcasts.states import SkipReason
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.do_not_call import is_listed_of
from switchboard_core.leads.models import Lead
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.states import Channel, MessageState
from switchboard_core.settings import Settings
from switchboard_core.sql import after_seconds, db_now


@dataclass(frozen=True)
class Turn:
    """A message that may be sent now, if the last look agrees."""

    broadcast: Broadcast
    recipient: BroadcastRecipient
    message: OutgoingMessage


@dataclass(frozen=True)
class Wait:
    """Nothing may be sent for some seconds: the pace, or messages that are put off."""

    seconds: float


@dataclass(frozen=True)
class Over:
    """Every recipient has had its turn."""


@dataclass(frozen=True)
class Stopped:
    """The task was cancelled, or has ended, since the slice began."""


@dataclass(frozen=True)
class Attempt:
    """What is remembered of an attempt, to recognise it by afterwards.

    Attributes:
        from_number: of an SMS.
        body_hash: SHA-256 of the text.
        unsubscribe_hash: SHA-256 of the token in a mail's link.
    """

    from_number: str | None = None
    body_hash: bytes | None = None
    unsubscribe_hash: bytes | None = None


def take_turn(session: Session, settings: Settings, broadcast_id: int) -> Turn | Wait | Over | Stopped:
    """Take the next recipient of a broadcast, and the tokens for one message.

    Args:
        session: in which nothing else happens: commit it before anything leaves.
        settings: of the process.
        broadcast_id: a broadcast of the session's business.
    """
    broadcast = session.get_one(Broadcast, broadcast_id, with_for_update={"key_share": True}, populate_existing=True)
    if not session.scalar(select(exists().where(BackgroundJob.id == broadcast.background_job_id, _WORKING))):
        return Stopped()
    shared = _rate(session, broadcast)
    now = session.execute(select(db_now())).scalar_one()
    recipient = _next_due(session, broadcast_id, now)
    if recipient is None:
        return _until_the_next(session, broadcast_id, now)
    limit = limit_per_minute(settings, broadcast.channel)
    own = Bucket(broadcast.rate_tokens, broadcast.rate_refilled_at).refilled(now, broadcast.per_minute)
    common = Bucket(shared.rate_tokens, shared.rate_refilled_at).refilled(now, limit)
    if wait_s := max(own.wait_s(broadcast.per_minute), common.wait_s(limit)):
        return Wait(wait_s)
    broadcast.rate_tokens, broadcast.rate_refilled_at = own.taken().tokens, own.at
    shared.rate_tokens, shared.rate_refilled_at = common.taken().tokens, common.at
    message = outbox.put(
        session,
        channel=broadcast.channel,
        dedupe_key=f"broadcast:{broadcast_id}:recipient:{recipient.id}",
        recipient=recipient.address or "",
    )
    recipient.message_id = message.id
    session.flush()
    return Turn(broadcast, recipient, message)


def _rate(session: Session, broadcast: Broadcast) -> MessageRate:
    """The business's limiter, locked: its broadcasts take turns here."""
    session.execute(
        insert(MessageRate)
        .values(business_id=broadcast.business_id, channel=broadcast.channel)
        .on_conflict_do_nothing()
    )
    key = (broadcast.business_id, broadcast.channel)
    return session.get_one(MessageRate, key, with_for_update={"key_share": True}, populate_existing=True)


_WORKING = and_(BackgroundJob.status == JobStatus.RUNNING, BackgroundJob.cancel_requested_at.is_(None))
_OPEN = (BroadcastRecipient.done_at.is_(None), BroadcastRecipient.skip_reason.is_(None))
_WAITS_UNTIL = case(
    (OutgoingMessage.state == MessageState.QUEUED, OutgoingMessage.run_after),
    (OutgoingMessage.state == MessageState.SENDING, OutgoingMessage.lease_until),
    else_=null(),
)


def _next_due(session: Session, broadcast_id: int, now: datetime) -> BroadcastRecipient | None:
    # A message that is claimed and whose lease has run out is the outbox's to judge: it knows how far it came.
    waiting = OutgoingMessage.state.in_((MessageState.QUEUED, MessageState.SENDING))
    due = or_(OutgoingMessage.id.is_(None), and_(waiting, func.coalesce(_WAITS_UNTIL, now) <= now))
    return session.scalars(
        select(BroadcastRecipient)
        .outerjoin(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(BroadcastRecipient.broadcast_id == broadcast_id, *_OPEN, due)
        .order_by(BroadcastRecipient.id)
        .limit(1)
    ).first()


def _until_the_next(session: Session, broadcast_id: int, now: datetime) -> Wait | Over:
    next_at = session.scalar(
        select(func.min(_WAITS_UNTIL))
        .select_from(BroadcastRecipient)
        .join(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(BroadcastRecipient.broadcast_id == broadcast_id, *_OPEN)
    )
    return Over() if next_at is None else Wait(max(0.1, (next_at - now).total_seconds()))


def release(
    session: Session, settings: Settings, recipient_id: int, channel: Channel, attempt: Attempt
) -> SkipReason | None:
    """The last look: in one statement, whether the message is still wanted, and the mark that it goes.

    Asks the opt-outs, the do-not-call list, the lead and the task at the moment of the statement. Commit it before
    the first byte leaves.

    Args:
        session: in which nothing else happens.
        settings: of the process.
        recipient_id: whose turn it is.
        channel: of the broadcast.
        attempt: what is about to leave.

    Returns:
        Why it must not go, which is noted; None: it may go.
    """
    reason = _reason_not_to(recipient_id, channel)
    marked = session.execute(
        update(BroadcastRecipient)
        .where(BroadcastRecipient.id == recipient_id, BroadcastRecipient.skip_reason.is_(None))
        .values(
            skip_reason=reason.c.reason,
            released_at=case((reason.c.reason.is_(None), db_now()), else_=BroadcastRecipient.released_at),
            check_at=case((reason.c.reason.is_(None), after_seconds(settings.settle_after_seconds)), else_=null()),
            from_number=attempt.from_number,
            body_hash=attempt.body_hash,
            unsubscribe_hash=attempt.unsubscribe_hash,
        )
        .where(reason.c.id == BroadcastRecipient.id)
        .returning(BroadcastRecipient.skip_reason)
        .execution_options(synchronize_session=False)
    ).first()
    return SkipReason.CALLED_OFF if marked is None else marked.skip_reason


def _reason_not_to(recipient_id: int, channel: Channel) -> Subquery:
    recipient = BroadcastRecipient.__table__.alias("wanted")
    address = recipient.c.address
    reason = case(
        (func.coalesce(_WORKING, False).is_(False), literal(SkipReason.CALLED_OFF.value)),
        (or_(Lead.id.is_(None), Lead.deleted_at.is_not(None)), literal(SkipReason.LEAD_DELETED.value)),
        (is_out_of(channel, recipient.c.business_id, address), literal(SkipReason.OPTED_OUT.value)),
        (is_listed_of(Lead.business_id, Lead.phone), literal(SkipReason.DO_NOT_CALL.value)),
        else_=null(),
    )
    return (
        select(recipient.c.id, reason.label("reason"))
        .join(Broadcast, Broadcast.id == recipient.c.broadcast_id)
        .outerjoin(BackgroundJob, BackgroundJob.id == Broadcast.background_job_id)
        .outerjoin(Lead, Lead.id == recipient.c.lead_id)
        .where(recipient.c.id == recipient_id)
        .subquery("looked_at")
    )
