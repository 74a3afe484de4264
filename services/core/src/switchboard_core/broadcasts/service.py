"""The verbs of broadcasts: preview, start, look."""

from sqlalchemy import ColumnElement, String, case, cast, func, literal, select
from sqlalchemy.orm import Session

from switchboard_core.broadcasts.models import Broadcast, BroadcastRecipient
from switchboard_core.broadcasts.schemas import (
    BroadcastContent,
    BroadcastCounts,
    BroadcastCreate,
    BroadcastPayload,
    BroadcastPreview,
    BroadcastView,
    RecipientView,
)
from switchboard_core.broadcasts.selection import count_by_reason, skip_reason
from switchboard_core.broadcasts.sms import segments
from switchboard_core.broadcasts.states import SkipReason
from switchboard_core.broadcasts.template import Person, fill
from switchboard_core.db import tenant_of
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.models import Lead
from switchboard_core.leads.service import count, newest_id
from switchboard_core.logs import get_logger
from switchboard_core.outbox import accounts
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.states import Channel, MessageState
from switchboard_core.runtime import Runtime
from switchboard_core.settings import Settings
from switchboard_core.tenancy.models import Business

log = get_logger(__name__)

GONE = "Its task is gone; what was not sent then is not sent any more."


class BroadcastNotFoundError(LookupError):
    """The business has no such broadcast."""


class BroadcastRefusedError(Exception):
    """The broadcast cannot be started; the message says why and what to do."""


def preview(session: Session, content: BroadcastContent) -> BroadcastPreview:
    """What a broadcast would do, now; changes nothing."""
    numbers = count_by_reason(session, content.channel, content.filter)
    sample = _sample(session, content)
    text = fill(content.body, sample) if sample else None
    return BroadcastPreview(
        selected=sum(numbers.values()),
        would_be_sent=numbers.get(None, 0),
        skipped={reason: number for reason, number in numbers.items() if reason is not None},
        sample=text,
        sample_subject=fill(content.subject, sample) if sample and content.subject else None,
        sample_segments=segments(text) if text and content.channel is Channel.SMS else None,
    )


def _sample(session: Session, content: BroadcastContent) -> Person | None:
    lead = session.scalars(
        select(Lead)
        .where(
            Lead.business_id == tenant_of(session), *content.filter.clauses(), skip_reason(content.channel).is_(None)
        )
        .order_by(Lead.id)
        .limit(1)
    ).first()
    return None if lead is None else person(lead)


def person(lead: Lead) -> Person:
    """What a template can say of a lead."""
    return Person(lead.name, lead.phone, lead.email, lead.attributes)


def start(session: Session, runtime: Runtime, order: BroadcastCreate) -> Broadcast:
    """Create a broadcast and its task in one transaction; a worker does the rest.

    Raises:
        BroadcastRefusedError: the filter selects nobody, or there is nothing to send from.
        SchemaTooOldError: the database has to be migrated first.
    """
    business = session.get_one(Business, tenant_of(session))
    _require_a_sender(session, order, business)
    selected = count(session, order.filter)
    if selected == 0:
        msg = "The filter selects no lead, so nothing was created: change it, or import leads first."
        raise BroadcastRefusedError(msg)
    limit = limit_per_minute(runtime.settings, order.channel)
    broadcast = Broadcast(
        business_id=business.id,
        name=order.name,
        channel=order.channel,
        subject=order.subject,
        body=order.body,
        from_number=order.from_number,
        filter=order.filter.model_dump(mode="json", exclude_defaults=True),
        up_to_id=newest_id(session, order.filter),
        per_minute=min(order.per_minute or limit, limit),
    )
    session.add(broadcast)
    session.flush()
    task = runtime.tasks.create(
        session, "broadcast", BroadcastPayload(broadcast_id=broadcast.id).model_dump(), total=selected
    )
    broadcast.background_job_id = task.id
    session.flush()
    log.info("broadcast created", broadcast_id=broadcast.id, task_id=task.id, leads=selected, channel=order.channel)
    return broadcast


def _require_a_sender(session: Session, order: BroadcastCreate, business: Business) -> None:
    if order.channel is Channel.SMS:
        if not order.from_number and not business.caller_ids:
            msg = "There is no number to send from: pass from_number, or set caller_ids with PATCH /api/business."
            raise BroadcastRefusedError(msg)
        return
    try:
        accounts.get(session)
    except accounts.AccountError as error:
        raise BroadcastRefusedError(str(error)) from None


def limit_per_minute(settings: Settings, channel: Channel) -> float:
    """Messages a minute that a business may send by a channel, all its broadcasts together."""
    return settings.sms_per_minute if channel is Channel.SMS else settings.broadcast_mails_per_minute


def get(session: Session, broadcast_id: int) -> Broadcast:
    """A broadcast of the session's business.

    Raises:
        BroadcastNotFoundError: it has no such broadcast.
    """
    broadcast = session.get(Broadcast, broadcast_id)
    if broadcast is None:
        msg = f"There is no broadcast {broadcast_id}."
        raise BroadcastNotFoundError(msg)
    return broadcast


def list_broadcasts(session: Session, *, before_id: int | None = None, limit: int = 50) -> list[Broadcast]:
    """Broadcasts of the session's business, newest first, from below ``before_id``."""
    query = select(Broadcast).order_by(Broadcast.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(Broadcast.id < before_id)
    return list(session.scalars(query))


def view(session: Session, broadcast: Broadcast) -> BroadcastView:
    """A broadcast with its counts, which are its recipients."""
    task = session.get(BackgroundJob, broadcast.background_job_id) if broadcast.background_job_id else None
    status, reason = _status(broadcast, task)
    return BroadcastView(
        id=broadcast.id,
        name=broadcast.name,
        channel=broadcast.channel,
        status=status,
        reason=reason,
        task_id=broadcast.background_job_id,
        subject=broadcast.subject,
        body=broadcast.body,
        from_number=broadcast.from_number,
        per_minute=broadcast.per_minute,
        counts=counts(session, broadcast.id),
        created_at=broadcast.created_at,
        finished_at=broadcast.finished_at or (task.finished_at if task else None),
    )


def _status(broadcast: Broadcast, task: BackgroundJob | None) -> tuple[JobStatus, str | None]:
    """The kernel may end a task that could not end itself, so the task is asked first as long as it is there."""
    if task is not None:
        return task.status, task.reason
    if broadcast.status.terminal:
        return broadcast.status, broadcast.reason
    return JobStatus.FAILED, GONE


def state_of() -> ColumnElement[str]:
    """Where a recipient's message is, from its row and the one in the outbox joined to it."""
    return case(
        (BroadcastRecipient.skip_reason.is_not(None), MessageState.SKIPPED.value),
        else_=func.coalesce(cast(OutgoingMessage.state, String), literal(MessageState.QUEUED.value)),
    )


def counts(session: Session, broadcast_id: int) -> BroadcastCounts:
    """The recipients of a broadcast of the session's business by what became of them."""
    state = state_of().label("state")
    rows = session.execute(
        select(state, BroadcastRecipient.skip_reason, func.count())
        .outerjoin(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(BroadcastRecipient.broadcast_id == broadcast_id)
        .group_by(state, BroadcastRecipient.skip_reason)
    ).all()
    found = {name: sum(number for state, _, number in rows if state == name) for name in MessageState}
    return BroadcastCounts(
        total=sum(found.values()),
        skipped_by_reason={SkipReason(reason): number for _, reason, number in rows if reason is not None},
        **{state.value: number for state, number in found.items()},
    )


def recipients(
    session: Session, broadcast_id: int, *, state: MessageState | None = None, after_id: int = 0, limit: int = 50
) -> list[RecipientView]:
    """Recipients of a broadcast of the session's business, from behind ``after_id``."""
    found = state_of().label("state")
    query = (
        select(BroadcastRecipient, found, OutgoingMessage.reason, OutgoingMessage.sent_at)
        .outerjoin(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(BroadcastRecipient.broadcast_id == broadcast_id, BroadcastRecipient.id > after_id)
        .order_by(BroadcastRecipient.id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(found == state.value)
    return [
        RecipientView(
            id=row.id,
            lead_id=row.lead_id,
            address=row.address,
            state=MessageState(now),
            skip_reason=row.skip_reason,
            reason=row.skip_reason.sentence if row.skip_reason else reason,
            sent_at=sent_at,
        )
        for row, now, reason, sent_at in session.execute(query)
    ]
