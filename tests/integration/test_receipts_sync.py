"""Receipts out of a mailbox on a real IMAP server: each once, whatever is killed, broken or moved meanwhile."""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest

from imap_proxy import imap_proxy
from imap_server import ImapServer, imap_server, mail
from integration.kernel_support import Bench
from integration.mailbox_search_support import ACME, DATE, LUNCH, PDF, RAIL, ReceiptsBench
from integration.mailbox_support import killed
from slice_kills import some_of
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.mailbox import receipts_sync, service
from switchboard_core.mailbox.imap import Content, ImapSession, MailboxLostError, Part
from switchboard_core.mailbox.service import MailboxNotFoundError

SEED = 20260126


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        yield running


@pytest.fixture
def box(jobs: Bench, server: ImapServer) -> ReceiptsBench:
    server.wipe()
    return ReceiptsBench(jobs, server)


def many(number: int) -> list[bytes]:
    """Receipts over 1, 2, 3 … dollars, with a letter after each."""
    return [
        message
        for index in range(1, number + 1)
        for message in (
            mail(f"<r{index}@example.com>", subject=f"Receipt {index}", text=f"Total: ${index}.00"),
            mail(f"<l{index}@example.com>", subject="Hello", text="How are you?"),
        )
    ]


def test_the_receipts_of_a_mailbox_are_found_and_described(box: ReceiptsBench) -> None:
    box.server.deliver(ACME, LUNCH, RAIL)
    task = box.sync(box.connect())
    assert (task["status"], task["total"], task["done"], task["failed"]) == ("completed", 3, 3, 0)
    assert task["result"] == {"folder": "INBOX", "found": 2, "known": 0}
    acme, rail = box.jobs.sql("SELECT * FROM mailbox_receipts ORDER BY id")
    assert (acme["sender_name"], acme["sender_address"]) == ("Acme", "billing@acme.example")
    assert (str(acme["amount"]), acme["currency"], acme["date"]) == ("12.500", "USD", DATE)
    assert (acme["subject"], acme["folder"]) == ("Your receipt from Acme", "INBOX")
    assert (acme["attachment_name"], acme["attachment_type"]) == ("invoice.pdf", "application/pdf")
    assert (acme["attachment_bytes"], acme["attachment_sha256"]) == (len(PDF), hashlib.sha256(PDF).hexdigest())
    assert (str(rail["amount"]), rail["currency"], rail["attachment_name"]) == ("1234.560", "EUR", None)


def test_the_mailbox_stays_as_it_was(box: ReceiptsBench) -> None:
    box.server.deliver(ACME, LUNCH)
    before = box.server.flags()
    box.sync(box.connect())
    assert box.server.flags() == before


def test_the_next_sync_reads_only_what_is_new(box: ReceiptsBench) -> None:
    box.server.deliver(ACME, LUNCH)
    mailbox_id = box.connect()
    box.sync(mailbox_id)
    box.server.deliver(RAIL)
    task = box.sync(mailbox_id)
    assert (task["total"], task["done"]) == (1, 1)
    assert task["result"] == {"folder": "INBOX", "found": 1, "known": 0}
    assert len(box.receipts()) == 2


def test_a_receipt_that_was_moved_is_not_counted_twice(box: ReceiptsBench) -> None:
    box.server.deliver(ACME)
    mailbox_id = box.connect()
    box.sync(mailbox_id)
    box.server.deliver(ACME, folder="Receipts")
    task = box.sync(mailbox_id, "Receipts")
    assert task["result"] == {"folder": "Receipts", "found": 0, "known": 1}
    assert len(box.receipts()) == 1


def test_a_folder_that_was_made_anew_is_read_anew(box: ReceiptsBench) -> None:
    mailbox_id = box.connect()
    box.server.deliver(ACME, folder="Receipts")
    box.sync(mailbox_id, "Receipts")
    box.jobs.sql("UPDATE mailbox_positions SET uidvalidity = uidvalidity + 1, after_uid = 4711")
    box.server.deliver(RAIL, folder="Receipts")
    assert box.sync(mailbox_id, "Receipts")["result"] == {"folder": "Receipts", "found": 1, "known": 1}


def test_receipts_are_found_without_a_message_id_too(box: ReceiptsBench) -> None:
    box.server.deliver(*(mail(None, subject=f"Receipt {number}", text="Total: $5.00") for number in range(3)))
    mailbox_id = box.connect()
    assert box.sync(mailbox_id)["result"]["found"] == 3


def test_what_arrives_during_the_sync_waits_for_the_next_one(box: ReceiptsBench) -> None:
    box.server.deliver(ACME)
    mailbox_id = box.connect()
    task_id = box.start_sync(mailbox_id)
    kernel = box.sync_kernel()
    box.server.deliver(*many(2))
    kernel.run_slice(task_id, budget_s=0)
    box.server.deliver(RAIL)
    assert box.finish(task_id, kernel)["total"] == 5
    assert box.sync(mailbox_id)["total"] == 1


def test_work_is_done_in_slices_and_each_is_kept(box: ReceiptsBench) -> None:
    box.server.deliver(*many(2))
    task_id = box.start_sync(box.connect())
    kernel = box.sync_kernel()
    assert kernel.run_slice(task_id, budget_s=0) is Outcome.AGAIN
    row = box.jobs.job(task_id)
    assert (row["status"], row["done"], row["total"]) == ("running", 1, 4)
    assert len(box.receipts()) == 1
    assert box.finish(task_id, kernel, budget_s=0)["done"] == 4


def test_a_cancel_keeps_what_was_found(box: ReceiptsBench) -> None:
    box.server.deliver(*many(2))
    task_id = box.start_sync(box.connect())
    kernel = box.sync_kernel()
    kernel.run_slice(task_id, budget_s=0)
    box.jobs.cancel(task_id)
    assert box.finish(task_id, kernel)["status"] == "cancelled"
    assert len(box.receipts()) == 1


def test_one_mailbox_is_synced_by_one_task_at_a_time(box: ReceiptsBench) -> None:
    mailbox_id = box.connect()
    assert box.start_sync(mailbox_id) == box.start_sync(mailbox_id)
    assert box.start_sync(mailbox_id, "Receipts") != box.start_sync(mailbox_id)


# Bad mail


def raw(**headers: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


BROKEN_CHARSET = (
    b"From: shop@example.com\r\nSubject: =?x-nope?Q?Rechnung?= Rechnung\r\nMessage-ID: <c@example.com>\r\n"
    b"Content-Type: text/plain; charset=x-no-such\r\n\r\nGesamtbetrag f\xfcr alles: 12,00 \x80\r\n"
)
HTML_ONLY = (
    b"From: shop@example.com\r\nSubject: Your order\r\nMessage-ID: <h@example.com>\r\n"
    b"Content-Type: text/html\r\n\r\n<table><td>Total<td><b>&euro;</b>7,50</table>\r\n"
)
DAMAGED = b"Subject: receipt\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (BROKEN_CHARSET, ["12.000 EUR"]),
        (HTML_ONLY, ["7.500 EUR"]),
        (DAMAGED, []),
        (b"\r\n\r\n", []),
        (b"From: \xff\xfe\r\nSubject: \x00\xff receipt\r\n\r\nTotal $5\x00.00\r\n", ["5.000 USD"]),
    ],
)
def test_mail_may_be_broken(box: ReceiptsBench, message: bytes, expected: list[str]) -> None:
    box.server.deliver(message, RAIL)
    task = box.sync(box.connect())
    assert (task["status"], task["done"]) == ("completed", 2)
    assert [f"{amount} {currency}" for _, amount, currency in box.receipts()] == [*expected, "1234.560 EUR"]


def test_an_attachment_that_is_too_large_is_not_read_and_people_are_told(
    box: ReceiptsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts_sync, "MAX_DOCUMENT_BYTES", 50_000)
    large = mail(
        "<large@example.com>",
        subject="Receipt",
        text="Total: $5.00",
        attachment=("scan.pdf", "application/pdf", b"x" * 60_000),
    )
    box.server.deliver(large, RAIL)
    task = box.sync(box.connect())
    assert (task["status"], task["done"], task["failed"], task["total"]) == ("completed", 1, 1, 2)
    assert task["errors"][0]["item"].startswith("message ")
    assert "was not read: the receipt was kept without" in task["errors"][0]["message"]
    [found, _] = box.receipts(("attachment_name", "attachment_bytes", "attachment_sha256"))
    assert (found[0], found[2]) == ("scan.pdf", None)
    assert 59_000 < found[1] < 62_000


def test_one_receipt_that_cannot_be_stored_harms_no_other(box: ReceiptsBench) -> None:
    box.jobs.sql("ALTER TABLE mailbox_receipts ADD CONSTRAINT no_luck CHECK (amount <> 2)")
    try:
        box.server.deliver(*many(4))
        task = box.sync(box.connect())
    finally:
        box.jobs.sql("ALTER TABLE mailbox_receipts DROP CONSTRAINT no_luck")
    assert (task["status"], task["done"], task["failed"]) == ("completed", 7, 1)
    assert "no_luck" in task["errors"][0]["message"]
    assert [int(amount) for _, amount, _ in box.receipts()] == [1, 3, 4]


def test_a_receipt_that_makes_the_commit_fail_is_found_and_the_others_are_kept(box: ReceiptsBench) -> None:
    box.jobs.sql(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.amount = 2 THEN RAISE EXCEPTION 'this receipt cannot be saved'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON mailbox_receipts
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    try:
        box.server.deliver(*many(3))
        task = box.sync(box.connect())
    finally:
        box.jobs.sql("DROP FUNCTION refuse CASCADE")
    assert (task["status"], task["done"], task["failed"]) == ("completed", 5, 1)
    assert task["errors"][0]["message"].startswith("Commit failed at ")
    assert [int(amount) for _, amount, _ in box.receipts()] == [1, 3]


# Bad mailboxes


def test_a_mailbox_that_is_not_there_is_said_at_once(box: ReceiptsBench) -> None:
    with pytest.raises(MailboxNotFoundError, match="There is no mailbox 4711"):
        box.start_sync(4711)


def test_a_mailbox_that_was_removed_meanwhile_ends_the_task(box: ReceiptsBench) -> None:
    mailbox_id = box.connect()
    task_id = box.start_sync(mailbox_id)
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session:
        service.remove(session, mailbox_id)
    task = box.finish(task_id, box.sync_kernel())
    assert (task["status"], task["reason"]) == ("failed", f"There is no mailbox {mailbox_id}.")


def test_a_wrong_password_is_said_on_the_task(box: ReceiptsBench) -> None:
    mailbox_id = box.connect(login={"kind": "password", "password": "wrong"})
    task = box.sync(mailbox_id)
    assert task["status"] == "failed"
    assert task["reason"].endswith("connect the mailbox again with the right ones.")


def test_a_folder_that_does_not_exist_is_said_on_the_task(box: ReceiptsBench) -> None:
    task = box.sync(box.connect(), "Nowhere")
    assert task["status"] == "failed"
    assert "opening the folder Nowhere" in task["reason"]


def test_a_mail_server_that_is_away_is_tried_again_and_then_given_up(box: ReceiptsBench) -> None:
    task = box.sync(box.connect(port=1))
    assert task["status"] == "failed"
    assert task["reason"].endswith("sync again once the mail server answers.")


# Kills


class Scene:
    """A sync of eight messages, again and again from the start."""

    def __init__(self, box: ReceiptsBench) -> None:
        self.box = box
        box.server.deliver(*many(2), ACME, BROKEN_CHARSET, LUNCH, RAIL)

    def run(self, *, port: int | None = None, strikes: Callable[[], bool] = bool) -> tuple[tuple[Any, ...], int]:
        """What it leaves behind, and how often its worker died."""
        self.box.jobs.sql("DELETE FROM credentials")
        task_id, kernel = self.box.start_sync(self.box.connect(port=port)), self.box.sync_kernel()
        with killed(self.box.jobs, strikes) as deaths:
            task = self.box.finish(task_id, kernel, budget_s=0.0)
        columns = ("sender_address", "amount", "currency", "subject", "attachment_sha256")
        counters = (task["status"], task["total"], task["done"], task["failed"], task["result"])
        return (counters, self.box.receipts(columns)), len(deaths)


def test_killed_at_any_boundary_of_statements_commits_and_commands(box: ReceiptsBench) -> None:
    """A seeded choice of the boundaries, or all of them (``make boundaries``); each run dies once."""
    scene, passed = Scene(box), itertools.count()
    undisturbed, _ = scene.run(strikes=lambda: next(passed) < 0)
    assert undisturbed[0] == ("completed", 8, 8, 0, {"folder": "INBOX", "found": 5, "known": 0})
    for fatal in some_of(next(passed), 6):
        passed = itertools.count()
        strikes = lambda number=fatal, passed=passed: next(passed) == number  # noqa: E731
        assert scene.run(strikes=strikes) == (undisturbed, 1)


def test_a_connection_that_breaks_mid_sync_is_made_again(box: ReceiptsBench) -> None:
    scene = Scene(box)
    with imap_proxy(box.server.port) as proxy:
        undisturbed = scene.run(port=proxy.port)
        length = proxy.carried[0]
    for cut in sorted(random.Random(SEED).sample(range(1, length), 4)):
        with imap_proxy(box.server.port, cuts=[cut]) as proxy:
            assert scene.run(port=proxy.port) == undisturbed


def test_a_connection_that_always_breaks_at_the_same_message_fails_the_task_with_what_was_found_before(
    box: ReceiptsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ImapSession.content

    def content(session: ImapSession, uid: int, part: Part, *, max_bytes: int) -> Content:
        found = real(session, uid, part, max_bytes=max_bytes)
        if "$3.00" in found.text:
            raise MailboxLostError("The connection broke.")
        return found

    monkeypatch.setattr(ImapSession, "content", content)
    box.server.deliver(*many(4))
    task = box.sync(box.connect())
    assert (task["status"], task["done"], task["total"]) == ("failed", 4, 8)
    assert task["reason"] == "The connection broke. It was tried 4 times: sync again once the mail server answers."
    assert task["result"] == {"folder": "INBOX", "found": 2, "known": 0}
