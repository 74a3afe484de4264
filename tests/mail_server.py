"""A real SMTP server on loopback: aiosmtpd, on a thread of its own, that can be told to misbehave.

    with mail_server() as server:
        server.plan(PUT_OFF, LOST_AFTER_ACCEPTING)   # the next two mails; then it is good
        server.accepted                    # every mail that it took, also where it did not say so
        server.account()                   # fields of a mail account

Each ``Answer`` is for one mail: for one transaction from MAIL to its end.
"""

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HOST = "127.0.0.1"
USER = "billing@example.com"
PASSWORD = "the-smtp-password"


@dataclass(frozen=True)
class Answer:
    """How the server treats one mail.

    Attributes:
        sender: reply to MAIL other than 250.
        recipient: reply to the first RCPT other than 250.
        data: what happens at DATA, before the content: ``drop``.
        end: reply to the end of the mail; ``drop`` breaks the connection, ``hang`` says nothing.
        takes_it: whether it keeps the mail whatever it says.
    """

    sender: str | None = None
    recipient: str | None = None
    data: str | None = None
    end: str = "250 OK, queued"
    takes_it: bool | None = None

    @property
    def accepts(self) -> bool:
        """Whether the mail is kept."""
        return self.end.startswith("2") if self.takes_it is None else self.takes_it


GOOD = Answer()
DROP_BEFORE_DATA = Answer(data="drop")
LOST_AFTER_ACCEPTING = Answer(end="drop", takes_it=True)
LOST_WITHOUT_ACCEPTING = Answer(end="drop", takes_it=False)
HANG = Answer(end="hang", takes_it=True)
PUT_OFF = Answer(recipient="450 4.2.1 Mailbox busy, try again later")
PUT_OFF_AT_END = Answer(end="451 4.3.0 Try again later")
NO_SUCH_USER = Answer(recipient="550 5.1.1 <ada@example.com>: no such user here")
TOO_MUCH = Answer(end="554 5.7.1 Message refused as spam")
NO_RELAY = Answer(recipient="554 5.7.1 <ada@example.com>: Relay access denied")
QUOTA_USED_UP = Answer(end="550 5.4.5 Daily user sending limit exceeded")
SENDER_REFUSED = Answer(sender="550 5.7.60 Not your address")


@dataclass(frozen=True)
class Mail:
    """A mail that the server took.

    Attributes:
        sender: of the envelope.
        recipients: of the envelope.
        content: as it came.
    """

    sender: str
    recipients: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """Parsed."""
        parsed = message_from_bytes(self.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def message_id(self) -> str:
        """With its angle brackets."""
        return str(self.message["Message-ID"])


@dataclass
class MailServer:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        accepted: the mails that it took, in order.
        connections: how often somebody has connected.
        login: whether it wants USER and PASSWORD.
        on_accepted: called with each mail that it took, on its own thread, before it answers.
    """

    port: int = 0
    accepted: list[Mail] = field(default_factory=list)
    connections: int = 0
    login: bool = False
    on_accepted: Callable[[Mail], None] | None = None
    _plan: deque[Answer] = field(default_factory=deque)

    def plan(self, *answers: Answer) -> None:
        """Treat the next mails so; after them it is good."""
        self._plan.extend(answers)

    def account(self, **changes: Any) -> dict[str, Any]:
        """Fields of a mail account, as the api takes them."""
        return {
            "host": HOST,
            "port": self.port,
            "security": "none",
            "from_address": USER,
            "from_name": "Acme Billing",
            **changes,
        }

    def to(self, address: str) -> list[Mail]:
        """The mails that it took for an address."""
        return [mail for mail in self.accepted if address in mail.recipients]

    def wipe(self) -> None:
        """Forget mails and plans."""
        self.accepted.clear()
        self._plan.clear()

    # Called by aiosmtpd

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's own name
        self, server: "_Smtp", session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        server.answer = self._plan.popleft() if self._plan else GOOD
        if server.answer.sender:
            return server.answer.sender
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: "_Smtp", _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if server.answer.recipient and not envelope.rcpt_tos:
            return server.answer.recipient
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: "_Smtp", _session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = server.answer
        if answer.accepts:
            content = envelope.original_content or b""
            mail = Mail(str(envelope.mail_from), [str(address) for address in envelope.rcpt_tos], content)
            self.accepted.append(mail)
            if self.on_accepted is not None:
                await asyncio.to_thread(self.on_accepted, mail)
        if answer.end == "drop":
            _break_off(server)
        elif answer.end == "hang":
            await asyncio.Event().wait()
        return answer.end


def _break_off(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.WriteTransport)
    server.transport.abort()


class _Smtp(SMTP):
    """aiosmtpd's server, which can also break off at DATA."""

    answer: Answer = GOOD

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """Begin the content of a mail."""
        if self.answer.data == "drop":
            _break_off(self)
            return
        await super().smtp_DATA(arg)


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextmanager
def mail_server(
    *,
    login: bool = False,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    utf8: bool = False,
) -> Iterator[MailServer]:
    """Serve on a free port.

    Args:
        login: whether it wants USER and PASSWORD.
        tls: of the server, from the first byte.
        starttls: of the server, after STARTTLS.
        utf8: whether it takes addresses beyond ASCII.
    """
    made, loop, listening = MailServer(login=login), asyncio.new_event_loop(), threading.Event()

    def connected() -> _Smtp:
        made.connections += 1
        return _Smtp(
            made,
            loop=loop,
            hostname="mail.test",
            enable_SMTPUTF8=utf8,
            authenticator=_authenticate if login else None,
            auth_require_tls=False,
            tls_context=starttls,
            require_starttls=starttls is not None,
        )

    async def listen() -> asyncio.Server:
        server = await loop.create_server(connected, HOST, 0, ssl=tls)
        made.port = server.sockets[0].getsockname()[1]
        return server

    def serve() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(listen())
        listening.set()
        loop.run_forever()
        server.close()
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=serve, name="smtp", daemon=True)
    thread.start()
    try:
        assert listening.wait(20), "the mail server did not start"
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(15)
    assert not thread.is_alive(), "the mail server did not stop"
