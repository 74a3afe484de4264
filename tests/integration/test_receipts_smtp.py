"""How a mail server is spoken to: encrypted where that is wanted, and never with a password in the open."""

import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from apiserver.certificates import Certificates, make_certificates
from mail_server import HOST, PASSWORD, USER, MailServer, mail_server
from switchboard_core.outbox.errors import ContentRefusedError, NotSentError
from switchboard_core.outbox.models import Security
from switchboard_core.outbox.smtp import Server, SmtpSession
from switchboard_core.settings import Settings

TRUSTED = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def context(certificates: Certificates) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(certificates.server, certificates.server_key)
    return made


@pytest.fixture(scope="module")
def tls(context: ssl.SSLContext) -> Iterator[MailServer]:
    with mail_server(login=True, tls=context) as server:
        yield server


@pytest.fixture(scope="module")
def starttls(context: ssl.SSLContext) -> Iterator[MailServer]:
    with mail_server(login=True, starttls=context) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[MailServer]:
    with mail_server(login=True) as server:
        yield server


def settings(trusted: tuple[str, ...] = TRUSTED) -> Settings:
    return Settings(
        _env_file=None,
        database_url="postgresql+psycopg://nobody:none@127.0.0.1:9/none",
        trusted_hosts=trusted,
    )


def session(server: MailServer, security: Security, *, host: str = HOST, **account: str) -> SmtpSession:
    login = {"username": USER, "password": PASSWORD, **account}
    return SmtpSession(Server(host, server.port, security, "example.com", **login), settings())


def letter(number: int = 1) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = f"Mail {number}"
    mail["Message-ID"] = f"<{number}@example.com>"
    mail.set_content(".a line that begins with a dot\n..\nand Grüße\n")
    return mail


def trust(monkeypatch: pytest.MonkeyPatch, authority: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_mail_goes_over_tls_with_a_login(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    certificates: Certificates,
    security: Security,
) -> None:
    trust(monkeypatch, certificates.authority)
    server: MailServer = request.getfixturevalue(security.value)
    smtp = session(server, security)
    smtp.deliver(letter(), USER, "ada@example.org", archive=None, before_end=lambda _archived: None)
    smtp.close()
    assert server.accepted[-1].recipients == ["ada@example.org"]


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_a_certificate_that_nobody_vouches_for_is_refused(request: pytest.FixtureRequest, security: Security) -> None:
    with pytest.raises(NotSentError, match="is not valid for it") as refused:
        session(request.getfixturevalue(security.value), security).check()
    assert refused.value.account_fault


def test_a_server_without_starttls_gets_nothing(plain: MailServer) -> None:
    with pytest.raises(NotSentError, match="does not offer what the account wants") as refused:
        session(plain, Security.STARTTLS).check()
    assert refused.value.account_fault


def test_tls_to_a_server_that_has_none_is_told(plain: MailServer) -> None:
    with pytest.raises(NotSentError, match="No TLS could be agreed on"):
        session(plain, Security.TLS).check()


def test_a_password_goes_unencrypted_to_trusted_hosts_only(plain: MailServer) -> None:
    account = Server("mail.example.com", 25, Security.NONE, "example.com", USER, PASSWORD)
    smtp = SmtpSession(Server(HOST, plain.port, Security.NONE, "example.com", USER, PASSWORD), settings(trusted=()))
    with pytest.raises(NotSentError, match="unencrypted: choose tls or starttls"):
        smtp.check()
    assert PASSWORD not in repr(account)


def test_a_server_that_wants_a_login_is_told_from_one_that_is_busy(plain: MailServer) -> None:
    smtp = SmtpSession(Server(HOST, plain.port, Security.NONE, "example.com"), settings())
    with pytest.raises(NotSentError, match="wants a login: set user name and password") as refused:
        smtp.deliver(letter(), USER, "ada@example.org", archive=None, before_end=lambda _archived: None)
    assert refused.value.account_fault


def test_several_mails_share_a_connection_and_arrive_as_they_were_written(plain: MailServer) -> None:
    plain.wipe()
    before, smtp = plain.connections, session(plain, Security.NONE)
    for number in range(3):
        smtp.deliver(letter(number), USER, "ada@example.org", archive=None, before_end=lambda _archived: None)
    smtp.close()
    assert plain.connections == before + 1
    assert [mail.message_id for mail in plain.accepted] == ["<0@example.com>", "<1@example.com>", "<2@example.com>"]
    assert plain.accepted[0].message.get_content() == ".a line that begins with a dot\n..\nand Grüße\n"


def test_a_mail_that_is_called_off_before_its_end_does_not_arrive(plain: MailServer) -> None:
    plain.wipe()

    def no(_archived: bool) -> None:
        raise LookupError("called off")

    smtp = session(plain, Security.NONE)
    with pytest.raises(LookupError, match="called off"):
        smtp.deliver(letter(), USER, "ada@example.org", archive=None, before_end=no)
    smtp.deliver(letter(2), USER, "ada@example.org", archive=None, before_end=lambda _archived: None)
    smtp.close()
    assert [mail.message_id for mail in plain.accepted] == ["<2@example.com>"]


def test_an_address_beyond_ascii_goes_out_if_the_server_can(plain: MailServer) -> None:
    smtp = session(plain, Security.NONE)
    with pytest.raises(ContentRefusedError, match="use another address"):
        smtp.deliver(letter(), USER, "zoë@bücher.example", archive=None, before_end=lambda _archived: None)
    smtp.close()
    with mail_server(utf8=True, login=True) as able:
        smtp = session(able, Security.NONE)
        smtp.deliver(letter(), USER, "zoë@bücher.example", archive=None, before_end=lambda _archived: None)
        smtp.close()
    assert able.accepted[0].recipients == ["zoë@xn--bcher-kva.example"]


def test_a_domain_beyond_ascii_goes_out_in_ascii(plain: MailServer) -> None:
    plain.wipe()
    smtp = session(plain, Security.NONE)
    smtp.deliver(letter(), USER, "ada@bücher.example", archive=None, before_end=lambda _archived: None)
    smtp.close()
    assert plain.accepted[0].recipients == ["ada@xn--bcher-kva.example"]


def test_a_host_that_does_not_exist_is_told() -> None:
    smtp = SmtpSession(Server("nowhere.invalid", 25, Security.STARTTLS, "example.com"), settings())
    with pytest.raises(NotSentError, match=r"nowhere\.invalid cannot be found: check its name\.") as refused:
        smtp.check()
    assert not refused.value.account_fault
