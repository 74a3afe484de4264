"""Settles messages that an attempt has left behind and that no task takes up again.

A task that goes on looks after its own messages, and one that is cancelled or fails settles them before it ends. What
is left is a message whose task is gone without a word: a restored database, a task deleted by hand, a defect.
"""

import uuid
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.outbox import service
from switchboard_core.outbox.states import MessageState
from switchboard_core.runtime import Runtime

BATCH = 1000

STOPPED_BEFORE = "Its worker stopped before it was sent, and its task has ended."

WillBeSent = Callable[[Session, uuid.UUID], bool]
"""Whether a message belongs to a task that goes on and will take it up again; each domain knows its own messages."""


def settle_abandoned_messages(runtime: Runtime, domains: Sequence[WillBeSent]) -> int:
    """Settle messages whose lease has run out while they were being sent; returns how many.

    What was handed over is uncertain, whoever asks. What was not was certainly not sent: it is left to its task, and
    has failed where no task goes on.

    Args:
        runtime: of the process.
        domains: of those that send messages.
    """
    with runtime.database.crossing() as session:
        refs = crossing.abandoned_messages(session, BATCH)
    settled = 0
    for ref in refs:
        with runtime.database.tenant(ref.business_id) as session:
            settled += _settle(session, ref.id, domains)
    return settled


def _settle(session: Session, message_id: uuid.UUID, domains: Sequence[WillBeSent]) -> bool:
    message = service.get(session, message_id)
    if message.state is not MessageState.SENDING:
        return False
    if message.handed_over_at is None and any(will_be_sent(session, message_id) for will_be_sent in domains):
        return False
    service.settle_abandoned(session, message_id, STOPPED_BEFORE)
    return service.get(session, message_id).state is not MessageState.SENDING
