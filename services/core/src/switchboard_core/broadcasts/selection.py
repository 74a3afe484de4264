"""Which leads of a filter get a message and which do not, and why: once for a preview, once for the recipients."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, func, literal, null, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core.broadcasts.models import Broadcast, BroadcastRecipient
from switchboard_core.broadcasts.opt_outs import address_of, is_out_of
from switchboard_core.broadcasts.states import SkipReason
from switchboard_core.db import tenant_of
from switchboard_core.leads.do_not_call import is_listed_of
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.models import Lead
from switchboard_core.leads.service import select_ids_after
from switchboard_core.outbox.states import Channel

# What every mail server takes; the rest of what RFC 5321 allows is nobody's address.
_MAIL_ADDRESS = r"^[^\s@<>,;:\"\\()\[\]]{1,64}@([^\s@<>,;:\"\\()\[\].]{1,63}\.)+[^\s@<>,;:\"\\()\[\].]{2,63}$"


def lead_address(channel: Channel) -> ColumnElement[str]:
    """Where a lead gets messages of a channel; null where it cannot."""
    if channel is Channel.SMS:
        return func.nullif(Lead.phone, "")
    address = address_of(Lead.email)
    return case((address.regexp_match(_MAIL_ADDRESS), address), else_=null())


def skip_reason(channel: Channel) -> ColumnElement[str | None]:
    """Why a lead gets no message; null where it does. Knows nothing of duplicates."""
    address = lead_address(channel)
    return case(
        (address.is_(None), SkipReason.NO_ADDRESS.value),
        (is_out_of(channel, Lead.business_id, address), SkipReason.OPTED_OUT.value),
        (is_listed_of(Lead.business_id, Lead.phone), SkipReason.DO_NOT_CALL.value),
        else_=null(),
    )


def count_by_reason(session: Session, channel: Channel, selection: LeadFilter) -> dict[SkipReason | None, int]:
    """How many leads of a filter would get a message (None), and how many not, by reason."""
    leads = (
        select(Lead.id, lead_address(channel).label("address"), skip_reason(channel).label("reason"))
        .where(Lead.business_id == tenant_of(session), *selection.clauses())
        .subquery()
    )
    nth = func.row_number().over(partition_by=(leads.c.address, leads.c.reason), order_by=leads.c.id)
    numbered = select(leads.c.reason, nth.label("nth")).subquery()
    again = numbered.c.reason.is_(None) & (numbered.c.nth > 1)
    reason = case((again, SkipReason.DUPLICATE.value), else_=numbered.c.reason).label("reason")
    rows = session.execute(select(reason, func.count()).group_by(reason))
    return {SkipReason(found) if found else None: number for found, number in rows}


@dataclass(frozen=True)
class Added:
    """Leads that got their place in a broadcast.

    Attributes:
        last_id: the last lead seen; None when there are no more.
        skipped: how many of them get no message.
    """

    last_id: int | None
    skipped: int = 0


def add_recipients(session: Session, broadcast: Broadcast, after_id: int, limit: int) -> Added:
    """Give the next leads of a broadcast's filter their place in it, each exactly one.

    Args:
        session: bound to the business.
        broadcast: whose recipients they become.
        after_id: the last lead seen; 0 at the start.
        limit: how many leads.
    """
    selection = LeadFilter.model_validate(broadcast.filter)
    ids = select_ids_after(session, selection, after_id, limit, up_to_id=broadcast.up_to_id)
    if not ids:
        return Added(None)
    leads = (Lead.business_id == broadcast.business_id, Lead.id.in_(ids))
    reason = skip_reason(broadcast.channel)
    # An address that is taken is refused by the unique index, whichever lead of whatever slice took it.
    skipped = _insert(session, broadcast, reason, *leads)
    taken = select(BroadcastRecipient.lead_id).where(BroadcastRecipient.broadcast_id == broadcast.id)
    duplicate = literal(SkipReason.DUPLICATE.value)
    skipped += _insert(session, broadcast, duplicate, *leads, Lead.id.not_in(taken))
    return Added(ids[-1], skipped)


def _insert(
    session: Session,
    broadcast: Broadcast,
    reason: ColumnElement[str | None] | ColumnElement[str],
    *leads: ColumnElement[bool],
) -> int:
    """Insert recipients; returns how many of them get no message."""
    columns = {
        "business_id": literal(broadcast.business_id),
        "broadcast_id": literal(broadcast.id),
        "lead_id": Lead.id,
        "address": lead_address(broadcast.channel),
        "skip_reason": reason,
        "done_at": case((reason.is_not(None), func.clock_timestamp()), else_=null()),
    }
    inserted = session.scalars(
        insert(BroadcastRecipient)
        .from_select(list(columns), select(*columns.values()).where(*leads).order_by(Lead.id))
        .on_conflict_do_nothing()
        .returning(BroadcastRecipient.skip_reason)
    )
    return sum(found is not None for found in inserted)
