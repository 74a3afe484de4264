"""What broadcasts remember of a lead that is deleted for good: that there was a message, and not to whom."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import String, cast, select, update
from sqlalchemy.orm import Session

from switchboard_core.broadcasts.models import BroadcastRecipient
from switchboard_core.leads.do_not_call import phone_hash_of
from switchboard_core.leads.models import Lead
from switchboard_core.outbox import service as outbox
from switchboard_core.sql import db_now


def forget_addresses(session: Session, lead_ids: Sequence[int], *, undo_days: int) -> int:
    """Erase the addresses of deleted leads from broadcasts and from the outbox, in batches like ``leads.purge``.

    Of an address stays the hash that opt-outs are kept by, so that the link in a mail still opts it out.

    Args:
        session: bound to the business.
        lead_ids: of ``crossing.purgeable_leads``; one that was restored a moment ago is left alone.
        undo_days: how long a deleted lead can be restored.

    Returns:
        How many recipients were made nameless.
    """
    gone = select(Lead.id).where(Lead.id.in_(lead_ids), Lead.deleted_at < db_now() - timedelta(days=undo_days))
    erased = session.execute(
        update(BroadcastRecipient)
        .where(BroadcastRecipient.lead_id.in_(gone), BroadcastRecipient.address.is_not(None))
        .values(
            address=None,
            address_hash=phone_hash_of(BroadcastRecipient.business_id, cast(BroadcastRecipient.address, String)),
            check_at=None,
        )
        .returning(BroadcastRecipient.message_id)
        .execution_options(synchronize_session=False)
    ).all()
    outbox.erase(session, [row.message_id for row in erased if row.message_id is not None])
    return len(erased)
