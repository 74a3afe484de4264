"""A receipt leaves once, whatever the mail server does, on a real one."""

import io
from collections.abc import Iterator

import pytest
from pypdf import PdfReader

from integration.kernel_support import Bench, bench
from integration.receipts_support import Office, office
from mail_server import (
    DROP_BEFORE_DATA,
    HANG,
    LOST_AFTER_ACCEPTING,
    LOST_WITHOUT_ACCEPTING,
    NO_SUCH_USER,
    PASSWORD,
    PUT_OFF,
    PUT_OFF_AT_END,
    SENDER_REFUSED,
    TOO_MUCH,
    USER,
    Answer,
    MailServer,
    mail_server,
)
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.states import MessageState
from switchboard_core.receipts import service
from switchboard_core.receipts.schemas import UserIn

# A lease so long that nothing is renewed while a test looks at the connections in use.
SETTINGS = {"outbox_max_tries": 4, "lease_seconds": 100}


@pytest.fixture(scope="module")
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, **SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def acme(jobs: Bench, running: MailServer) -> Office:
    running.wipe()
    return office(jobs, running)


def test_a_payment_s_receipt_arrives_as_text_html_and_pdf(acme: Office) -> None:
    job, receipt = acme.send(email="zoe@example.org")

    assert (job["status"], job["done"], job["failed"], job["result"]) == ("completed", 1, 0, {"state": "sent"})
    assert receipt.state is MessageState.SENT
    mail = acme.server.accepted[0]
    message = mail.message
    assert (mail.sender, mail.recipients) == (USER, ["zoe@example.org"])
    assert message["From"] == "Acme Billing <billing@example.com>"
    assert message["Message-ID"] == f"<{receipt.message_id}@example.com>"
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
    ]
    body = message.get_body(("plain",))
    assert body is not None
    assert "Amount 49.90 EUR" in body.get_content()
    attached = next(message.iter_attachments())
    assert "49.90 EUR" in PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()


def test_names_beyond_latin_1_come_out_right(acme: Office) -> None:
    user_id, payment_id = acme.payment(name="Zażółć Ελένη Дмитрий")
    acme.work(acme.enqueue(user_id, payment_id))

    assert acme.server.accepted[0].content.isascii()
    message = acme.server.accepted[0].message
    body = message.get_body(("html",))
    assert body is not None
    assert "Zażółć Ελένη Дмитрий" in body.get_content()
    attached = next(message.iter_attachments())
    assert "Zażółć Ελένη Дмитрий" in PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()


def test_a_payment_that_is_enqueued_many_times_gets_one_mail(acme: Office) -> None:
    user_id, payment_id = acme.payment()
    ids = [acme.enqueue(user_id, payment_id) for _ in range(4)]
    assert {acme.work(job_id)["status"] for job_id in ids} == {"completed"}
    assert len(acme.server.accepted) == 1


@pytest.mark.parametrize("trouble", [PUT_OFF, PUT_OFF_AT_END, DROP_BEFORE_DATA], ids=["450", "451", "drop"])
def test_what_was_certainly_not_accepted_is_tried_again(acme: Office, trouble: Answer) -> None:
    acme.server.plan(trouble, trouble)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    kernel.run_slice(job_id)
    kernel.run_slice(job_id)

    waiting = acme.receipt_of(payment_id)
    assert (waiting.state, acme.jobs.job(job_id)["status"]) == (MessageState.QUEUED, "running")
    assert waiting.reason
    assert waiting.next_try_at is not None
    assert acme.work(job_id)["status"] == "completed"
    assert len(acme.server.accepted) == 1
    assert acme.receipt_of(payment_id).reason is None


def test_the_tries_are_bounded(acme: Office) -> None:
    acme.server.plan(*[PUT_OFF] * 10)
    job, receipt = acme.send()
    assert (job["status"], receipt.state) == ("failed", MessageState.FAILED)
    assert job["reason"].startswith("Given up after 4 tries. The mail server does not take it at the moment: 450")
    assert job["errors"] == [{"item": f"payment {receipt.payment_id}", "message": job["reason"]}]


def test_a_server_that_is_away_is_tried_again(acme: Office) -> None:
    acme.connect(port=9)
    user_id, payment_id = acme.payment()
    job_id, kernel = acme.enqueue(user_id, payment_id), acme.kernel()
    kernel.run_slice(job_id)
    kernel.run_slice(job_id)
    assert acme.receipt_of(payment_id).reason == "The mail server 127.0.0.1:9 cannot be reached."

    acme.connect()
    acme.wake(job_id)
    assert acme.work(job_id)["status"] == "completed"
    assert len(acme.server.accepted) == 1


def test_an_address_that_is_refused_bounces_at_once(acme: Office) -> None:
    acme.server.plan(NO_SUCH_USER)
    job, receipt = acme.send()
    assert (job["status"], receipt.state) == ("failed", MessageState.BOUNCED)
    assert receipt.reason == "The address was refused: 550 5.1.1 <address> no such user here."


def test_a_mail_that_is_refused_fails_at_once(acme: Office) -> None:
    acme.server.plan(TOO_MUCH)
    job, receipt = acme.send()
    assert (job["status"], receipt.state) == ("failed", MessageState.FAILED)
    assert "554 5.7.1 Message refused as spam" in str(receipt.reason)


def test_an_account_that_may_not_send_is_not_tried_again_by_itself(acme: Office) -> None:
    acme.server.plan(SENDER_REFUSED)
    user_id, payment_id = acme.payment()
    job = acme.work(acme.enqueue(user_id, payment_id), slices=2)
    assert "does not let this account send" in job["reason"]

    # A person mends it and asks again.
    with acme.session() as session:
        again = service.send(session, acme.jobs.runtime, payment_id)
    assert acme.work(again.id)["status"] == "completed"
    assert len(acme.server.accepted) == 1


def test_without_a_mail_account_the_job_says_what_to_do(jobs: Bench, running: MailServer) -> None:
    running.wipe()
    nobody = Office(jobs, running, jobs.another_business())
    job, receipt = nobody.send()
    assert (job["status"], receipt.state) == ("failed", MessageState.FAILED)
    assert "No mail account is connected" in job["reason"]


@pytest.mark.parametrize(
    ("trouble", "arrived"),
    [(LOST_AFTER_ACCEPTING, 1), (LOST_WITHOUT_ACCEPTING, 0)],
    ids=["accepted", "not accepted"],
)
def test_a_mail_whose_answer_is_lost_is_never_sent_again_by_itself(acme: Office, trouble: Answer, arrived: int) -> None:
    acme.server.plan(trouble)
    user_id, payment_id = acme.payment()
    for _ in range(2):
        job = acme.work(acme.enqueue(user_id, payment_id))
        assert job["status"] == "failed"
        assert job["reason"].startswith("Whether it arrived is not known: the connection broke")
    assert acme.receipt_of(payment_id).state is MessageState.UNCERTAIN
    assert len(acme.server.accepted) == arrived


def test_a_server_that_falls_silent_leaves_the_mail_uncertain(
    urls: DatabaseUrls, valkey: EmbeddedValkey, running: MailServer
) -> None:
    running.wipe()
    running.plan(HANG)
    with bench(urls, valkey, smtp_answer_timeout_seconds=0.3) as impatient:
        job, receipt = office(impatient, running).send()
    assert receipt.state is MessageState.UNCERTAIN
    assert job["reason"].startswith("Whether it arrived is not known: the mail server did not answer in time")


def test_a_person_may_send_an_uncertain_mail_again_with_the_same_message_id(acme: Office) -> None:
    acme.server.plan(LOST_WITHOUT_ACCEPTING)
    _, receipt = acme.send()
    with acme.session() as session:
        task = service.resend(session, acme.jobs.runtime, receipt.id)
    assert acme.work(task.id)["status"] == "completed"
    assert [mail.message_id for mail in acme.server.accepted] == [f"<{receipt.message_id}@example.com>"]

    with acme.session() as session, pytest.raises(outbox.NotResendableError, match="It is sent"):
        service.resend(session, acme.jobs.runtime, receipt.id)


def test_the_message_id_stays_when_the_account_changes(acme: Office) -> None:
    acme.server.plan(LOST_WITHOUT_ACCEPTING)
    _, receipt = acme.send()
    acme.connect(from_address="office@elsewhere.example")
    with acme.session() as session:
        task = service.resend(session, acme.jobs.runtime, receipt.id)
    acme.work(task.id)
    assert acme.server.accepted[0].message_id == f"<{receipt.message_id}@example.com>"


def test_a_bounce_that_comes_later_is_noted_once(acme: Office) -> None:
    _, receipt = acme.send()
    header = acme.server.accepted[0].message_id
    with acme.session() as session:
        assert outbox.record_bounce(session, header, "Mailbox full.")
        assert not outbox.record_bounce(session, header, "Mailbox full.")
        assert not outbox.record_bounce(session, "<somebody@else.example>", "Mailbox full.")
    after = acme.receipt_of(receipt.payment_id)
    assert (after.state, after.reason) == (MessageState.BOUNCED, "Mailbox full.")


def test_a_bounced_receipt_goes_to_the_address_that_its_user_has_now(acme: Office) -> None:
    acme.server.plan(NO_SUCH_USER)
    user_id, payment_id = acme.payment(email="wrong@example.org")
    acme.work(acme.enqueue(user_id, payment_id))
    with acme.session() as session:
        service.change_user(session, user_id, UserIn(name="Ada", email="right@example.org"))
        task = service.resend(session, acme.jobs.runtime, acme.receipt_of(payment_id).id)
    assert acme.work(task.id)["status"] == "completed"
    assert acme.server.accepted[0].recipients == ["right@example.org"]


def test_no_transaction_is_open_while_the_mail_server_takes_its_time(acme: Office) -> None:
    in_use: list[int] = []
    pool = acme.jobs.runtime.database.engine.pool
    acme.server.on_accepted = lambda _mail: in_use.append(pool.checkedout())  # type: ignore[attr-defined]
    try:
        acme.send()
    finally:
        acme.server.on_accepted = None
    assert in_use == [0]


def test_a_payment_of_somebody_else_is_not_found(acme: Office) -> None:
    _, payment_id = acme.payment()
    other, _ = acme.payment()
    job = acme.work(acme.enqueue(other, payment_id))
    assert (job["status"], job["reason"]) == ("failed", f"There is no payment {payment_id} of user {other}.")
    assert acme.server.accepted == []


def test_two_workers_at_once_send_one_mail(acme: Office) -> None:
    user_id, payment_id = acme.payment()
    ids = [acme.enqueue(user_id, payment_id) for _ in range(2)]
    first, second = acme.kernel(), acme.kernel()
    for kernel, job_id in zip((first, second), ids, strict=True):
        kernel.run_slice(job_id)
    acme.server.on_accepted = lambda _mail: (second.run_slice(ids[1]), None)[1]
    try:
        first.run_slice(ids[0])
    finally:
        acme.server.on_accepted = None
    acme.expire_leases()
    assert acme.work(ids[1])["status"] == "completed"
    assert len(acme.server.accepted) == 1


def test_no_address_and_no_secret_is_in_log_payload_or_cursor(acme: Office) -> None:
    with mail_server(login=True) as server:
        acme.server = server
        acme.connect(username=USER, password=PASSWORD)
        server.plan(PUT_OFF, NO_SUCH_USER)
        job, _ = acme.send(email="secret.person@example.org")
        acme.send(email="secret.person@example.org")
        assert len(server.accepted) == 1
    written = f"{acme.jobs.logged} {job['payload']} {job['cursor']} {job['errors']} {job['result']}"
    assert "secret.person" not in written
    assert PASSWORD not in written


def test_a_wrong_password_is_a_clear_error_of_the_job(acme: Office) -> None:
    with mail_server(login=True) as server:
        acme.server = server
        acme.connect(username=USER, password="wrong")
        job, receipt = acme.send()
    assert (job["status"], receipt.state) == ("failed", MessageState.FAILED)
    assert job["reason"].startswith("The mail server refused user name or password (535")
