"""The unsubscribe link of a mail: whoever has its token may opt its address out, and do nothing else."""

from switchboard_core import crossing
from switchboard_core.broadcasts import opt_outs
from switchboard_core.broadcasts.models import BroadcastRecipient
from switchboard_core.broadcasts.send import token_hash
from switchboard_core.logs import get_logger
from switchboard_core.outbox.states import Channel
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.models import Business
from switchboard_core.tenancy.service import record_audit

log = get_logger(__name__)

BY_LINK = "unsubscribed by the link"


class UnknownLinkError(LookupError):
    """There is no mail with this link."""


def sender_of(runtime: Runtime, token: str) -> str:
    """The name of the business whose mail has this link.

    Raises:
        UnknownLinkError: there is none.
    """
    ref = _find(runtime, token)
    with runtime.database.tenant(ref.business_id) as session:
        return session.get_one(Business, ref.business_id).name


def unsubscribe(runtime: Runtime, token: str) -> str:
    """Send the address of this mail nothing any more; doing so twice does no harm. Returns the business's name.

    Raises:
        UnknownLinkError: there is no such link.
    """
    ref = _find(runtime, token)
    with runtime.database.tenant(ref.business_id) as session:
        recipient = session.get_one(BroadcastRecipient, ref.id)
        if recipient.address is not None:
            opt_outs.add(session, Channel.EMAIL, [recipient.address], reason=BY_LINK)
        elif recipient.address_hash is not None:
            opt_outs.add_hashes(session, Channel.EMAIL, [bytes(recipient.address_hash)], reason=BY_LINK)
        record_audit(session, actor="the person, by link", action="opt_outs.added", subject="1 address")
        name = session.get_one(Business, ref.business_id).name
    log.info("unsubscribed by link", recipient_id=ref.id, business_id=ref.business_id)
    return name


def _find(runtime: Runtime, token: str) -> crossing.Ref:
    with runtime.database.crossing() as session:
        ref = crossing.unsubscribe_link(session, token_hash(token))
    if ref is None:
        raise UnknownLinkError
    return ref
