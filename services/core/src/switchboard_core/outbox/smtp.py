"""SMTP as far as the outbox needs it: one mail at a time, and exactly what is known after each of them.

A mail counts from the moment that the server answers the lone dot at its end with 2xx (RFC 5321, section 4.1.1.4).
Whatever breaks before that dot was sent means that nothing was accepted. Whatever breaks between the dot and its answer
may mean either (RFC 1047), and SMTP has no way to ask.
"""

import io
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTPUTF8, EmailPolicy
from typing import Any

from switchboard_core.bounded_reader import SHORTEST_S, BoundedReader
from switchboard_core.egress import MOST_ADDRESSES, Egress, EgressRefusedError
from switchboard_core.logs import get_logger
from switchboard_core.outbox import refusals
from switchboard_core.outbox.errors import (
    AddressRefusedError,
    AnswerLostError,
    ContentRefusedError,
    NotAllowedError,
    NotSentError,
)
from switchboard_core.outbox.models import Security
from switchboard_core.outbox.refusals import said
from switchboard_core.settings import Settings

log = get_logger(__name__)

_LINE_START_DOT = re.compile(rb"(?m)^\.")
_START_INPUT = 354
_MAX_REPLY_BYTES = 64 * 1024
"""Of all lines of one reply: smtplib would gather them for ever."""


class _OnTheWire(EmailPolicy):
    """How a mail is written for the server.

    Header lines are folded, and what has no space to be folded at becomes encoded words. Nobody decodes those in
    ``List-Unsubscribe``, so it stays in one line, which may have 998 characters (RFC 5322, section 2.1.1).
    """

    def fold_binary(self, name: str, value: Any) -> bytes:  # noqa: ANN401 - as the library calls it
        """A header's lines."""
        if name.lower() == "list-unsubscribe" and value.isascii():
            return f"{name}: {value}{self.linesep}".encode("ascii")
        return super().fold_binary(name, value)


# Seven bits pass every server, also those without 8BITMIME.
_IN_ASCII = _OnTheWire(linesep="\r\n", cte_type="7bit")
_IN_UTF8 = _OnTheWire(linesep="\r\n", utf8=True)


@dataclass(frozen=True)
class Server:
    """A mail server and how to log in.

    Attributes:
        host: its name, which its certificate must have.
        port: TCP port.
        security: of the connection.
        username: None where it wants no login.
        password: of the login.
        greeting: our name in EHLO.
    """

    host: str
    port: int
    security: Security
    greeting: str
    username: str | None = None
    password: str = field(default="", repr=False)


class _Connection(smtplib.SMTP):
    """A connection that goes through ``Egress``, with a deadline that no trickle of answers puts off.

    ``timeout_s`` is for all from the connection to the first ``wait_for``.
    """

    _reader: BoundedReader

    def __init__(self, server: Server, egress: Egress, timeout_s: float) -> None:
        self._server = server
        self._egress = egress
        self._context = ssl.create_default_context()
        self._until = time.monotonic() + timeout_s
        super().__init__(server.host, server.port, local_hostname=server.greeting, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        raw = self._egress.connect(host, port, timeout / MOST_ADDRESSES)
        raw.settimeout(self._left_s())
        if self._server.security is not Security.TLS:
            return raw
        try:
            return self._context.wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise

    def log_in(self) -> None:
        """What stands between the connection and the first mail."""
        self.ehlo_or_helo_if_needed()
        if self._server.security is Security.STARTTLS:
            self.starttls(context=self._context)
            self.ehlo_or_helo_if_needed()
        if self._server.username is not None:
            self.login(self._server.username, self._server.password)

    def wait_for(self, seconds: float) -> None:
        """How long all may take that is said from now on."""
        self._until = time.monotonic() + max(seconds, SHORTEST_S)
        if self.sock is not None:
            self.sock.settimeout(self._left_s())

    def getreply(self) -> tuple[int, bytes]:
        """A whole reply, however many lines it has, within the deadline and within ``_MAX_REPLY_BYTES``."""
        if self.file is None and self.sock is not None:
            # Anew after the greeting and after STARTTLS, as smtplib would.
            self._reader = BoundedReader(self.sock, lambda: self._until)
            self.file = io.BufferedReader(self._reader)
        self._reader.bytes_left = _MAX_REPLY_BYTES
        return super().getreply()

    def _left_s(self) -> float:
        return max(self._until - time.monotonic(), SHORTEST_S)


class SmtpSession:
    """Mails to one server, over one connection while it lasts.

    Args:
        server: where to.
        settings: the timeouts and the trusted hosts.
    """

    def __init__(self, server: Server, settings: Settings) -> None:
        self._server = server
        self._egress = Egress(settings.trusted_hosts)
        self._timeout_s = settings.smtp_timeout_seconds
        self._answer_timeout_s = settings.smtp_answer_timeout_seconds
        self._connection: _Connection | None = None
        self._deadline = 0.0

    def check(self) -> None:
        """Connect and log in, and send nothing.

        Raises:
            NotSentError: it does not work; the sentence says why.
        """
        self._begin()
        try:
            self._command("NOOP")
        finally:
            self.close()

    def deliver(
        self,
        letter: EmailMessage,
        sender: str,
        recipient: str,
        *,
        archive: str | None,
        before_end: Callable[[bool], None],
    ) -> None:
        """Hand one mail over.

        Args:
            letter: complete with its headers.
            sender: of the envelope.
            recipient: of the envelope.
            archive: further recipient, who is named in no header.
            before_end: called once everything but the end of the mail is sent, with whether the archive is among the
                recipients; when it raises, the server gets nothing that counts and the exception comes out.

        Raises:
            NotSentError: certainly nothing was accepted.
            NotAllowedError: likewise; the account may not send it.
            AddressRefusedError: the recipient was refused for good.
            ContentRefusedError: the mail was refused for good.
            AnswerLostError: it may have been accepted.
        """
        self._begin()
        try:
            archived = self._envelope(letter, sender, recipient, archive)
            self._body(letter)
            before_end(archived)
            self._end()
        except (AddressRefusedError, ContentRefusedError, NotAllowedError):
            self._reset()
            raise
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """End the connection in good manners, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.wait_for(1.0)
            try:
                connection.quit()
            except OSError:
                connection.close()

    def _begin(self) -> None:
        """Have a connection that is logged in, and a deadline for what comes before the end of the mail."""
        self._deadline = time.monotonic() + self._timeout_s
        if self._connection is not None:
            return
        self._refuse_an_open_password()
        try:
            self._connection = _Connection(self._server, self._egress, self._timeout_s)
            self._connection.wait_for(self._left())
            self._connection.log_in()
        except (OSError, EgressRefusedError, ValueError) as error:
            self._drop()
            raise _explain(error, self._server) from None

    def _refuse_an_open_password(self) -> None:
        """A password goes over an open connection only where the installation trusts the host."""
        server = self._server
        if server.security is not Security.NONE or server.username is None:
            return
        try:
            trusted = self._egress.trusts(server.host, server.port)
        except OSError as error:
            raise _explain(error, server) from None
        if not trusted:
            why = f"The password would go to {server.host} unencrypted: choose tls or starttls as its security."
            raise NotSentError(why, account_fault=True)

    def _envelope(self, letter: EmailMessage, sender: str, recipient: str, archive: str | None) -> bool:
        """MAIL and RCPT; whether the archive is among the recipients."""
        options = " SMTPUTF8" if self._needs_utf8(letter, recipient) else ""
        refusals.require_sender(*self._command(f"MAIL FROM:<{in_ascii(sender)}>{options}"))
        refusals.require_recipient(*self._command(f"RCPT TO:<{in_ascii(recipient)}>"))
        # A copy that the server does not want must not keep the mail from whom it is for.
        return archive is not None and self._command(f"RCPT TO:<{in_ascii(archive)}>")[0] // 100 == 2

    def _needs_utf8(self, letter: EmailMessage, recipient: str) -> bool:
        if recipient.partition("@")[0].isascii():
            return False
        if self._connection is None or not self._connection.has_extn("smtputf8"):
            msg = "The mail server cannot send to addresses with letters beyond ASCII: use another address."
            raise ContentRefusedError(msg)
        self._connection.command_encoding = "utf-8"
        letter.policy = SMTPUTF8
        return True

    def _body(self, letter: EmailMessage) -> None:
        """DATA and everything up to, but without, the dot that ends the mail."""
        code, answer = self._command("DATA")
        if code >= 500:
            refusals.refuse_mail(code, answer)
        if code != _START_INPUT:
            raise NotSentError(f"The mail server does not take mail at the moment: {said(code, answer)}.")
        policy = _IN_UTF8 if letter.policy is SMTPUTF8 else _IN_ASCII
        content = _LINE_START_DOT.sub(b"..", letter.as_bytes(policy=policy))
        self._write(content if content.endswith(b"\r\n") else content + b"\r\n")

    def _end(self) -> None:
        """The dot, from which on the mail counts, and its answer."""
        connection = self._open()
        connection.wait_for(self._answer_timeout_s)
        try:
            connection.send(b".\r\n")
            code, answer = connection.getreply()
        except OSError as error:
            why = "the mail server did not answer in time" if _timed_out(error) else "the connection broke"
            raise AnswerLostError(f"Whether it arrived is not known: {why} after the mail was handed over.") from None
        if code // 100 == 4:
            raise NotSentError(f"The mail server put it off: {said(code, answer)}.")
        if code // 100 == 5:
            refusals.refuse_mail(code, answer)
        if code // 100 != 2:
            raise AnswerLostError("Whether it arrived is not known: the mail server's answer made no sense.")

    def _command(self, command: str) -> tuple[int, bytes]:
        connection = self._open()
        connection.wait_for(self._left())
        try:
            return connection.docmd(command)
        except OSError as error:
            raise NotSentError(_broken(error)) from None

    def _write(self, content: bytes) -> None:
        connection = self._open()
        connection.wait_for(self._left())
        try:
            connection.send(content)
        except OSError as error:
            raise NotSentError(_broken(error)) from None

    def _open(self) -> _Connection:
        if self._connection is None:
            raise NotSentError(_broken(ConnectionError()))
        return self._connection

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _reset(self) -> None:
        """Make the connection fit for the next mail, or give it up."""
        try:
            code, _ = self._command("RSET")
        except NotSentError:
            code = 0
        if code // 100 != 2:
            self._drop()

    def _drop(self) -> None:
        """Give the connection up without a word, so that a mail without its end stays without it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def in_ascii(address: str) -> str:
    """An address as it goes over the wire: its domain in ASCII. Raises ``UnicodeError`` where it can have none."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.encode('idna').decode()}" if local and not domain.isascii() else address


def _timed_out(error: BaseException) -> bool:
    """smtplib turns what happens to its socket into ``SMTPServerDisconnected``."""
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)


def _broken(error: OSError) -> str:
    if _timed_out(error):
        return "The mail server did not answer in time."
    return "The mail server closed the connection."


def _explain(error: Exception, server: Server) -> NotSentError:
    """What a failed connection or login means, in one sentence."""
    where = f"{server.host}:{server.port}"
    match error:
        case EgressRefusedError():
            return NotSentError(str(error), account_fault=True)
        case smtplib.SMTPAuthenticationError() if error.smtp_code // 100 == 5:
            answer = said(error.smtp_code, _bytes(error.smtp_error))
            return NotSentError(f"The mail server refused user name or password ({answer}).", account_fault=True)
        case smtplib.SMTPNotSupportedError():
            why = (
                f"The mail server {where} does not offer what the account wants, login or STARTTLS: check its security."
            )
            return NotSentError(why, account_fault=True)
        case smtplib.SMTPResponseException() if error.smtp_code // 100 in (4, 5):
            answer = said(error.smtp_code, _bytes(error.smtp_error))
            return NotSentError(f"The mail server {where} does not take mail at the moment: {answer}.")
        case ssl.SSLCertVerificationError():
            why = f"The certificate of {where} is not valid for it ({error.verify_message}): check host and port."
            return NotSentError(why, account_fault=True)
        case ssl.SSLError():
            why = f"No TLS could be agreed on with {where}: check port and security."
            return NotSentError(why, account_fault=True)
        case socket.gaierror():
            return NotSentError(f"The mail server {server.host} cannot be found: check its name.")
        case UnicodeError():
            why = "User name and password of a mail account may hold ASCII characters only: set others."
            return NotSentError(why, account_fault=True)
        case _ if _timed_out(error):
            return NotSentError(f"The mail server {where} did not answer in time.")
        case _:
            return NotSentError(f"The mail server {where} cannot be reached.")


def _bytes(answer: bytes | str) -> bytes:
    return answer.encode() if isinstance(answer, str) else answer
