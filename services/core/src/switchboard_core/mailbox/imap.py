"""One connection to an IMAP server, with what the mailbox domain needs of it and nothing else.

Nothing is ever loaded whole that could be large: of messages the structure comes first, and then only the parts that
are wanted, each cut off at a limit. The tenant chose the server, so it is not trusted either: what it may send in one
piece and in all is bounded, and whatever it sends that cannot be read is this message's problem alone.
"""

import imaplib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from types import TracebackType
from typing import Any, Self

from imapclient.imap_utf7 import decode as decode_folder
from imapclient.imap_utf7 import encode as encode_folder

from switchboard_core.egress import Egress
from switchboard_core.mailbox import mime
from switchboard_core.mailbox.connection import MAX_LITERAL_BYTES, UNREADABLE, Account, Client, Door, hang_up
from switchboard_core.mailbox.errors import (
    MailboxError,
    MailboxLostError,
    MailboxRefusedError,
    MailboxUnreachableError,
    WrongCredentialsError,
)
from switchboard_core.mailbox.messages import Content, Folder, MessageHeader, header_of
from switchboard_core.mailbox.mime import Part
from switchboard_core.mailbox.states import Security

__all__ = [
    "CHECK_TIMEOUT_S",
    "Account",
    "Content",
    "Folder",
    "ImapSession",
    "MailboxError",
    "MailboxLostError",
    "MailboxRefusedError",
    "MailboxUnreachableError",
    "MessageHeader",
    "Part",
    "Security",
    "WrongCredentialsError",
]

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
SESSION_TIMEOUT_S = 600.0
"""Far more than a slice takes: whoever is still talking then sends a little now and then, and nothing of use."""
CHECK_TIMEOUT_S = 30.0
"""Of a session that only looks whether the account works, while somebody waits."""
MAX_PART_BYTES = 1024 * 1024
SEARCHED_AT_ONCE = 50_000
"""Messages; the answer is one line, and one that is longer than ``MAX_LINE_BYTES`` is not read."""

_HEADER_FIELDS = "MESSAGE-ID FROM TO CC SUBJECT DATE LIST-ID CONTENT-TYPE"
_HEADERS = f"BODY.PEEK[HEADER.FIELDS ({_HEADER_FIELDS})]"
_FULL = ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODYSTRUCTURE", _HEADERS)
_PLAIN = ("FLAGS", "RFC822.SIZE", _HEADERS)


class _UnreadableAnswerError(MailboxRefusedError):
    """The server's answer is not what the protocol says."""


class ImapSession:
    """A logged-in connection; use it in a ``with``.

    Every method raises ``MailboxLostError`` when the connection breaks or nothing comes for too long, and
    ``MailboxRefusedError`` when the server says no.

    Args:
        account: of the mailbox.
        egress: opens the connection.
        connect_timeout_s: for connecting, in seconds.
        read_timeout_s: how long the server may be silent, in seconds.
        session_timeout_s: how long all of it may take, the login included, in seconds.

    Raises:
        WrongCredentialsError: on entering; the server does not take them.
        MailboxUnreachableError: on entering; nothing answers there now.
        MailboxRefusedError: on entering; it may not be reached in this way.
    """

    def __init__(
        self,
        account: Account,
        egress: Egress,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        session_timeout_s: float = SESSION_TIMEOUT_S,
    ) -> None:
        self.account = account
        self._door = Door(account, egress, connect_timeout_s, read_timeout_s, session_timeout_s)
        self._made: Client | None = None
        self._delimiter: str | None = None
        self.selected: Folder | None = None
        self._readonly = False

    def __enter__(self) -> Self:
        self._made = self._door.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            with suppress(OSError, imaplib.IMAP4.error):
                self._client.logout()
        self._drop()

    # Folders

    def folders(self) -> list[str]:
        """Names of the folders that can hold messages, with ``/`` between levels."""
        with self._talking("listing the folders"):
            listed = self._client.list_folders()
        found = []
        for flags, delimiter, raw in listed:
            if b"\\noselect" in {flag.lower() for flag in flags}:
                continue
            with suppress(*UNREADABLE):  # a name that is not in IMAP's own encoding
                name = decode_folder(raw if isinstance(raw, bytes) else str(raw).encode())
                found.append(name.replace(delimiter.decode(), "/") if delimiter else name)
        return found

    def create_folder(self, name: str) -> None:
        """Make a folder unless it is there."""
        if name.upper() == "INBOX" or name in self.folders():
            return
        with self._talking(f"making the folder {name}"):
            self._client.create_folder(self._on_server(name))

    def select(self, name: str, *, readonly: bool = False) -> Folder:
        """Open a folder: what follows is about its messages.

        Args:
            name: as ``folders`` lists it.
            readonly: change nothing, not even which messages are new.
        """
        with self._talking(f"opening the folder {name}"):
            answer = self._client.select_folder(self._on_server(name), readonly=readonly)
            folder = Folder(
                name, int(answer[b"UIDVALIDITY"]), int(answer.get(b"UIDNEXT", 0)), int(answer.get(b"EXISTS", 0))
            )
        if not folder.uidnext:
            # RFC 3501 lets a server keep it to itself.
            folder = Folder(name, folder.uidvalidity, max(self.search(), default=0) + 1, folder.exists)
        self.selected, self._readonly = folder, readonly
        return folder

    # Messages of the selected folder

    def uids_after(self, uid: int, *, up_to: int | None = None, limit: int | None = None) -> list[int]:
        """The uids above ``uid``, ascending.

        Args:
            uid: 0 for all.
            up_to: the last one that is meant; None: the last one that was there when the folder was opened.
            limit: how many are enough.
        """
        folder = self._opened
        last = folder.uidnext - 1 if up_to is None else up_to
        # A folder that is small is asked at once, however far apart its uids are.
        step = SEARCHED_AT_ONCE if folder.exists > SEARCHED_AT_ONCE else last
        found: list[int] = []
        while uid < last and (limit is None or len(found) < limit):
            end = min(uid + step, last)
            some = self._search(["UID", f"{uid + 1}:{end}", "UNDELETED"])
            found += sorted(one for one in some if uid < one <= end)
            uid = end
        return found

    def search(self, text: str | None = None, *, since: date | None = None, subject: str | None = None) -> list[int]:
        """The uids of messages that meet every condition given, newest first.

        Args:
            text: somewhere in header or body.
            since: received on this day or later.
            subject: part of the subject.
        """
        criteria: list[Any] = ["UNDELETED"]
        if text is not None:
            criteria += ["TEXT", _searchable(text)]
        if subject is not None:
            criteria += ["SUBJECT", _searchable(subject)]
        if since is not None:
            criteria += ["SINCE", since]
        return sorted(self._search(criteria), reverse=True)

    def has_message(self, message_id: str, folder: str) -> bool:
        """Whether a folder holds a message with this Message-ID; a folder that does not exist holds none."""
        return bool(self._in_folder(folder, lambda: self._search(["HEADER", "Message-ID", _searchable(message_id)])))

    def has_copy(self, header: MessageHeader, folder: str) -> bool:
        """Whether a folder holds a message with the identity and the size of this one."""
        return self.has_identity(header.identity, header.size, folder)

    def has_identity(self, identity: bytes, size: int, folder: str) -> bool:
        """Whether a folder holds a message with this identity and this size in bytes."""

        def look() -> bool:
            found = self._search(["LARGER", size - 1, "SMALLER", size + 1])
            return any(header.identity == identity for header in self.headers(found))

        return bool(self._in_folder(folder, look))

    def headers(self, uids: Sequence[int]) -> list[MessageHeader]:
        """What is known of messages, in the order of ``uids``; those that are gone are left out.

        A message that cannot be read comes with its ``problem``.
        """
        if not uids:
            return []
        try:
            return self._headers(uids, _FULL)
        except _UnreadableAnswerError:
            return [header for uid in uids for header in self._header_alone(uid)]

    def content(self, uid: int, part: Part, *, max_bytes: int = MAX_PART_BYTES) -> Content:
        """One part of a message, at most ``max_bytes`` of it as it is encoded for transport."""
        raw = self.section(uid, part.section, max_bytes=max_bytes)
        return Content(part, mime.decode_content(raw, part.encoding), truncated=part.size > max_bytes == len(raw))

    def contents(
        self, header: MessageHeader, wants: Callable[[Part], bool], *, max_bytes: int = MAX_PART_BYTES
    ) -> Iterator[Content]:
        """The wanted parts of a message one by one, each cut off at ``max_bytes``: never more than one in memory."""
        for part in header.parts:
            if wants(part):
                yield self.content(header.uid, part, max_bytes=max_bytes)

    def section(self, uid: int, section: str, *, max_bytes: int = MAX_PART_BYTES) -> bytes:
        """The first ``max_bytes`` bytes of a section such as ``1.2`` or ``2.HEADER``, undecoded; empty if gone."""
        wanted = f"BODY.PEEK[{section}]<0.{min(max_bytes, MAX_LITERAL_BYTES)}>"
        with self._talking("reading a message"):
            answer = self._client.fetch([uid], [wanted]).get(uid, {})
        found = next((value for key, value in answer.items() if key.startswith(b"BODY[")), None)
        return found if isinstance(found, bytes) else b""

    def add_flags(self, uids: Sequence[int], flags: Iterable[str]) -> None:
        r"""Set flags such as ``\Seen``."""
        with self._talking("marking messages"):
            self._client.add_flags(uids, list(flags), silent=True)

    @property
    def moves_at_once(self) -> bool:
        """Whether the server has MOVE: a message is never in two folders."""
        return bool(self._client.has_capability("MOVE"))

    def move(self, uids: Sequence[int], folder: str) -> None:
        """Move messages to another folder, which must exist.

        Without MOVE they are copied and then removed here; interrupted, a message may be in both, never in none.
        """
        with self._talking(f"moving messages to {folder}"):
            if self.moves_at_once:
                self._client.move(uids, self._on_server(folder))
                return
            self._client.copy(uids, self._on_server(folder))
        self.remove(uids)

    def remove(self, uids: Sequence[int]) -> None:
        """Delete messages for good."""
        with self._talking("removing messages"):
            self._client.add_flags(uids, [b"\\Deleted"], silent=True)
            if self._client.has_capability("UIDPLUS"):
                self._client.uid_expunge(uids)
            elif set(self._client.search(["DELETED"])) == set(uids):
                # EXPUNGE alone takes everything that is marked, what somebody else has marked too.
                self._client.expunge()

    # Below

    @property
    def _opened(self) -> Folder:
        if self.selected is None:
            msg = "select a folder first"
            raise RuntimeError(msg)
        return self.selected

    @property
    def _client(self) -> Client:
        if self._made is None:
            msg = "an ImapSession is used in a with statement"
            raise RuntimeError(msg)
        return self._made

    def _drop(self) -> None:
        if self._made is not None:
            hang_up(self._made)
            self._made = None

    @contextmanager
    def _talking(self, doing: str) -> Iterator[None]:
        """Turn what the library raises into our few errors."""
        host = self.account.host
        try:
            yield
        except imaplib.IMAP4.readonly as error:
            raise MailboxRefusedError(f"{host} lets nobody change this folder, which {doing} needs.") from error
        except (OSError, EOFError, imaplib.IMAP4.abort) as error:
            raise MailboxLostError(f"The connection to {host} broke while {doing}.") from error
        except UNREADABLE as error:
            raise _UnreadableAnswerError(f"{host} answered {doing} with what cannot be read as IMAP.") from error
        except imaplib.IMAP4.error as error:
            raise MailboxRefusedError(f"{host} refused {doing}: {_said(error)}.") from error

    def _search(self, criteria: list[Any]) -> list[int]:
        plain = all(not isinstance(item, str) or item.isascii() for item in criteria)
        with self._talking("searching"):
            return list(self._client.search(criteria, charset=None if plain else "UTF-8"))

    def _headers(self, uids: Sequence[int], items: Sequence[str]) -> list[MessageHeader]:
        with self._talking("reading messages"):
            answers: dict[int, dict[bytes, Any]] = self._client.fetch(uids, items)
            return [header_of(uid, answers[uid]) for uid in uids if uid in answers]

    def _header_alone(self, uid: int) -> list[MessageHeader]:
        for items in (_FULL, _PLAIN):
            with suppress(_UnreadableAnswerError):
                return self._headers([uid], items)
        return [MessageHeader(uid, problem="The mail server's answer about this message cannot be read.")]

    def _in_folder(self, folder: str, look: Callable[[], Any]) -> Any:  # noqa: ANN401 - what ``look`` returns
        """Look into a folder, then return to the one that was selected."""
        before, readonly = self.selected, self._readonly
        if folder.upper() != "INBOX" and folder not in self.folders():
            return None
        self.select(folder, readonly=True)
        try:
            return look()
        finally:
            if before is not None:
                self.select(before.name, readonly=readonly)

    def _on_server(self, folder: str) -> bytes:
        """A folder's name as this server writes it."""
        if self._delimiter is None:
            with self._talking("asking how folders are named"):
                listed = self._client.list_folders("", "")
            delimiter = listed[0][1] if listed else None
            self._delimiter = delimiter.decode() if delimiter else "/"
        return bytes(encode_folder(folder.replace("/", self._delimiter)))


def _searchable(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()


def _said(error: BaseException) -> str:
    """What a server said, short and printable, without the library's own words around it."""
    text = str(error).partition(": ")[2] or str(error)
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip(" .'")[:200] or "it gives no reason"
