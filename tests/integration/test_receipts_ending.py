"""A receipt whose task is cancelled or fails: its mail never looks as if it were on its way for ever."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from integration.kernel_support import Bench, bench
from integration.receipts_support import Office, office
from mail_server import PUT_OFF, MailServer, mail_server
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.outbox.states import MessageState
from switchboard_core.receipts import service
from switchboard_worker.sweep import Sweep

ON_ITS_WAY = "state = 'sending', attempt = attempt + 1, lease_until = clock_timestamp() + interval '1 minute'"
HANDED_OVER = f"{ON_ITS_WAY}, handed_over_at = clock_timestamp()"


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


def put_off(acme: Office) -> tuple[int, int]:
    """A receipt that the mail server does not take yet: its job and its payment."""
    acme.server.plan(PUT_OFF)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    kernel.run_slice(job_id)
    kernel.run_slice(job_id)
    assert acme.receipt_of(payment_id).state is MessageState.QUEUED
    return job_id, payment_id


def left_behind(acme: Office, how: str) -> tuple[int, int]:
    """One that a worker was sending when it died."""
    job_id, payment_id = put_off(acme)
    acme.jobs.sql(f"UPDATE outgoing_messages SET {how} WHERE dedupe_key = %s", f"receipt:{payment_id}")
    return job_id, payment_id


def cancel(acme: Office, job_id: int) -> None:
    with acme.session() as session:
        acme.jobs.runtime.tasks.cancel(session, job_id)


def test_a_cancelled_receipt_is_not_sent_and_can_be_sent_later(acme: Office) -> None:
    job_id, payment_id = put_off(acme)
    cancel(acme, job_id)
    job = acme.work(job_id)
    receipt = acme.receipt_of(payment_id)
    assert (job["status"], job["reason"]) == ("cancelled", "Cancelled on request.")
    assert (receipt.state, receipt.reason) == (MessageState.FAILED, "Cancelled on request.")
    assert acme.server.accepted == []

    with acme.session() as session:
        again = service.resend(session, acme.jobs.runtime, receipt.id)
    assert acme.work(again.id)["status"] == "completed"
    assert len(acme.server.accepted) == 1


def test_a_receipt_that_nobody_has_prepared_is_cancelled_without_a_mail(acme: Office) -> None:
    user_id, payment_id = acme.payment()
    job_id = acme.enqueue(user_id, payment_id)
    cancel(acme, job_id)
    assert acme.work(job_id)["status"] == "cancelled"
    with acme.session() as session:
        assert service.mail_of(session, payment_id) is None


@pytest.mark.parametrize(("how", "state"), [(ON_ITS_WAY, "failed"), (HANDED_OVER, "uncertain")])
def test_a_cancel_waits_for_what_a_dead_worker_was_sending(acme: Office, how: str, state: str) -> None:
    job_id, payment_id = left_behind(acme, how)
    cancel(acme, job_id)
    acme.kernel().run_slice(job_id)
    assert (acme.jobs.job(job_id)["status"], acme.message(payment_id).state) == ("running", MessageState.SENDING)

    acme.expire_leases()
    assert acme.work(job_id)["status"] == "cancelled"
    assert acme.message(payment_id).state == state


def test_a_receipt_whose_task_fails_has_failed_with_its_reason(acme: Office) -> None:
    job_id, payment_id = put_off(acme)
    acme.jobs.set(job_id, "crash_count = 5")
    job = acme.work(job_id)
    receipt = acme.receipt_of(payment_id)
    assert (job["status"], job["done"], job["failed"]) == ("failed", 0, 1)
    assert (receipt.state, receipt.reason) == (MessageState.FAILED, job["reason"])


def test_a_failing_task_waits_for_what_its_worker_was_sending(acme: Office) -> None:
    job_id, payment_id = left_behind(acme, HANDED_OVER)
    acme.jobs.set(job_id, "crash_count = 5, run_after = clock_timestamp()")
    acme.kernel().run_slice(job_id)
    assert acme.jobs.job(job_id)["status"] == "running"
    acme.expire_leases()
    assert (acme.work(job_id)["status"], acme.receipt_of(payment_id).state) == ("failed", MessageState.UNCERTAIN)
    assert acme.server.accepted == []


@pytest.mark.parametrize(("how", "state"), [(ON_ITS_WAY, "failed"), (HANDED_OVER, "uncertain")])
def test_a_mail_that_a_task_has_left_behind_is_settled_by_the_sweep(acme: Office, how: str, state: str) -> None:
    job_id, payment_id = left_behind(acme, how)
    sweep = Sweep(acme.jobs.runtime)
    assert sweep.settle_abandoned_messages() == 0, "it may still be sent"
    acme.jobs.set(job_id, "status = 'cancelled', finished_at = now()")
    acme.expire_leases()
    assert sweep.settle_abandoned_messages() == 1
    assert acme.receipt_of(payment_id).state == state
    assert sweep.settle_abandoned_messages() == 0


def test_what_was_not_handed_over_is_left_to_a_task_that_goes_on(acme: Office) -> None:
    job_id, payment_id = left_behind(acme, ON_ITS_WAY)
    acme.expire_leases()
    assert Sweep(acme.jobs.runtime).settle_abandoned_messages() == 0
    assert acme.work(job_id)["status"] == "completed"
    assert acme.receipt_of(payment_id).state is MessageState.SENT


def counted(state: str) -> float:
    labels = {"channel": "email", "state": state}
    return REGISTRY.get_sample_value("switchboard_outgoing_messages_total", labels) or 0.0


def test_mails_are_counted_by_where_they_have_come_to(acme: Office) -> None:
    before = {state: counted(state) for state in ("sending", "queued", "sent", "failed")}
    acme.server.plan(PUT_OFF)
    acme.send()
    after = {state: counted(state) - number for state, number in before.items()}
    assert after == {"sending": 2, "queued": 1, "sent": 1, "failed": 0}
