"""A server that a tenant named cannot hold up whoever logs in there: not by sending a little now and then, nor much."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from switchboard_core.egress import Egress
from switchboard_core.mailbox import oauth
from switchboard_core.mailbox.imap import Account, ImapSession, MailboxUnreachableError, Security
from switchboard_core.mailbox.oauth import Grant
from switchboard_core.outbox.errors import NotSentError
from switchboard_core.outbox.models import Security as SmtpSecurity
from switchboard_core.outbox.smtp import Server, SmtpSession
from switchboard_core.settings import Settings
from trickling_server import HOST, LASTS_S, trickling_server

DEADLINE_S = 0.5


@contextmanager
def well_before_the_server_ends() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < LASTS_S - 5


def smtp(port: int, timeout_s: float = DEADLINE_S) -> SmtpSession:
    settings = Settings(
        _env_file=None,
        database_url="postgresql+psycopg://nobody:none@127.0.0.1:9/none",
        trusted_hosts=(HOST,),
        smtp_timeout_seconds=timeout_s,
    )
    return SmtpSession(Server(HOST, port, SmtpSecurity.NONE, "example.com"), settings)


@pytest.mark.parametrize("piece", [b"220-and more\r\n", b"2"], ids=["lines", "letters of one line"])
def test_a_mail_server_that_never_ends_its_greeting_is_given_up(piece: bytes) -> None:
    with (
        trickling_server(piece) as server,
        well_before_the_server_ends(),
        pytest.raises(NotSentError, match="did not answer in time"),
    ):
        smtp(server.port).check()


def test_a_mail_server_that_never_ends_a_later_reply_is_given_up() -> None:
    with (
        trickling_server(b"250-MORE\r\n", first=b"220 mail.test\r\n") as server,
        well_before_the_server_ends(),
        pytest.raises(NotSentError, match="did not answer in time"),
    ):
        smtp(server.port).check()


def test_a_reply_of_a_mail_server_that_is_far_too_long_is_not_gathered() -> None:
    lines = (b"220-" + b"x" * 1000 + b"\r\n") * 64
    with (
        trickling_server(lines, every_s=0) as server,
        pytest.raises(NotSentError, match="cannot be reached"),
    ):
        smtp(server.port, timeout_s=15).check()
    # The sockets between them hold some megabytes, however soon the client is gone.
    assert server.sent < 1000


def test_a_mailbox_whose_server_never_answers_the_login_is_given_up() -> None:
    with trickling_server(b"* OK still here\r\n") as server:
        account = Account(HOST, server.port, Security.NONE, "anna", "secret")
        session = ImapSession(account, Egress((HOST,)), session_timeout_s=DEADLINE_S)
        with well_before_the_server_ends(), pytest.raises(MailboxUnreachableError), session:
            pass


def test_a_token_endpoint_that_never_ends_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "TIMEOUT_S", DEADLINE_S)
    with trickling_server(b"X-More: 1\r\n", first=b"HTTP/1.1 200 OK\r\n") as server:
        grant = Grant(f"http://{HOST}:{server.port}/token", "switchboard", None, "refresh-1")
        with well_before_the_server_ends(), pytest.raises(MailboxUnreachableError, match="cannot be reached"):
            oauth.renew(grant, Egress((HOST,)), time.time())
