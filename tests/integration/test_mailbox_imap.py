"""A connection to a mail server: encrypted, bounded, and clear about what is wrong."""

import ssl
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from apiserver.certificates import Certificates, make_certificates
from imap_proxy import imap_proxy
from imap_server import ImapServer, imap_server, mail
from integration.kernel_support import bench, kernel_database
from integration.mailbox_support import MailboxBench
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.egress import Egress
from switchboard_core.mailbox.imap import (
    ImapSession,
    MailboxLostError,
    MailboxRefusedError,
    MailboxUnreachableError,
    Security,
    WrongCredentialsError,
)

MEGABYTE = 1024 * 1024
LARGE = 50 * MEGABYTE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        yield running


@pytest.fixture
def inbox(server: ImapServer) -> ImapServer:
    server.wipe()
    return server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    return context


def test_a_large_folder_is_searched_piece_by_piece_and_no_further_than_needed(
    inbox: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a SEARCH finds comes in one line, and a line that is too long is not read."""
    asked: list[str] = []
    real = ImapSession._search

    def search(session: ImapSession, criteria: list[str]) -> list[int]:
        asked.append(criteria[1])
        return real(session, criteria)

    inbox.deliver(*(mail(f"<{number}@example.com>") for number in range(7)))
    with inbox.session() as imap:
        folder = imap.select("INBOX")
        monkeypatch.setattr(ImapSession, "_search", search)
        at_once = imap.uids_after(0)
        before, last = at_once[0] - 1, folder.uidnext - 1
        monkeypatch.setattr("switchboard_core.mailbox.imap.SEARCHED_AT_ONCE", 3)
        assert imap.uids_after(before, up_to=last) == at_once
        assert imap.uids_after(before, up_to=last, limit=2) == at_once[:3]
    start = f"{before + 1}:{before + 3}"
    assert len(at_once) == 7
    assert asked == [f"1:{last}", start, f"{before + 4}:{before + 6}", f"{last}:{last}", start]


def test_headers_and_parts_come_without_the_content(inbox: ImapServer) -> None:
    when = datetime(2026, 9, 1, 12, 30, tzinfo=UTC)
    message = mail(
        "<1@example.com>",
        subject="Grüße 💐",
        sender="Zoë <zoe@example.net>",
        date=when,
        headers={"List-Id": "Friends <friends.example.net>"},
        attachment=("Rechnung für Zoë.pdf", "application/pdf", b"%PDF-1.7"),
    )
    inbox.deliver(message, received=when)
    with inbox.session() as imap:
        imap.select("INBOX")
        [header] = imap.headers(imap.uids_after(0))
        [attached] = list(imap.contents(header, lambda part: part.attachment))
    assert header.message_id == "<1@example.com>"
    assert (header.sender, header.subject) == ("Zoë <zoe@example.net>", "Grüße 💐")
    assert header.list_id == "Friends <friends.example.net>"
    assert (header.date, header.received, header.size) == (when, when, len(message))
    assert [part.content_type for part in header.parts] == ["text/plain", "application/pdf"]
    assert (attached.part.filename, attached.data, attached.truncated) == ("Rechnung für Zoë.pdf", b"%PDF-1.7", False)


def test_reading_marks_nothing_as_read(inbox: ImapServer) -> None:
    inbox.deliver(mail("<1@example.com>"))
    with inbox.session() as imap:
        imap.select("INBOX")
        [header] = imap.headers(imap.uids_after(0))
        assert imap.content(header.uid, header.parts[0]).text.strip() == "Nothing much."
    assert inbox.flags() == {"<1@example.com>": set()}


def test_folders_in_any_script_are_made_found_and_searched(inbox: ImapServer) -> None:
    inbox.deliver(mail("<1@example.com>", subject="Süße Träume"), mail("<2@example.com>", text="about invoice 4711"))
    with inbox.session() as imap:
        imap.create_folder("Belege/Juli")
        imap.create_folder("Ärzte & Söhne")
        imap.create_folder("Ärzte & Söhne")
        assert imap.folders() == ["INBOX", "Belege/Juli", "Ärzte & Söhne"]
        imap.select("INBOX")
        [sweet] = imap.search(subject="Träume")
        assert imap.search("INVOICE 4711") == [sweet + 1]
        assert imap.search(since=date(2020, 1, 1)) == [sweet + 1, sweet]
        imap.move([sweet], "Ärzte & Söhne")
        assert imap.has_message("<1@example.com>", "Ärzte & Söhne")
        assert not imap.has_message("<1@example.com>", "INBOX")
        assert not imap.has_message("<1@example.com>", "no such folder")


@pytest.mark.parametrize("hidden", [(b"MOVE",), (b"MOVE", b"UIDPLUS")], ids=["no MOVE", "no MOVE and no UIDPLUS"])
def test_a_server_without_move_moves_all_the_same(inbox: ImapServer, hidden: tuple[bytes, ...]) -> None:
    inbox.deliver(mail("<1@example.com>"), mail("<2@example.com>"))
    with imap_proxy(inbox.port, hidden=hidden) as proxy, inbox.session(port=proxy.port) as imap:
        imap.create_folder("Done")
        imap.select("INBOX")
        assert not imap.moves_at_once
        imap.move(imap.uids_after(0)[:1], "Done")
    assert inbox.contents() == {"INBOX": ["<2@example.com>"], "Done": ["<1@example.com>"]}


def test_without_uidplus_what_somebody_else_marked_as_deleted_is_left_alone(inbox: ImapServer) -> None:
    inbox.deliver(mail("<1@example.com>"), mail("<theirs@example.com>"))
    with inbox.client() as client:
        client.select_folder("INBOX")
        client.add_flags(client.search()[1], ["\\Deleted"])
    with imap_proxy(inbox.port, hidden=(b"MOVE", b"UIDPLUS")) as proxy, inbox.session(port=proxy.port) as imap:
        imap.create_folder("Done")
        imap.select("INBOX")
        imap.move(imap.uids_after(0), "Done")
        assert imap.uids_after(0) == []
    assert "<theirs@example.com>" in inbox.contents()["INBOX"]


def test_a_mail_of_50_mb_is_read_and_sorted_without_being_loaded(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey, inbox: ImapServer
) -> None:
    inbox.deliver(large_mail(), mail("<small@example.com>", subject="Invoice"))
    with kernel_database(postgres, migrated_template) as urls, bench(urls, valkey) as jobs:
        box = MailboxBench(jobs, inbox)
        mailbox_id = box.mailbox()
        tracemalloc.start()
        try:
            with inbox.session() as imap:
                imap.select("INBOX")
                [header, _small] = imap.headers(imap.uids_after(0))
                text, attached = list(imap.contents(header, lambda _part: True, max_bytes=100_000))
            task = box.sort(mailbox_id)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert header.size > LARGE
    assert header.has_attachment
    assert (text.text.strip(), text.truncated) == ("See the attachment.", False)
    assert (attached.data[:6], attached.truncated) == (b"ABCABC", True)
    assert (task["status"], task["done"]) == ("completed", 2)
    assert inbox.contents() == {"Receipts/2026": ["<large@example.com>", "<small@example.com>"]}
    assert peak < 10 * MEGABYTE


def large_mail() -> bytes:
    line = b"QUJD" * 19 + b"\r\n"
    return (
        b"From: bob@example.net\r\nSubject: Invoice, all of it\r\nMessage-ID: <large@example.com>\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: text/plain\r\n\r\nSee the attachment.\r\n--b\r\n"
        b'Content-Type: application/zip; name="all.zip"\r\nContent-Transfer-Encoding: base64\r\n'
        b'Content-Disposition: attachment; filename="all.zip"\r\n\r\n' + line * (LARGE // len(line) + 1) + b"--b--\r\n"
    )


def test_tls_is_spoken_with_a_server_whose_certificate_is_good(
    inbox: ImapServer, tls: ssl.SSLContext, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with imap_proxy(inbox.port, tls=tls) as proxy, inbox.session(port=proxy.port, security=Security.TLS) as imap:
        assert imap.select("INBOX").exists == 0


def test_a_certificate_that_nobody_vouches_for_is_refused(inbox: ImapServer, tls: ssl.SSLContext) -> None:
    with (
        imap_proxy(inbox.port, tls=tls) as proxy,
        pytest.raises(MailboxRefusedError, match=r"certificate of 127\.0\.0\.1 is not valid"),
        inbox.session(port=proxy.port, security=Security.TLS),
    ):
        pass


def test_starttls_is_spoken_before_the_password_is_shown(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    options = ("--cert", str(certificates.server), "--key", str(certificates.server_key))
    with imap_server(tmp_path, *options) as server, server.session(security=Security.STARTTLS) as imap:
        assert imap.select("INBOX").exists == 0


def test_starttls_is_never_given_up_for_clear_text(inbox: ImapServer) -> None:
    with pytest.raises(MailboxRefusedError, match="offers no encryption"), inbox.session(security=Security.STARTTLS):
        pass


def test_clear_text_is_only_for_hosts_that_the_installation_trusts(inbox: ImapServer) -> None:
    with pytest.raises(MailboxRefusedError, match="would not be encrypted"), ImapSession(inbox.account(), Egress()):
        pass


def test_an_address_of_the_inside_is_refused_whatever_listens_there(inbox: ImapServer) -> None:
    with (
        pytest.raises(MailboxRefusedError, match="TRUSTED_HOSTS"),
        ImapSession(inbox.account(security=Security.TLS), Egress()),
    ):
        pass


def test_a_wrong_password_is_named_and_not_repeated(inbox: ImapServer) -> None:
    with pytest.raises(WrongCredentialsError) as caught, inbox.session(password="hunter2"):
        pass
    assert "hunter2" not in repr(caught.value)
    assert str(caught.value).startswith("127.0.0.1 does not accept user name and password")


@pytest.mark.parametrize("cut", [0, 10, 150])
def test_a_connection_that_breaks_before_the_login_is_done_is_no_wrong_password(inbox: ImapServer, cut: int) -> None:
    with (
        imap_proxy(inbox.port, cuts=[cut]) as proxy,
        pytest.raises(MailboxUnreachableError, match="cannot be reached"),
        inbox.session(port=proxy.port),
    ):
        pass


def test_a_connection_that_breaks_later_is_lost(inbox: ImapServer) -> None:
    with imap_proxy(inbox.port) as proxy, inbox.session(port=proxy.port) as imap:
        imap.select("INBOX")
        proxy.close()
        with pytest.raises(MailboxLostError, match=r"The connection to 127\.0\.0\.1 broke while searching\."):
            imap.uids_after(0)


def test_what_is_no_mail_server_is_named_so(valkey: EmbeddedValkey, inbox: ImapServer) -> None:
    port = int(valkey.url.rpartition(":")[2].partition("/")[0])
    session = ImapSession(inbox.account(port=port), Egress(("127.0.0.1",)), read_timeout_s=0.3)
    with pytest.raises(MailboxUnreachableError, match="does not answer as a mail server does"), session:
        pass


def test_accounts_do_not_show_their_secrets(inbox: ImapServer) -> None:
    assert "secret" not in repr(inbox.account(password="secret", access_token="secret"))
