"""A real IMAP server on loopback: pymap, in a process of its own, everything in memory.

    with imap_server(folder) as server:             # started in well below a second
        server.deliver(mail("<1@example.com>", subject="Invoice"), mail("<2@example.com>"))
        server.account()                            # an Account for ImapSession: host, port, USER and PASSWORD
        server.contents()                           # {"INBOX": ["<1@example.com>", "<2@example.com>"]}
        server.wipe()                               # empty again, all folders but INBOX gone

One user, ``USER`` with ``PASSWORD``, so a module shares one server and each test wipes it. ``folder`` holds the log.
``imap_proxy.py`` stands in front of it where a test needs a broken connection, TLS, XOAUTH2 or a server
without MOVE.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from imapclient import IMAPClient

from switchboard_cli.devstack import ManagedProcess, free_port
from switchboard_core.egress import Egress
from switchboard_core.mailbox.imap import Account, ImapSession, Security

HOST = "127.0.0.1"
USER = "anna@example.com"
PASSWORD = "the-mailbox-password"

_NAMES = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT)]"
# As the program ``pymap``, but for a cheap hash of the password: half a million rounds for each login are seconds here.
_START = """
from pymap import config
from pymap.main import main
from pysasl.hashing import BuiltinHash
config.BuiltinHash = lambda: BuiltinHash(rounds=1)
main()
"""


@dataclass(frozen=True)
class ImapServer:
    """A running server.

    Attributes:
        port: on 127.0.0.1; without encryption.
        process: of the server.
    """

    port: int
    process: ManagedProcess

    def account(self, **changes: Any) -> Account:
        """How to log in."""
        known: dict[str, Any] = {
            "host": HOST,
            "port": self.port,
            "security": Security.NONE,
            "username": USER,
            "password": PASSWORD,
        }
        return Account(**{**known, **changes})

    def session(self, **changes: Any) -> ImapSession:
        """A connection as the workers make it; use it in a ``with``."""
        return ImapSession(self.account(**changes), Egress(("127.0.0.1", "localhost")), read_timeout_s=10)

    @contextmanager
    def client(self) -> Iterator[IMAPClient]:
        """A plain client that is logged in, for tests to prepare and to look."""
        with IMAPClient(HOST, self.port, ssl=False, timeout=30) as client:
            # Otherwise each command with a literal waits 40 ms for the other side's acknowledgement.
            client.socket().setsockopt(6, 1, 1)
            client.login(USER, PASSWORD)
            client.normalise_times = False
            yield client

    def deliver(self, *messages: bytes, folder: str = "INBOX", received: datetime | None = None) -> None:
        """Put messages into a folder, which is made if it is not there."""
        with self.client() as client:
            if not client.folder_exists(folder):
                client.create_folder(folder)
            for message in messages:
                client.append(folder, message, msg_time=received)

    def folders(self) -> list[str]:
        """The names of all folders."""
        with self.client() as client:
            return _folders(client)

    def contents(self) -> dict[str, list[str]]:
        """The Message-IDs in each folder that is not empty, sorted; for a message without one its subject."""
        found = {}
        with self.client() as client:
            for name in _folders(client):
                client.select_folder(name, readonly=True)
                if ids := [_name_of(answer) for answer in client.fetch(client.search(), [_NAMES]).values()]:
                    found[name] = sorted(ids)
        return found

    def flags(self, folder: str = "INBOX") -> dict[str, set[str]]:
        """The flags of each message of a folder, by Message-ID, without ``\\Recent``."""
        with self.client() as client:
            client.select_folder(folder, readonly=True)
            answers = client.fetch(client.search(), [_NAMES, "FLAGS"]).values()
            return {_name_of(answer): {flag.decode() for flag in answer[b"FLAGS"]} - {"\\Recent"} for answer in answers}

    def wipe(self) -> None:
        """Delete every message and every folder but INBOX."""
        with self.client() as client:
            for name in _folders(client):
                if name != "INBOX":
                    client.delete_folder(name)
            client.select_folder("INBOX")
            client.delete_messages(client.search())
            client.expunge()


@contextmanager
def imap_server(folder: Path, *options: str) -> Iterator[ImapServer]:
    """Start a server with its log in ``folder``, and stop it at the end.

    Args:
        folder: for its log.
        options: of pymap; by default it speaks no TLS.
    """
    port = free_port()
    options = ("--host", HOST, "--port", str(port), *(options or ("--no-tls",)))
    argv = [sys.executable, "-c", _START, *options, "dict", "--demo-user", USER, "--demo-password", PASSWORD]
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = ManagedProcess("imap", argv, env, folder / f"imap-{port}.log")
    process.start()
    try:
        server = ImapServer(port, process)
        process.wait_ready(lambda: _answers(server), 60)
        yield server
    finally:
        process.kill()


def mail(
    message_id: str | None,
    *,
    subject: str = "Hello",
    sender: str = "Bob <bob@example.net>",
    to: str = USER,
    text: str = "Nothing much.",
    date: datetime | None = None,
    headers: Mapping[str, str] | None = None,
    attachment: tuple[str, str, bytes] | None = None,
) -> bytes:
    """A message as it stands in a mailbox.

    Args:
        message_id: with its angle brackets; None leaves it out.
        subject: of the message.
        sender: From.
        to: To.
        text: its plain text.
        date: Date.
        headers: further ones.
        attachment: file name, content type and content.
    """
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    if date is not None:
        message["Date"] = format_datetime(date)
    if message_id is not None:
        message["Message-ID"] = message_id
    for name, value in (headers or {}).items():
        message[name] = value
    message.set_content(text)
    if attachment is not None:
        filename, content_type, content = attachment
        maintype, subtype = content_type.split("/")
        message.add_attachment(content, maintype=maintype, subtype=subtype, filename=filename)
    return message.as_bytes()


def _folders(client: IMAPClient) -> list[str]:
    listed = client.list_folders()
    return sorted(name for flags, _delimiter, name in listed if b"\\noselect" not in {flag.lower() for flag in flags})


def _name_of(answer: dict[bytes, Any]) -> str:
    header = next(value for key, value in answer.items() if key.startswith(b"BODY[HEADER"))
    # pymap cannot tell the ENVELOPE of a broken message, and then hangs up.
    fields = message_from_bytes(header)
    return str(fields["Message-ID"] or fields["Subject"])


def _answers(server: ImapServer) -> bool:
    try:
        with IMAPClient(HOST, server.port, ssl=False, timeout=30):
            return True
    except OSError:
        return False
