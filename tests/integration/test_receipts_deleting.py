"""Receipts are deleted in slices; payments stay, and none of them is mailed again by accident."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from integration.kernel_support import Bench, bench
from integration.receipts_support import Office, office
from mail_server import PUT_OFF, MailServer, mail_server
from slice_kills import World, check_kills
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.states import Channel, MessageState
from switchboard_core.receipts import service
from switchboard_core.receipts.models import Receipt
from switchboard_worker.tasks.receipts import tasks


@pytest.fixture(scope="module")
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey) as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def acme(jobs: Bench, running: MailServer) -> Office:
    running.wipe()
    return office(jobs, running)


def delete_all(acme: Office) -> int:
    with acme.session() as session:
        return service.delete_all(session, acme.jobs.runtime).id


def test_all_receipts_go_and_all_payments_stay(acme: Office) -> None:
    sent = [acme.send()[1] for _ in range(2)]
    job = acme.work(delete_all(acme))
    assert (job["status"], job["total"], job["done"], job["failed"]) == ("completed", 2, 2, 0)
    with acme.session() as session:
        assert service.list_receipts(session) == []
        kept = [(payment.id, payment.receipt_id) for payment in service.list_payments(session)]
    assert kept == [(receipt.payment_id, None) for receipt in sent]


def test_of_a_deleted_receipt_s_mail_only_that_it_was_sent_is_left(acme: Office) -> None:
    _, receipt = acme.send()
    acme.work(delete_all(acme))
    message = acme.message(receipt.payment_id)
    assert (message.state, message.recipient, message.erased_at is None) == (MessageState.SENT, None, False)


def test_a_payment_whose_receipt_was_deleted_is_not_mailed_again(acme: Office) -> None:
    user_id, payment_id = acme.payment()
    acme.work(acme.enqueue(user_id, payment_id))
    acme.work(delete_all(acme))
    job = acme.work(acme.enqueue(user_id, payment_id))
    assert (job["status"], job["reason"]) == ("failed", service.DELETED)
    assert len(acme.server.accepted) == 1
    with acme.session() as session, pytest.raises(service.ReceiptDeletedError):
        service.send(session, acme.jobs.runtime, payment_id)


def test_a_receipt_that_waits_to_be_sent_is_called_off(acme: Office) -> None:
    acme.server.plan(PUT_OFF)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    kernel.run_slice(job_id)
    kernel.run_slice(job_id)
    acme.work(delete_all(acme))
    acme.wake(job_id)
    assert acme.work(job_id)["status"] == "failed"
    assert acme.message(payment_id).state is MessageState.SKIPPED
    assert acme.server.accepted == []


def test_a_receipt_that_is_deleted_while_it_is_composed_is_not_sent(acme: Office) -> None:
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    kernel.run_slice(job_id)
    with acme.session() as session:
        message = outbox.claim(session, acme.message(payment_id).id, lease_s=30).message
    acme.work(delete_all(acme))
    with acme.session() as session:
        assert not outbox.hand_over(session, message.id, message.attempt, lease_s=30)


def test_by_name_and_without_arguments_it_deletes_what_there_is(acme: Office) -> None:
    acme.send()
    job = acme.work(acme.jobs.enqueue("delete_receipts_all", business_id=acme.business_id))
    assert (job["status"], job["done"]) == ("completed", 1)


def test_receipts_of_another_business_stay(acme: Office, jobs: Bench, running: MailServer) -> None:
    other = office(jobs, running)
    _, receipt = other.send()
    acme.work(delete_all(acme))
    assert other.receipt_of(receipt.payment_id).state is MessageState.SENT


def add_receipts(acme: Office, number: int) -> None:
    """Receipts past rendering and sending."""
    payments = [acme.payment()[1] for _ in range(number)]
    with acme.session() as session:
        for payment_id in payments:
            message = outbox.put(
                session, channel=Channel.EMAIL, dedupe_key=f"receipt:{payment_id}", recipient="ada@example.org"
            )
            session.add(
                Receipt(
                    business_id=acme.business_id,
                    payment_id=payment_id,
                    message_id=message.id,
                    subject="Receipt",
                    html="<p>Receipt</p>",
                    pdf=b"%PDF",
                )
            )


def test_killed_at_every_boundary_the_result_is_the_same(jobs: Bench, running: MailServer) -> None:
    @contextmanager
    def world() -> Iterator[World]:
        acme = office(jobs, running)
        add_receipts(acme, 3)
        job_id = delete_all(acme)

        def observe() -> object:
            rows = jobs.sql("SELECT state, recipient FROM outgoing_messages WHERE business_id = %s", acme.business_id)
            return len(jobs.sql("SELECT id FROM receipts WHERE business_id = %s", acme.business_id)), rows

        yield World(jobs.runtime, acme.business_id, job_id, tasks(jobs.runtime), observe)

    assert check_kills(world).outcome
