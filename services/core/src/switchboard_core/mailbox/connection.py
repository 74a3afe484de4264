"""Getting into a mail server: a checked socket, TLS, and the login.

The tenant chose the server, so it is not trusted: what it may send in one piece and in all, and how long it may take,
is bounded here.
"""

import imaplib
import io
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from imapclient import IMAPClient
from imapclient.exceptions import LoginError, ProtocolError

from switchboard_core.bounded_reader import SHORTEST_S, BoundedReader
from switchboard_core.egress import Egress, EgressRefusedError
from switchboard_core.mailbox.errors import (
    MailboxError,
    MailboxRefusedError,
    MailboxUnreachableError,
    WrongCredentialsError,
)
from switchboard_core.mailbox.states import Security

MAX_LITERAL_BYTES = 32 * 1024 * 1024
MAX_SESSION_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 1_000_000
"""A SEARCH is answered in one line: numbers of about 90,000 messages."""

UNREADABLE = (
    ProtocolError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
)
"""What the parser raises on answers that are not what the protocol says."""

_NOT_NOW = re.compile(r"\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Account:
    """Where a mailbox is and how to log in; with ``access_token`` XOAUTH2 is spoken, otherwise the password is used."""

    host: str
    port: int
    security: Security
    username: str
    password: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)


class _BoundedImap4(imaplib.IMAP4):
    """The standard library's protocol on a socket that was made elsewhere, with limits to what the server sends."""

    def __init__(self, host: str, sock: socket.socket, until: float) -> None:
        self._made = sock
        self._until = until
        self._silence_s = sock.gettimeout()
        self._received = 0
        self._readers: dict[socket.socket, io.BufferedReader] = {}
        super().__init__(host)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        del timeout
        return self._made

    def read(self, size: int) -> bytes:
        """Read a literal."""
        if size > MAX_LITERAL_BYTES:
            raise self.abort("the server sends more in one piece than was asked for")
        return self._counted(self._reader().read(size))

    def readline(self) -> bytes:
        """Read a line."""
        line = self._counted(self._reader().readline(MAX_LINE_BYTES + 1))
        if len(line) > MAX_LINE_BYTES:
            raise self.error("the server sends more in one line than was asked for")
        return line

    def _reader(self) -> io.BufferedReader:
        # STARTTLS puts another socket in the place of the first; what that one had read ahead does not count.
        if self.sock not in self._readers:
            bounded = BoundedReader(self.sock, lambda: self._until, self._silence_s)
            self._readers = {self.sock: io.BufferedReader(bounded)}
        return self._readers[self.sock]

    def _counted(self, data: bytes) -> bytes:
        self._received += len(data)
        if self._received > MAX_SESSION_BYTES:
            raise self.abort("the server sends more than was asked for")
        return data


class Client(IMAPClient):  # type: ignore[misc]  # the package is untyped
    """IMAPClient on our own socket; it logs nothing, since what it would log are people's mails."""

    def __init__(self, host: str, port: int, sock: socket.socket, until: float) -> None:
        self._made = sock
        self._until = until
        super().__init__(host, port, ssl=False, timeout=sock.gettimeout())
        self.normalise_times = False
        self.folder_encode = False
        self._imap.debug = 0

    def _create_IMAP4(self) -> imaplib.IMAP4:  # noqa: N802 - IMAPClient's own name
        return _BoundedImap4(self.host, self._made, self._until)


def hang_up(client: Client) -> None:
    """Close a connection, whatever state it is in."""
    with suppress(OSError, imaplib.IMAP4.error):
        client.shutdown()


@dataclass(frozen=True)
class Door:
    """How to get into one account.

    Attributes:
        account: of the mailbox.
        egress: opens the connection.
        connect_timeout_s: for connecting, in seconds.
        read_timeout_s: how long the server may be silent, in seconds.
        session_timeout_s: how long the login and all that follows may take, in seconds.
    """

    account: Account
    egress: Egress
    connect_timeout_s: float
    read_timeout_s: float
    session_timeout_s: float

    def open(self) -> Client:
        """A connection that is logged in.

        Raises:
            WrongCredentialsError: the server does not take them.
            MailboxUnreachableError: nothing answers there now.
            MailboxRefusedError: it may not be reached in this way.
        """
        until = time.monotonic() + self.session_timeout_s
        sock = self._connect(until)
        client: Client | None = None
        try:
            client = self._greet(sock, until)
            self._encrypt(client)
            self._log_in(client)
        except BaseException:
            if client is not None:
                hang_up(client)
            sock.close()
            raise
        return client

    def _connect(self, until: float) -> socket.socket:
        account = self.account
        if account.security is Security.NONE and not self._trusted():
            msg = f"The connection to {account.host} would not be encrypted: choose TLS or STARTTLS."
            raise MailboxRefusedError(msg)
        try:
            sock = self.egress.connect(account.host, account.port, self.connect_timeout_s)
        except EgressRefusedError as error:
            raise MailboxRefusedError(str(error)) from error
        except OSError as error:
            raise self._unreachable("nothing answers there") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(max(min(self.read_timeout_s, until - time.monotonic()), SHORTEST_S))
        if account.security is not Security.TLS:
            return sock
        try:
            return ssl.create_default_context().wrap_socket(sock, server_hostname=account.host)
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise self._bad_certificate(error) from error
        except OSError as error:
            sock.close()
            raise self._unreachable("it does not speak TLS on this port") from error

    def _trusted(self) -> bool:
        try:
            return self.egress.trusts(self.account.host, self.account.port)
        except OSError as error:
            raise self._unreachable("the name cannot be resolved") from error

    def _greet(self, sock: socket.socket, until: float) -> Client:
        try:
            return Client(self.account.host, self.account.port, sock, until)
        except (OSError, EOFError, imaplib.IMAP4.error, *UNREADABLE) as error:
            raise self._unreachable("it does not answer as a mail server does") from error

    def _encrypt(self, client: Client) -> None:
        account = self.account
        if account.security is not Security.STARTTLS:
            return
        try:
            if not client.has_capability("STARTTLS"):
                msg = f"{account.host} offers no encryption on port {account.port}: try TLS on port 993."
                raise MailboxRefusedError(msg)
            client.starttls(ssl.create_default_context())
        except ssl.SSLCertVerificationError as error:
            raise self._bad_certificate(error) from error
        except (OSError, EOFError, imaplib.IMAP4.error, *UNREADABLE) as error:
            raise self._unreachable("it does not switch to an encrypted connection") from error

    def _log_in(self, client: Client) -> None:
        account = self.account
        try:
            if account.access_token is not None:
                client.sasl_login("XOAUTH2", _xoauth2(account.username, account.access_token))
            elif client.has_capability("AUTH=PLAIN"):
                client.plain_login(account.username, account.password or "")
            else:
                client.login(account.username, account.password or "")
        except LoginError as error:
            if isinstance(error.__context__, imaplib.IMAP4.abort):
                raise self._unreachable("the connection broke while logging in") from error
            raise self._login_refused(str(error)) from None
        except UnicodeError as error:
            msg = f"{account.host} takes no such characters in a password: set another one there."
            raise WrongCredentialsError(msg) from error
        except (OSError, EOFError, imaplib.IMAP4.error, *UNREADABLE) as error:
            raise self._unreachable("the connection broke while logging in") from error

    def _login_refused(self, answer: str) -> MailboxError:
        if _NOT_NOW.search(answer):
            return self._unreachable("it lets nobody in at the moment")
        what = "the access token" if self.account.access_token is not None else "user name and password"
        return WrongCredentialsError(
            f"{self.account.host} does not accept {what}: connect the mailbox again with the right ones."
        )

    def _unreachable(self, why: str) -> MailboxUnreachableError:
        return MailboxUnreachableError(f"{self.account.host}:{self.account.port} cannot be reached: {why}.")

    def _bad_certificate(self, error: ssl.SSLCertVerificationError) -> MailboxRefusedError:
        return MailboxRefusedError(
            f"The certificate of {self.account.host} is not valid ({error.verify_message}): "
            "check the host's name, or have its certificate put right."
        )


def _xoauth2(username: str, token: str) -> Callable[[bytes], bytes]:
    """The client's side of XOAUTH2: the token first, then an empty answer to the reason for a refusal."""
    answers = iter([f"user={username}\1auth=Bearer {token}\1\1".encode()])
    return lambda _challenge: next(answers, b"")
