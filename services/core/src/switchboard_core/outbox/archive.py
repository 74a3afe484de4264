"""Settles mails whose answer was lost, without sending a second one.

SMTP cannot be asked what became of a mail. A blind copy to an archive, in the same transaction, can be looked for by
its Message-ID. Found, the server has accepted the mail. Not found proves something only if the archive demonstrably
works, so absence counts when a grace has passed *and* a later mail of the same business, to the same archive, is there.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard_core.egress import Egress
from switchboard_core.mailbox.errors import MailboxError
from switchboard_core.mailbox.imap import CHECK_TIMEOUT_S, ImapSession
from switchboard_core.outbox import accounts, service
from switchboard_core.outbox.accounts import AccountError, ArchivePlace
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.send import SendResult
from switchboard_core.outbox.states import MessageEvent, MessageState
from switchboard_core.runtime import Runtime
from switchboard_core.settings import Settings
from switchboard_core.sql import after_seconds

HasMessage = Callable[[str], bool | None]
"""Whether the archive holds a mail with this Message-ID; None: it cannot be looked into now."""

FOUND = "Its answer was lost, but its copy is in the archive: the mail server had accepted it."
ABSENT = "Its answer was lost, and no copy came to the archive although a later one did: it is sent again."


@dataclass(frozen=True)
class _Open:
    """An uncertain mail, and what can be held against it.

    Attributes:
        header: its Message-ID.
        attempt: the fence of the attempt that is in doubt.
        grace_over: whether its copy should be there by now.
        control: Message-ID of a later mail whose copy went to the same archive and which was accepted.
    """

    header: str
    attempt: int
    grace_over: bool
    control: str | None


def settle_uncertain(
    runtime: Runtime, business_id: int, message_id: uuid.UUID, has_message: HasMessage | None = None
) -> SendResult:
    """Look for an uncertain mail in its archive, and settle it if that tells.

    No transaction may be open here, as in ``outbox.send``.

    Args:
        runtime: of the process.
        business_id: whose message it is.
        message_id: the row in the outbox.
        has_message: looks into the archive; by default over IMAP, as the mail account says.

    Returns:
        ``sent`` or ``queued`` (it may be sent again) if it is settled; otherwise ``uncertain``, with ``retry_in_s``
        where looking again may help.

    Raises:
        MessageNotFoundError: the business has no such message.
    """
    settings = runtime.settings
    with runtime.database.tenant(business_id) as session:
        message = service.get(session, message_id)
        doubt = _doubt(session, settings, message)
        look = has_message or _over_imap(session, settings, message)
    if doubt is None or look is None:
        return SendResult(message.state, message.reason)
    again = SendResult(message.state, message.reason, retry_in_s=settings.outbox_archive_grace_seconds)
    event, reason = _verdict(doubt, look)
    if event is None:
        return again
    with runtime.database.tenant(business_id) as session:
        settled = service.record(session, message_id, event, service.Evidence(reason), attempt=doubt.attempt)
    return SendResult(settled.state, settled.reason)


def _verdict(doubt: _Open, look: HasMessage) -> tuple[MessageEvent | None, str]:
    found = look(doubt.header)
    if found:
        return MessageEvent.ACCEPTED, FOUND
    if found is None or not doubt.grace_over or doubt.control is None or not look(doubt.control):
        return None, ""
    # Looked for once more: it may have arrived between the two looks.
    return (MessageEvent.ACCEPTED, FOUND) if look(doubt.header) else (MessageEvent.ABSENT, ABSENT)


def _doubt(session: Session, settings: Settings, message: OutgoingMessage) -> _Open | None:
    uncertain = message.state is MessageState.UNCERTAIN and message.archive is not None and message.header is not None
    if not uncertain or message.header is None:
        return None
    grace_over = session.scalar(
        select(OutgoingMessage.handed_over_at < after_seconds(-settings.outbox_archive_grace_seconds)).where(
            OutgoingMessage.id == message.id
        )
    )
    control = session.scalar(
        select(OutgoingMessage.header)
        .where(
            OutgoingMessage.business_id == message.business_id,
            OutgoingMessage.archive == message.archive,
            OutgoingMessage.handed_over_at > message.handed_over_at,
            OutgoingMessage.state == MessageState.SENT,
        )
        .order_by(OutgoingMessage.handed_over_at)
        .limit(1)
    )
    return _Open(message.header, message.attempt, bool(grace_over), control)


def _over_imap(session: Session, settings: Settings, message: OutgoingMessage) -> HasMessage | None:
    """Look into the archive that got the copy, if it is still the account's."""
    try:
        sender = accounts.sender(session, settings)
    except AccountError:
        return None
    if sender.place is None or sender.archive != message.archive:
        return None
    return in_mailbox(sender.place, settings)


def in_mailbox(place: ArchivePlace, settings: Settings) -> HasMessage:
    """Looks for mails in a folder over IMAP."""

    def has_message(header: str) -> bool | None:
        try:
            with ImapSession(
                place.account, Egress(settings.trusted_hosts), read_timeout_s=settings.smtp_timeout_seconds
            ) as mailbox:
                return mailbox.has_message(header, place.folder)
        except MailboxError:
            return None

    return has_message


def check(place: ArchivePlace, settings: Settings) -> None:
    """Log in to an archive and open its folder.

    Raises:
        MailboxError: it does not work; the sentence says why.
    """
    with ImapSession(
        place.account,
        Egress(settings.trusted_hosts),
        read_timeout_s=settings.smtp_timeout_seconds,
        session_timeout_s=CHECK_TIMEOUT_S,
    ) as mailbox:
        mailbox.select(place.folder, readonly=True)
