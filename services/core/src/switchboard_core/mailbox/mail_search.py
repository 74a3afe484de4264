"""Searching a mailbox with what every IMAP server has: SEARCH, one word at a time, within bounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from switchboard_core.mailbox.errors import MailboxRefusedError
from switchboard_core.mailbox.extraction import Text, clean, readable
from switchboard_core.mailbox.imap import ImapSession
from switchboard_core.mailbox.messages import MessageHeader
from switchboard_core.mailbox.ranking import Find, Kind, root_of

MAX_FOLDERS = 10
MAX_CANDIDATES = 60
"""Mails of a folder whose headers are read: those with most of the words, the newest first."""

MAX_BODIES = 12
"""Mails of a folder whose text is read, for what is shown of it."""

_BODY_BYTES = 16 * 1024


@dataclass
class MailFinds:
    """What was found.

    Attributes:
        finds: mails with one of the terms at least.
        notes: sentences for people about what was not searched.
    """

    finds: list[Find] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_mails(imap: ImapSession, folders: Sequence[str], terms: Sequence[str], late: Callable[[], bool]) -> MailFinds:
    """Mails that have one of the terms.

    Args:
        imap: logged in.
        folders: where to look; those that do not exist are passed over.
        terms: from ``ranking.terms_of``.
        late: whether the time for it is over; what was found by then is the answer.

    Raises:
        MailboxError: the connection broke.
    """
    found = MailFinds()
    there = set(imap.folders()) | {"INBOX"}
    for folder in [name for name in dict.fromkeys(folders) if name in there][:MAX_FOLDERS]:
        if late():
            found.notes.append("The mail server was slow: a part of the mailbox was not searched.")
            break
        try:
            found.finds += _in_folder(imap, folder, terms, late)
        except MailboxRefusedError as error:
            found.notes.append(str(error))
    return found


def _in_folder(imap: ImapSession, folder: str, terms: Sequence[str], late: Callable[[], bool]) -> list[Find]:
    imap.select(folder, readonly=True)
    having: dict[int, set[str]] = {}
    for term in terms:
        if late():
            break
        for uid in imap.search(root_of(term)):
            having.setdefault(uid, set()).add(term)
    best = sorted(having, key=lambda uid: (len(having[uid]), uid), reverse=True)[:MAX_CANDIDATES]
    headers = [header for header in imap.headers(best) if header.problem is None]
    return [
        _find(header, folder, having[header.uid], "" if number >= MAX_BODIES or late() else _body(imap, header))
        for number, header in enumerate(headers)
    ]


def _find(header: MessageHeader, folder: str, having: set[str], body: str) -> Find:
    subject = clean(header.subject)[:200]
    return Find(
        kind=Kind.MAIL,
        id=header.message_id or f"{folder}/{header.uid}",
        title=subject,
        fields={"subject": subject, "sender": clean(header.sender)[:200], "body": body},
        when=header.when,
        place=folder,
        elsewhere=frozenset(having),
    )


def _body(imap: ImapSession, header: MessageHeader) -> str:
    shown = [part for part in header.parts if not part.attachment and part.content_type in {"text/plain", "text/html"}]
    if not shown:
        return ""
    part = min(shown, key=lambda one: one.content_type != "text/plain")
    try:
        return readable([Text(part.content_type, imap.content(header.uid, part, max_bytes=_BODY_BYTES).text)])
    except MailboxRefusedError:
        # It was found all the same; only nothing of it can be shown.
        return ""
