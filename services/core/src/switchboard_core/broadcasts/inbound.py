"""What people write back: STOP and START count, once each; everything else is counted and forgotten."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.broadcasts import opt_outs
from switchboard_core.broadcasts.models import IncomingMessage
from switchboard_core.db import set_tenant, tenant_of
from switchboard_core.logs import get_logger, mask_number
from switchboard_core.metrics import INBOUND_MESSAGES
from switchboard_core.outbox.states import Channel
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import record_audit

log = get_logger(__name__)

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START_WORDS = frozenset({"START", "UNSTOP"})
ANSWERED_STOP = "answered STOP"
LONGEST_SID = 64
REMEMBERED = timedelta(days=30)
"""For so long a message that comes again is known. The carrier itself repeats one within minutes."""


class Wish(StrEnum):
    """What a message asks for."""

    STOP = "stop"
    START = "start"
    OTHER = "other"


def wish_of(form: Mapping[str, str]) -> Wish:
    """What an inbound message asks for: the carrier's own verdict where it gives one, else the text's only word."""
    verdict = form.get("OptOutType", "").strip().upper()
    word = verdict or form.get("Body", "").strip().strip(".!\"'").upper()
    if word in STOP_WORDS:
        return Wish.STOP
    return Wish.START if word in START_WORDS else Wish.OTHER


def sid_of(form: Mapping[str, str]) -> str | None:
    """The carrier's id of an inbound message; None where there is none that can be remembered."""
    sid = form.get("MessageSid", "")
    return sid if sid.isascii() and sid.isalnum() and len(sid) <= LONGEST_SID else None


def on_message(runtime: Runtime, form: Mapping[str, str]) -> Wish:
    """Apply an inbound SMS, once, to every business that may have written to this person from this number.

    A signature says who sent a webhook and not when. So a START that comes again, from the carrier that missed our
    answer or from somebody who recorded it, must not undo a STOP that came since.
    """
    wish, sid = wish_of(form), sid_of(form)
    INBOUND_MESSAGES.labels(wish=wish.value).inc()
    theirs, ours = form.get("From", ""), form.get("To", "")
    if wish is Wish.OTHER or not theirs or not ours:
        return wish
    if wish is Wish.START and sid is None:
        # It may be an old one. A STOP of unknown age is honoured: that is the side on which to err.
        log.warning("START without a MessageSid: not applied", sender=mask_number(theirs))
        return wish
    # One transaction, so that a message which one business knows was applied to all that were meant: a business that
    # came to share the number later has no part in it.
    with runtime.database.crossing() as session:
        repeated = sid is not None and crossing.incoming_message(session, sid) is not None
        refs = [] if repeated else crossing.businesses_that_text(session, ours, theirs)
        # In one order: two messages at once would else wait for each other.
        for business_id in sorted(ref.business_id for ref in refs):
            set_tenant(session, business_id)
            if sid is None or _is_first(session, sid):
                _apply(session, wish, theirs)
    log.info("opt-out by SMS", wish=wish.value, businesses=len(refs), repeated=repeated, sender=mask_number(theirs))
    return wish


def _is_first(session: Session, sid: str) -> bool:
    """Remember a message; False where somebody else has applied it, perhaps a moment ago."""
    remembered = session.execute(
        insert(IncomingMessage)
        .values(business_id=tenant_of(session), message_sid=sid)
        .on_conflict_do_nothing()
        .returning(IncomingMessage.message_sid)
    )
    return remembered.first() is not None


def _apply(session: Session, wish: Wish, address: str) -> None:
    if wish is Wish.STOP:
        opt_outs.add(session, Channel.SMS, [address], reason=ANSWERED_STOP)
    else:
        opt_outs.remove_address(session, Channel.SMS, address)
    action = "opt_outs.added" if wish is Wish.STOP else "opt_outs.removed"
    record_audit(session, actor="the person, by SMS", action=action, subject="1 number")


def forget_old_messages(session: Session, limit: int) -> int:
    """Forget messages of the session's business that came longer ago than ``REMEMBERED``, oldest first.

    Args:
        session: bound to the business.
        limit: how many at most.

    Returns:
        How many were forgotten.
    """
    of_business = IncomingMessage.business_id == tenant_of(session)
    old = (
        select(IncomingMessage.message_sid)
        .where(of_business, IncomingMessage.received_at < func.now() - REMEMBERED)
        .order_by(IncomingMessage.received_at)
        .limit(limit)
    )
    gone = session.execute(
        delete(IncomingMessage)
        .where(of_business, IncomingMessage.message_sid.in_(old))
        .returning(IncomingMessage.message_sid)
        .execution_options(synchronize_session=False)
    ).all()
    return len(gone)
