"""The verbs of the outbox. Each works in the session's transaction; who sends is ``outbox.send``."""

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core.db import after_commit, tenant_of
from switchboard_core.logs import get_logger
from switchboard_core.metrics import OUTGOING_MESSAGES
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.states import UNFENCED, Channel, MessageEvent, MessageState, next_state
from switchboard_core.sql import after_seconds, db_now

log = get_logger(__name__)

_HEADER = re.compile(r"<([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})@[^<>@\s]+>", re.IGNORECASE)

LOST = "Whether it arrived is not known: its answer was lost after it was handed over."


class MessageNotFoundError(LookupError):
    """The business has no such message."""


class NotResendableError(Exception):
    """The message is on its way, has arrived, or was deleted: sending it again would be wrong."""


@dataclass(frozen=True)
class Evidence:
    """What came with an event; whatever is None is not known.

    Attributes:
        reason: one sentence for people, without address and content.
        provider_id: the carrier's id of an SMS.
        retry_in_s: seconds until the next try of a message that goes back to its queue; None: at once, and the try
            is not counted.
    """

    reason: str | None = None
    provider_id: str | None = None
    retry_in_s: float | None = None


NOTHING = Evidence()


@dataclass(frozen=True)
class Claim:
    """What came of a claim.

    Attributes:
        message: as it is now.
        mine: whether the caller may send it; its fence is ``message.attempt``.
        wait_s: otherwise, in how many seconds asking again makes sense; None: it is settled, or not ours to send.
    """

    message: OutgoingMessage
    mine: bool
    wait_s: float | None = None


def put(session: Session, *, channel: Channel, dedupe_key: str, recipient: str) -> OutgoingMessage:
    """Put a message into the outbox, or return the one that has its key already, whatever became of it.

    Args:
        session: bound to the business.
        channel: how it travels.
        dedupe_key: what it is for; one message per business and key, ever.
        recipient: address or E.164 number.
    """
    business_id = tenant_of(session)
    session.execute(
        insert(OutgoingMessage)
        .values(id=uuid.uuid4(), business_id=business_id, channel=channel, dedupe_key=dedupe_key, recipient=recipient)
        .on_conflict_do_nothing(index_elements=["business_id", "dedupe_key"])
    )
    return session.scalars(
        select(OutgoingMessage).where(
            OutgoingMessage.business_id == business_id, OutgoingMessage.dedupe_key == dedupe_key
        )
    ).one()


def get(session: Session, message_id: uuid.UUID, *, lock: bool = False) -> OutgoingMessage:
    """A message of the session's business.

    Raises:
        MessageNotFoundError: it has no such message.
    """
    message = session.get(
        OutgoingMessage, message_id, with_for_update={"key_share": True} if lock else None, populate_existing=True
    )
    if message is None or message.business_id != tenant_of(session):
        msg = f"There is no message {message_id}."
        raise MessageNotFoundError(msg)
    return message


def claim(session: Session, message_id: uuid.UUID, *, lease_s: float) -> Claim:
    """Take a message for sending, if nobody has it and nothing of it may have left.

    A claim whose lease has run out is settled by what is known: before it handed the message over nothing was sent and
    the message is claimed anew; after that it is ``uncertain``.

    Args:
        session: in which nothing else happens: commit it before anything leaves.
        message_id: the message.
        lease_s: seconds until others may take it.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    message = get(session, message_id, lock=True)
    now = session.scalars(select(db_now())).one()
    if wait_s := _wait_s(message, now):
        return Claim(message, mine=False, wait_s=wait_s)
    if message.state is MessageState.SENDING and message.handed_over_at is not None:
        message = _move(session, message, MessageEvent.ANSWER_LOST, Evidence(reason=LOST))
    if message.erased_at is not None or next_state(message.state, MessageEvent.CLAIMED) is None:
        return Claim(message, mine=False)
    message.attempt += 1
    message.lease_until = after_seconds(lease_s)
    message.handed_over_at = message.archive = None
    return Claim(_move(session, message, MessageEvent.CLAIMED, NOTHING), mine=True)


def _wait_s(message: OutgoingMessage, now: datetime) -> float | None:
    """Seconds until the message may be claimed, where it may not be yet."""
    until = {MessageState.QUEUED: message.run_after, MessageState.SENDING: message.lease_until}.get(message.state)
    return (until - now).total_seconds() if until is not None and until > now else None


def name_it(session: Session, message_id: uuid.UUID, domain: str) -> str:
    """The Message-ID of a mail: given once, the same in every attempt whatever becomes of the account."""
    header = f"<{message_id}@{domain}>"
    session.execute(
        update(OutgoingMessage)
        .where(OutgoingMessage.id == message_id, OutgoingMessage.header.is_(None))
        .values(header=header)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(select(OutgoingMessage.header).where(OutgoingMessage.id == message_id)).one() or header


def hand_over(
    session: Session, message_id: uuid.UUID, attempt: int, *, lease_s: float, archive: str | None = None
) -> bool:
    """The last look before the byte that makes a message count: whether the attempt may go through with it.

    It can succeed once in an attempt. Commit it before that byte leaves.

    Args:
        session: in which nothing else happens.
        message_id: the message.
        attempt: the claim's fence.
        lease_s: seconds that the answer may take.
        archive: address that gets a blind copy.
    """
    marked = session.execute(
        update(OutgoingMessage)
        .where(
            OutgoingMessage.id == message_id,
            OutgoingMessage.attempt == attempt,
            OutgoingMessage.state == MessageState.SENDING,
            OutgoingMessage.handed_over_at.is_(None),
            OutgoingMessage.erased_at.is_(None),
            OutgoingMessage.lease_until > db_now(),
        )
        .values(handed_over_at=db_now(), lease_until=after_seconds(lease_s), archive=archive)
        .returning(OutgoingMessage.id)
        .execution_options(synchronize_session=False)
    ).first()
    return marked is not None


def record(
    session: Session,
    message_id: uuid.UUID,
    event: MessageEvent,
    evidence: Evidence = NOTHING,
    *,
    attempt: int | None = None,
) -> OutgoingMessage:
    """Apply an event to a message; the same event twice, or one that comes too late, changes nothing.

    Args:
        session: bound to the business.
        message_id: the message.
        event: what happened.
        evidence: what came with it.
        attempt: the fence of the attempt that it is about; without one it is about the message as it is.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    message = get(session, message_id, lock=True)
    same = evidence.provider_id is not None and evidence.provider_id == message.provider_id
    if same and event is MessageEvent.ACCEPTED and message.state is MessageState.FAILED:
        return message  # a callback that says "undelivered" was quicker than the answer to our own request
    if evidence.provider_id is not None and message.provider_id is None:
        message.provider_id = evidence.provider_id  # saving it is never fenced away
    if attempt is not None and attempt != message.attempt and event not in UNFENCED:
        return message
    return _move(session, message, event, evidence)


def _move(session: Session, message: OutgoingMessage, event: MessageEvent, evidence: Evidence) -> OutgoingMessage:
    after = next_state(message.state, event)
    if after is MessageState.QUEUED and message.erased_at is not None:
        after = MessageState.SKIPPED  # deleted while it was on its way
    if after is not None:
        before, message.state = message.state, after
        message.reason = evidence.reason
        message.updated_at = db_now()
        if after is not MessageState.SENDING:
            message.lease_until = None
        if after is MessageState.QUEUED:
            message.tries = 0 if event is MessageEvent.RESENT else message.tries + (evidence.retry_in_s is not None)
            message.run_after = after_seconds(evidence.retry_in_s or 0.0)
        if after.accepted and message.sent_at is None:
            message.sent_at = db_now()
        if after is not before:
            log.info("message moved", message_id=str(message.id), channel=str(message.channel), state=str(after))
            count_moved(session, message.channel, after)
    session.flush()
    session.refresh(message)
    return message


def count_moved(session: Session, channel: Channel, state: MessageState, number: int = 1) -> None:
    """Count messages that came into a state, once the session's transaction is committed."""
    counter = OUTGOING_MESSAGES.labels(channel=str(channel), state=str(state))
    after_commit(session, lambda: counter.inc(number))


def give_up(session: Session, message_id: uuid.UUID, reason: str | None) -> OutgoingMessage:
    """End a message that waits in its queue and that nothing will send before a person does something.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    message = get(session, message_id, lock=True)
    if message.state is not MessageState.QUEUED:
        return message
    return _move(session, message, MessageEvent.REFUSED, Evidence(reason))


def settle_abandoned(session: Session, message_id: uuid.UUID, reason: str) -> float | None:
    """Settle a message that an attempt has left behind and that no task will take up again, by how far it came.

    Handed over, it is ``uncertain``; before that nothing of it was sent, and it has ``failed``.

    Args:
        session: bound to the business.
        message_id: the message.
        reason: shown with a message that was not sent.

    Returns:
        Seconds until its lease runs out, where somebody may still be sending it; None: nobody is any more.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    message = get(session, message_id, lock=True)
    if message.state is not MessageState.SENDING:
        return None
    if wait_s := _wait_s(message, session.scalars(select(db_now())).one()):
        return wait_s
    if message.handed_over_at is not None:
        _move(session, message, MessageEvent.ANSWER_LOST, Evidence(LOST))
    else:
        _move(session, message, MessageEvent.REFUSED, Evidence(reason))
    return None


def requeue(session: Session, message_id: uuid.UUID, *, recipient: str | None = None) -> OutgoingMessage:
    """Have a message sent again because a person wants it: failed, bounced, or with an outcome that nobody knows.

    Args:
        session: bound to the business.
        message_id: the message.
        recipient: where to send it now; by default where it was to go.

    Raises:
        MessageNotFoundError: the business has no such message.
        NotResendableError: it is on its way, has arrived, or was deleted.
    """
    message = get(session, message_id, lock=True)
    now = session.scalars(select(db_now())).one()
    lease_over = message.lease_until is None or message.lease_until <= now
    if message.state is MessageState.SENDING and lease_over:
        event = MessageEvent.ANSWER_LOST if message.handed_over_at else MessageEvent.REFUSED
        message = _move(session, message, event, NOTHING)
    if message.erased_at is not None:
        msg = "It was deleted, and what is deleted is not sent again."
        raise NotResendableError(msg)
    if next_state(message.state, MessageEvent.RESENT) is None:
        msg = f"It is {message.state}: only what failed, bounced or is uncertain can be sent again."
        raise NotResendableError(msg)
    message.recipient = recipient or message.recipient
    return _move(session, message, MessageEvent.RESENT, NOTHING)


def record_bounce(session: Session, message_id_header: str, reason: str) -> bool:
    """Note that a mail came back.

    Args:
        session: bound to the business that got the report.
        message_id_header: Message-ID of the mail that came back, as the report quotes it.
        reason: one sentence for people; addresses in it are kept out of the logs by not being logged.

    Returns:
        Whether it is a mail of this outbox that was not known to have bounced.
    """
    message_id = id_of_header(message_id_header)
    if message_id is None:
        return False
    try:
        before = get(session, message_id, lock=True).state
    except MessageNotFoundError:
        return False
    return record(session, message_id, MessageEvent.BOUNCED, Evidence(reason=reason)).state is not before


def id_of_header(message_id_header: str) -> uuid.UUID | None:
    """The message that a Message-ID names; None where it is none of ours."""
    found = _HEADER.search(message_id_header)
    return uuid.UUID(found[1]) if found else None


def erase(session: Session, message_ids: Sequence[uuid.UUID]) -> None:
    """Forget whom messages were for and why they failed. What was not sent yet is called off, for good."""
    session.execute(
        update(OutgoingMessage)
        .where(OutgoingMessage.id.in_(message_ids), OutgoingMessage.business_id == tenant_of(session))
        .values(
            recipient=None,
            reason=None,
            erased_at=func.coalesce(OutgoingMessage.erased_at, db_now()),
            updated_at=db_now(),
        )
        .execution_options(synchronize_session=False)
    )
    skip(session, message_ids)


def skip(session: Session, message_ids: Sequence[uuid.UUID], reason: str | None = None) -> None:
    """Call off those that still wait in their queue, for good."""
    called_off = session.scalars(
        update(OutgoingMessage)
        .where(
            OutgoingMessage.id.in_(message_ids),
            OutgoingMessage.business_id == tenant_of(session),
            OutgoingMessage.state == MessageState.QUEUED,
        )
        .values(state=MessageState.SKIPPED, reason=reason, updated_at=db_now())
        .returning(OutgoingMessage.channel)
        .execution_options(synchronize_session=False)
    ).all()
    for channel, number in Counter(called_off).items():
        count_moved(session, channel, MessageState.SKIPPED, number)
