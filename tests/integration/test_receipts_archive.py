"""A mail whose answer was lost is settled by its blind copy in an archive: a real IMAP server on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imap_server import HOST, PASSWORD, USER, ImapServer, imap_server
from integration.kernel_support import Bench, bench
from integration.receipts_support import Office, office
from mail_server import LOST_AFTER_ACCEPTING, LOST_WITHOUT_ACCEPTING, Mail, MailServer, mail_server
from slice_kills import World, check_kills
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.outbox.archive import ABSENT, FOUND, settle_uncertain
from switchboard_core.outbox.states import MessageState
from switchboard_worker.tasks.receipts import tasks

SETTINGS = {"outbox_archive_grace_seconds": 0.001}
FOLDER = "Sent receipts"
PLACE = {"address": USER, "host": HOST, "security": "none", "username": USER, "password": PASSWORD, "folder": FOLDER}


@pytest.fixture(scope="module")
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, **SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def archive(stack_folder: Path) -> Iterator[ImapServer]:
    with imap_server(stack_folder) as server:
        yield server


@pytest.fixture(scope="module")
def running(archive: ImapServer) -> Iterator[MailServer]:
    """A mail server that puts the archive's copies where they belong."""

    def deliver(mail: Mail) -> None:
        if USER in mail.recipients:
            archive.deliver(mail.content, folder=FOLDER)

    with mail_server() as server:
        server.on_accepted = deliver
        yield server


@pytest.fixture
def acme(jobs: Bench, running: MailServer, archive: ImapServer) -> Office:
    running.wipe()
    return archived(jobs, running, archive)


def archived(jobs: Bench, server: MailServer, archive: ImapServer) -> Office:
    """A new business whose account names the archive."""
    made = office(jobs, server)
    made.connect(archive={**PLACE, "port": archive.port})
    return made


def test_a_copy_goes_to_the_archive_and_no_header_tells(acme: Office) -> None:
    _, receipt = acme.send(email="ada@example.org")
    mail = acme.server.accepted[0]
    assert mail.recipients == ["ada@example.org", USER]
    assert USER not in mail.content.decode()
    assert receipt.state is MessageState.SENT


def test_a_copy_that_is_found_settles_the_mail_without_a_second_one(acme: Office) -> None:
    acme.server.plan(LOST_AFTER_ACCEPTING)
    job, receipt = acme.send()
    assert (job["status"], receipt.state, receipt.reason) == ("completed", MessageState.SENT, FOUND)
    assert len(acme.server.accepted) == 1


def test_an_empty_archive_alone_proves_nothing(acme: Office) -> None:
    acme.server.plan(LOST_WITHOUT_ACCEPTING)
    user_id, payment_id = acme.payment()
    job = acme.work(acme.enqueue(user_id, payment_id))
    assert (job["status"], acme.receipt_of(payment_id).state) == ("failed", MessageState.UNCERTAIN)
    assert acme.server.accepted == []


def test_a_mail_that_is_absent_although_a_later_one_came_is_sent_again_with_the_same_message_id(acme: Office) -> None:
    acme.server.plan(LOST_WITHOUT_ACCEPTING)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    for _ in range(3):
        kernel.run_slice(job_id)
    assert acme.receipt_of(payment_id).state is MessageState.UNCERTAIN

    acme.send()  # the later one
    acme.wake(job_id)
    kernel.run_slice(job_id)
    assert acme.receipt_of(payment_id).reason == ABSENT
    assert acme.work(job_id)["status"] == "completed"
    header = acme.message(payment_id).header
    assert [mail.message_id for mail in acme.server.accepted].count(str(header)) == 1


def test_an_archive_that_cannot_be_looked_into_settles_nothing(acme: Office) -> None:
    acme.server.plan(LOST_WITHOUT_ACCEPTING)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    for _ in range(2):
        kernel.run_slice(job_id)
    acme.send()  # the later one
    message_id = acme.message(payment_id).id
    found = settle_uncertain(acme.jobs.runtime, acme.business_id, message_id, lambda _header: None)
    assert (found.state, found.retry_in_s) == (MessageState.UNCERTAIN, 0.001)


def test_another_archive_than_the_one_that_got_the_copy_is_not_asked(acme: Office, archive: ImapServer) -> None:
    acme.server.plan(LOST_WITHOUT_ACCEPTING)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    for _ in range(2):
        kernel.run_slice(job_id)
    acme.connect(archive={**PLACE, "port": archive.port, "address": "other@example.com"})
    found = settle_uncertain(acme.jobs.runtime, acme.business_id, acme.message(payment_id).id)
    assert (found.state, found.retry_in_s) == (MessageState.UNCERTAIN, None)


def test_killed_at_every_boundary_each_payment_s_mail_is_accepted_exactly_once(
    jobs: Bench, running: MailServer, archive: ImapServer
) -> None:
    @contextmanager
    def world() -> Iterator[World]:
        running.wipe()
        acme = archived(jobs, running, archive)
        user_id, payment_id = acme.payment(email="ada@example.org")
        job_id = acme.enqueue(user_id, payment_id)
        known = tasks(jobs.runtime)
        send = known["send_payment_receipt_job"]

        def slice_of_a_long_day(ctx: SliceContext, payload: dict[str, object], cursor: Cursor | None) -> Slice:
            # Time passes between slices: leases of dead workers run out, and other mails reach the archive.
            acme.expire_leases()
            if cursor and "looks" in cursor and payload["payment_id"] == payment_id:
                acme.send(email="control@example.org")
            return send(ctx, payload, cursor)

        def observe() -> object:
            receipt = acme.receipt_of(payment_id)
            return receipt.state, len(running.to("ada@example.org"))

        yield World(
            jobs.runtime,
            acme.business_id,
            job_id,
            {**known, "send_payment_receipt_job": slice_of_a_long_day},
            observe,
        )

    calm = check_kills(world)
    assert calm.slices == 2
    assert calm.commits >= 7, "claim, hand-over and settlement are commits of their own"
