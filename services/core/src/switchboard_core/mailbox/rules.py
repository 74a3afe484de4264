"""Which rule takes a message. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from switchboard_core.mailbox.imap import MessageHeader
from switchboard_core.mailbox.schemas import Rule, RuleMatch


def first_match(rules: Iterable[Rule], header: MessageHeader, now: datetime) -> Rule | None:
    """The first rule that a message meets.

    Args:
        rules: in their order.
        header: of the message.
        now: with its zone.
    """
    return next((rule for rule in rules if matches(rule.match, header, now)), None)


def matches(match: RuleMatch, header: MessageHeader, now: datetime) -> bool:
    """Whether a message meets every condition. One whose age is not known is not old."""
    texts = (
        (match.sender, header.sender),
        (match.recipient, header.recipients),
        (match.subject, header.subject),
        (match.list_id, header.list_id or ""),
    )
    if any(wanted is not None and wanted.casefold() not in field.casefold() for wanted, field in texts):
        return False
    if match.has_attachment is not None and match.has_attachment != header.has_attachment:
        return False
    if match.older_than_days is None:
        return True
    return header.when is not None and header.when < now - timedelta(days=match.older_than_days)
