"""An SMS of the outbox is claimed, handed over and settled as a mail is, whatever the carrier does."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from integration.kernel_support import Bench, bench
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.calls.carrier import AnswerLostError, NotSentError, RejectedError
from switchboard_core.outbox import service
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.send import SendResult, SkipMessageError, send_sms
from switchboard_core.outbox.states import Channel, MessageEvent, MessageState

Send = Callable[[str, Callable[[], None]], str]


@pytest.fixture(scope="module")
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey, outbox_max_tries=2) as made:
        yield made


@pytest.fixture
def message_id(jobs: Bench) -> uuid.UUID:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        key = f"test:{uuid.uuid4()}"
        return service.put(session, channel=Channel.SMS, dedupe_key=key, recipient="+14155550123").id


def compose(message: OutgoingMessage) -> str:
    return f"Hello {message.recipient}"


def carrier_that(raises: Exception | None = None, *, sent: list[str] | None = None, sid: str = "") -> Send:
    """Hands over as the carrier's client does: first the last look, then the request."""

    def send(order: str, before_send: Callable[[], None]) -> str:
        before_send()
        if raises is not None:
            raise raises
        if sent is not None:
            sent.append(order)
        return sid or f"SM{uuid.uuid4().hex}"

    return send


def send(jobs: Bench, message_id: uuid.UUID, carrier: Send) -> SendResult:
    return send_sms(jobs.runtime, jobs.business_id, message_id, compose, carrier)


def row(jobs: Bench, message_id: uuid.UUID) -> OutgoingMessage:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        return service.get(session, message_id)


def test_a_message_is_sent_once(jobs: Bench, message_id: uuid.UUID) -> None:
    sent: list[str] = []
    results = [send(jobs, message_id, carrier_that(sent=sent)) for _ in range(3)]
    assert [result.state for result in results] == [MessageState.SENT] * 3
    assert sent == ["Hello +14155550123"]
    assert str(row(jobs, message_id).provider_id).startswith("SM")


def test_what_was_certainly_not_sent_waits_for_another_try_and_is_given_up_at_last(
    jobs: Bench, message_id: uuid.UUID
) -> None:
    refused = NotSentError("The carrier said 429.", carrier_fault=True, retry_after_s=0.001)
    first = send(jobs, message_id, carrier_that(refused))
    assert (first.state, first.retry_in_s) == (MessageState.QUEUED, 0.001)
    second = send(jobs, message_id, carrier_that(refused))
    assert (second.state, second.reason) == (MessageState.FAILED, "Given up after 2 tries. The carrier said 429.")


def test_a_lost_answer_is_never_replayed(jobs: Bench, message_id: uuid.UUID) -> None:
    assert send(jobs, message_id, carrier_that(AnswerLostError("No answer."))).state is MessageState.UNCERTAIN
    sent: list[str] = []
    assert send(jobs, message_id, carrier_that(sent=sent)).state is MessageState.UNCERTAIN
    assert sent == []


def test_a_refusal_of_the_number_ends_it_and_one_of_the_account_does_not(jobs: Bench, message_id: uuid.UUID) -> None:
    account = send(jobs, message_id, carrier_that(RejectedError(20003, "Suspended.", account_fault=True)))
    assert (account.state, account.account_fault, account.retry_in_s) == (MessageState.QUEUED, True, None)
    number = send(jobs, message_id, carrier_that(RejectedError(21610, "Unsubscribed.", account_fault=False)))
    assert (number.state, number.account_fault, number.reason) == (MessageState.FAILED, False, "Unsubscribed.")


def test_a_message_that_is_called_off_while_it_is_composed_is_skipped(jobs: Bench, message_id: uuid.UUID) -> None:
    def opted_out(_message: OutgoingMessage) -> str:
        raise SkipMessageError("Opted out.")

    result = send_sms(jobs.runtime, jobs.business_id, message_id, opted_out, carrier_that())
    assert (result.state, result.reason) == (MessageState.SKIPPED, "Opted out.")


def test_a_message_that_cannot_be_composed_goes_back_to_its_queue(jobs: Bench, message_id: uuid.UUID) -> None:
    def broken(_message: OutgoingMessage) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send_sms(jobs.runtime, jobs.business_id, message_id, broken, carrier_that())
    assert row(jobs, message_id).state is MessageState.QUEUED


def test_a_worker_that_dies_after_the_hand_over_leaves_an_uncertain_message(jobs: Bench, message_id: uuid.UUID) -> None:
    class KilledError(BaseException):
        pass

    def dies(_order: str, before_send: Callable[[], None]) -> str:
        before_send()
        raise KilledError

    with pytest.raises(KilledError):
        send(jobs, message_id, dies)
    waiting = send(jobs, message_id, carrier_that())
    assert waiting.state is MessageState.SENDING
    assert waiting.retry_in_s is not None
    assert waiting.retry_in_s > 1
    jobs.sql("UPDATE outgoing_messages SET lease_until = now() WHERE id = %s", message_id)
    assert send(jobs, message_id, carrier_that()).state is MessageState.UNCERTAIN


def test_a_worker_that_dies_before_the_hand_over_has_sent_nothing(jobs: Bench, message_id: uuid.UUID) -> None:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        assert service.claim(session, message_id, lease_s=0).mine
    assert send(jobs, message_id, carrier_that()).state is MessageState.SENT


def test_a_worker_that_stood_still_past_its_lease_sends_nothing(jobs: Bench, message_id: uuid.UUID) -> None:
    sent: list[str] = []

    def stood_still(order: str, before_send: Callable[[], None]) -> str:
        jobs.sql("UPDATE outgoing_messages SET lease_until = now() WHERE id = %s", message_id)
        return carrier_that(sent=sent)(order, before_send)

    assert send(jobs, message_id, stood_still).state is MessageState.QUEUED
    assert sent == []


def test_the_carrier_s_word_counts_whoever_brings_it(jobs: Bench, message_id: uuid.UUID) -> None:
    send(jobs, message_id, carrier_that(AnswerLostError("No answer.")))
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        evidence = service.Evidence(provider_id="SM" + "1" * 32)
        settled = service.record(session, message_id, MessageEvent.DELIVERED, evidence)
    assert (settled.state, settled.provider_id) == (MessageState.DELIVERED, "SM" + "1" * 32)


def test_a_key_names_one_message_for_ever(jobs: Bench) -> None:
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        first, second = (
            service.put(session, channel=Channel.SMS, dedupe_key="twice", recipient=number)
            for number in ("+14155550100", "+14155550101")
        )
    assert (first.id, second.recipient) == (second.id, "+14155550100")
