"""Sorting a mailbox by its rules, on a real IMAP server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from imap_proxy import imap_proxy
from imap_server import ImapServer, imap_server, mail
from integration.kernel_support import bench, kernel_database
from integration.mailbox_support import MailboxBench
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.mailbox import service
from switchboard_core.mailbox.service import NoMailboxError, NoRulesError, SeveralMailboxesError


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        yield running


@pytest.fixture
def box(urls: DatabaseUrls, valkey: EmbeddedValkey, server: ImapServer) -> Iterator[MailboxBench]:
    server.wipe()
    with bench(urls, valkey) as jobs:
        yield MailboxBench(jobs, server)


INVOICE = mail("<1@example.com>", subject="Invoice 17")
NEWS = mail("<2@example.com>", headers={"List-Id": "Weekly <news.example.org>"})
ALERT = mail("<3@example.com>", sender="Alerts <alerts@example.org>")
OTHER = mail("<4@example.com>")


def test_each_message_goes_where_the_first_matching_rule_sends_it(box: MailboxBench) -> None:
    box.server.deliver(INVOICE, NEWS, ALERT, OTHER)
    task = box.sort(box.mailbox())
    assert (task["status"], task["done"], task["total"], task["failed"]) == ("completed", 4, 4, 0)
    assert box.server.contents() == {
        "INBOX": ["<3@example.com>", "<4@example.com>"],
        "Receipts/2026": ["<1@example.com>"],
        "News": ["<2@example.com>"],
    }
    assert task["result"] == {
        "moved": {"Receipts/2026": 1, "News": 1},
        "marked": 1,
        "unmatched": 1,
        "known": 0,
        "gone": 0,
        "bounces": 0,
    }


def test_messages_are_marked_as_read_where_the_rule_says_so(box: MailboxBench) -> None:
    box.server.deliver(INVOICE, ALERT, OTHER)
    box.sort(box.mailbox())
    assert box.server.flags("Receipts/2026") == {"<1@example.com>": {"\\Seen"}}
    assert box.server.flags() == {"<3@example.com>": {"\\Seen"}, "<4@example.com>": set()}


def test_a_second_sort_finds_nothing_to_do(box: MailboxBench) -> None:
    box.server.deliver(INVOICE, ALERT)
    mailbox_id = box.mailbox()
    box.sort(mailbox_id)
    before = box.server.contents()
    again = box.sort(mailbox_id)
    assert box.server.contents() == before
    assert again["result"] == {"moved": {}, "marked": 0, "unmatched": 0, "known": 1, "gone": 0, "bounces": 0}


def test_a_message_that_somebody_put_back_stays_there(box: MailboxBench) -> None:
    box.server.deliver(INVOICE)
    mailbox_id = box.mailbox()
    box.sort(mailbox_id)
    with box.server.client() as client:
        client.select_folder("Receipts/2026")
        client.move(client.search(), "INBOX")
    assert box.sort(mailbox_id)["result"]["known"] == 1
    assert box.server.contents() == {"INBOX": ["<1@example.com>"]}


def test_two_messages_with_one_message_id_are_one(box: MailboxBench) -> None:
    box.server.deliver(INVOICE, mail("<1@example.com>", subject="Invoice 17, the copy"))
    assert box.sort(box.mailbox())["result"]["known"] == 1
    assert box.server.contents() == {"INBOX": ["<1@example.com>"], "Receipts/2026": ["<1@example.com>"]}


def test_messages_without_a_message_id_are_told_apart_by_their_headers(box: MailboxBench) -> None:
    box.server.deliver(*(mail(None, subject=f"Invoice {number}") for number in range(3)))
    assert box.sort(box.mailbox())["result"]["moved"] == {"Receipts/2026": 3}
    assert box.server.contents() == {"Receipts/2026": ["Invoice 0", "Invoice 1", "Invoice 2"]}


def test_old_messages_and_those_with_attachments_are_found(box: MailboxBench) -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    box.server.deliver(mail("<old@example.com>"), received=old)
    box.server.deliver(mail("<pdf@example.com>", attachment=("a.pdf", "application/pdf", b"%PDF")), OTHER)
    mailbox_id = box.connect()
    box.set_rules(
        mailbox_id,
        [
            {"name": "Files", "match": {"has_attachment": True}, "action": {"move_to": "Files"}},
            {"name": "Old", "match": {"older_than_days": 365}, "action": {"move_to": "Archive"}},
        ],
    )
    box.sort(mailbox_id)
    assert box.server.contents() == {
        "INBOX": ["<4@example.com>"],
        "Files": ["<pdf@example.com>"],
        "Archive": ["<old@example.com>"],
    }


def test_a_broken_mail_is_sorted_by_what_can_be_read_of_it(box: MailboxBench) -> None:
    broken = (
        b"From: =?no-such-charset?q?=FF=FE?= <a@example.net>\r\n"
        b"Subject: =?utf-8?b?broken base64?= Invoice \xe4\xf6\xff\r\n"
        b"Message-ID: <broken@example.com>\r\n"
        b"Date: the day before yesterday\r\n"
        b'Content-Type: text/plain; charset="klingon"\r\n\r\n\xff\xfe\x00\r\n'
    )
    box.server.deliver(broken, mail("<fine@example.com>", subject="Invoice"))
    task = box.sort(box.mailbox())
    assert (task["status"], task["failed"]) == ("completed", 0)
    assert box.server.contents() == {"Receipts/2026": ["<broken@example.com>", "<fine@example.com>"]}


def test_mail_that_comes_while_it_is_sorted_is_left_for_the_next_time(box: MailboxBench) -> None:
    box.server.deliver(*(mail(f"<{number}@example.com>", subject="Invoice") for number in range(60)))
    mailbox_id = box.mailbox()
    task_id, kernel = box.start(mailbox_id), box.kernel()
    assert kernel.run_slice(task_id, budget_s=0.0) is Outcome.AGAIN
    box.server.deliver(mail("<late@example.com>", subject="Invoice"))
    task = box.finish(task_id, kernel)
    assert (task["done"], task["total"]) == (60, 60)
    assert box.server.contents()["INBOX"] == ["<late@example.com>"]


def test_a_folder_that_was_made_anew_is_sorted_from_its_start(box: MailboxBench) -> None:
    box.server.deliver(*(mail(f"<{number}@example.com>") for number in range(60)), folder="Incoming")
    mailbox_id = box.mailbox(folder="Incoming")
    task_id, kernel = box.start(mailbox_id), box.kernel()
    assert kernel.run_slice(task_id, budget_s=0.0) is Outcome.AGAIN
    with box.server.client() as client:
        client.delete_folder("Incoming")
    box.server.deliver(INVOICE, OTHER, folder="Incoming")
    task = box.finish(task_id, kernel)
    assert task["status"] == "completed"
    assert box.server.contents() == {"Incoming": ["<4@example.com>"], "Receipts/2026": ["<1@example.com>"]}


def test_what_the_server_refuses_is_listed_and_the_rest_goes_on(box: MailboxBench) -> None:
    box.server.deliver(INVOICE, NEWS)
    with imap_proxy(box.server.port, refused=b'"Receipts/2026"') as proxy:
        task = box.sort(box.mailbox(port=proxy.port))
    assert (task["status"], task["done"], task["failed"]) == ("completed", 1, 1)
    [error] = task["errors"]
    assert error["item"].startswith("message ")
    assert error["message"] == "127.0.0.1 refused making the folder Receipts/2026: [OVERQUOTA] Quota exceeded."
    assert box.server.contents() == {"INBOX": ["<1@example.com>"], "News": ["<2@example.com>"]}
    assert [row["rule"] for row in box.sorted_messages()] == ["News"]


def test_what_was_refused_is_sorted_the_next_time(box: MailboxBench) -> None:
    box.server.deliver(INVOICE)
    with imap_proxy(box.server.port, refused=b"MOVE") as proxy:
        mailbox_id = box.mailbox(port=proxy.port)
        assert box.sort(mailbox_id)["failed"] == 1
    box.connect()
    assert box.sort(mailbox_id)["done"] == 1
    assert box.server.contents() == {"Receipts/2026": ["<1@example.com>"]}


def test_two_sorts_of_a_mailbox_are_one_task(box: MailboxBench) -> None:
    box.server.deliver(INVOICE)
    mailbox_id = box.mailbox()
    assert box.start(mailbox_id) == box.start(mailbox_id)


def test_without_mailbox_rules_or_choice_the_sentence_says_what_to_do(box: MailboxBench) -> None:
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session, pytest.raises(NoMailboxError, match="POST"):
        service.sort(session, box.jobs.runtime)
    box.connect()
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session, pytest.raises(NoRulesError, match="PUT"):
        service.sort(session, box.jobs.runtime)
    box.connect(host="localhost")
    with (
        box.jobs.runtime.database.tenant(box.jobs.business_id) as session,
        pytest.raises(SeveralMailboxesError, match="mailbox_id"),
    ):
        service.sort(session, box.jobs.runtime)


def test_a_mailbox_that_was_removed_meanwhile_ends_its_task_with_a_sentence(box: MailboxBench) -> None:
    box.server.deliver(INVOICE)
    mailbox_id = box.mailbox()
    task_id = box.start(mailbox_id)
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session:
        service.remove(session, mailbox_id)
    task = box.finish(task_id)
    assert (task["status"], task["reason"]) == ("failed", f"There is no mailbox {mailbox_id}.")
    assert box.jobs.sql("SELECT * FROM credentials") == []


def test_a_mail_that_came_back_is_told_to_the_outbox(box: MailboxBench) -> None:
    key = "00000000-0000-4000-8000-000000000001"
    box.jobs.sql(
        "INSERT INTO outgoing_messages (id, business_id, channel, dedupe_key, recipient, state) "
        "VALUES (%s, %s, 'email', 'test', 'gone@example.org', 'sent')",
        key,
        box.jobs.business_id,
    )
    box.server.deliver(delivery_report(f"<{key}@example.com>"), OTHER)
    assert box.sort(box.mailbox())["result"]["bounces"] == 1
    [message] = box.jobs.sql("SELECT state, reason FROM outgoing_messages")
    assert message == {"state": "bounced", "reason": "It came back (5.1.1): 550 … unknown here."}


def delivery_report(message_id: str) -> bytes:
    """What a mail server sends back when an address does not exist."""
    report = EmailMessage(policy=SMTP)
    report["From"], report["To"], report["Subject"] = "MAILER-DAEMON@example.org", "anna@example.com", "Undeliverable"
    report["Message-ID"] = "<report@example.org>"
    status = (
        "Reporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; gone@example.org\r\nAction: failed\r\n"
        "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 <gone@example.org> unknown here.\r\n"
    )
    parts = (
        ("text/plain", "It could not be delivered.\r\n"),
        ("message/delivery-status", status),
        ("message/rfc822", f"Message-ID: {message_id}\r\nSubject: Receipt\r\n\r\nHello\r\n"),
    )
    head = report.as_string().rstrip("\r\n")
    body = "".join(f"--frontier\r\nContent-Type: {kind}\r\n\r\n{content}\r\n" for kind, content in parts)
    return (
        f'{head}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type="delivery-status"; '
        f'boundary="frontier"\r\n\r\n{body}--frontier--\r\n'
    ).encode()
