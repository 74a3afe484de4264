"""The simulator's Messages API behind the unmodified ``twilio`` package, over real HTTP, with and without faults."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from twilio.base.exceptions import TwilioRestException

from integration.simulator_support import CALLER, Carrier, Receiver, carrier_with, receiving

TO = "+14155550123"
CLIENT_SECONDS = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[Carrier]:
    with carrier_with(timeout=CLIENT_SECONDS, mps=1000.0, message_seconds=0.01) as carrier:
        yield carrier


@pytest.fixture
def carrier(server: Carrier) -> Carrier:
    server.http.post("/_sim/reset").raise_for_status()
    return server


@pytest.fixture
def receiver(carrier: Carrier) -> Iterator[Receiver]:
    with receiving(carrier.auth_token) as server:
        yield server


def text(carrier: Carrier, to: str = TO, **wanted: Any) -> Any:
    return carrier.twilio.messages.create(to=to, **({"from_": CALLER, "body": "Hello"} | wanted))


def script(carrier: Carrier, **wanted: Any) -> None:
    carrier.http.post("/_sim/messages/script", json=wanted).raise_for_status()


def settled(carrier: Carrier) -> dict[str, Any]:
    """The figures of messages, once nothing is going on."""
    carrier.settled_report()
    report: dict[str, Any] = carrier.http.get("/_sim/messages/report").json()
    return report


def statuses(receiver: Receiver) -> list[str]:
    return [arrival.params["MessageStatus"] for arrival in receiver.at("/status")]


def test_a_message_is_created_queued_and_ends_delivered(carrier: Carrier, receiver: Receiver) -> None:
    message = text(carrier, status_callback=f"{receiver.url}/status?recipient=5")
    assert (message.status, message.direction, message.to, message.from_) == ("queued", "outbound-api", TO, CALLER)
    assert (message.body, message.num_segments, message.date_sent) == ("Hello", "1", None)
    report = settled(carrier)
    ended = message.fetch()
    assert (ended.status, ended.error_code) == ("delivered", None)
    assert datetime.now(UTC) - ended.date_sent < timedelta(minutes=1)
    assert statuses(receiver) == ["sending", "sent", "delivered"]
    assert {arrival.params["MessageSid"] for arrival in receiver.arrivals} == {message.sid}
    assert all(arrival.signed and arrival.params["SmsSid"] == message.sid for arrival in receiver.arrivals)
    assert (report["messages"], report["by_recipient"]) == (1, {"5": 1})


@pytest.mark.parametrize(("outcome", "code"), [("undelivered", 30003), ("failed", 30008)])
def test_a_message_that_does_not_arrive_has_an_error_code(
    carrier: Carrier, receiver: Receiver, outcome: str, code: int
) -> None:
    script(carrier, number=TO, outcome=outcome)
    message = text(carrier, status_callback=f"{receiver.url}/status")
    settled(carrier)
    assert (message.fetch().status, message.fetch().error_code) == (outcome, code)
    assert receiver.arrivals[-1].params["ErrorCode"] == str(code)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"to": "555"}, 21211),
        ({"from_": "555"}, 21212),
        ({"body": ""}, 21602),
        ({"body": "a" * 1601}, 21617),
        ({"status_callback": "nowhere"}, 21609),
    ],
)
def test_a_wrong_message_is_refused_with_twilios_code(carrier: Carrier, wanted: dict[str, Any], code: int) -> None:
    with pytest.raises(TwilioRestException) as refused:
        text(carrier, **wanted)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert settled(carrier)["creates"]["rejected"] == 1


def test_a_script_can_refuse_a_number(carrier: Carrier) -> None:
    script(carrier, number=TO, outcome="reject", error_code=21610)
    with pytest.raises(TwilioRestException) as refused:
        text(carrier)
    assert refused.value.code == 21610


def test_messages_are_listed_by_number_sender_and_time_page_by_page(carrier: Carrier) -> None:
    for number in range(5):
        text(carrier, f"+1415555020{number}")
    text(carrier, from_="+14155550198")
    settled(carrier)
    listed = carrier.twilio.messages.list
    assert len(listed(page_size=2)) == 6
    assert [found.to for found in listed(to="+14155550203")] == ["+14155550203"]
    assert [found.to for found in listed(from_="+14155550198")] == [TO]
    now = datetime.now(UTC)
    assert len(listed(date_sent_after=now - timedelta(minutes=1))) == 6
    assert listed(date_sent_before=now - timedelta(minutes=1)) == []
    (last,) = listed(to=TO)
    assert len(listed(to=TO, from_="+14155550198", date_sent=last.date_sent.strftime("%Y-%m-%d"))) == 1


def test_what_does_not_exist_is_not_found(carrier: Carrier) -> None:
    with pytest.raises(TwilioRestException) as missing:
        carrier.twilio.messages("SM" + "0" * 32).fetch()
    assert missing.value.status == 404


def test_a_lost_answer_leaves_a_message_that_the_list_finds(carrier: Carrier) -> None:
    carrier.faults(create_lose_answer=1)
    with pytest.raises(requests.ConnectionError):
        text(carrier)
    report = settled(carrier)
    assert (report["by_number"], report["creates"]["answer_lost"]) == ({TO: 1}, 1)
    assert [found.body for found in carrier.twilio.messages.list(to=TO)] == ["Hello"]


@pytest.mark.parametrize(
    ("fault", "status", "made"), [("create_429", 429, 0), ("create_5xx_before", 503, 0), ("create_5xx_after", 500, 1)]
)
def test_errors_of_the_api_make_a_message_or_not_as_told(carrier: Carrier, fault: str, status: int, made: int) -> None:
    carrier.faults(**{fault: 1})
    with pytest.raises(TwilioRestException) as failed:
        text(carrier)
    assert failed.value.status == status
    assert settled(carrier)["messages"] == made


def test_callbacks_come_twice_and_out_of_order_as_told(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(seed=5, callback_duplicate=1, callback_delay_seconds=0.05)
    text(carrier, status_callback=f"{receiver.url}/status")
    settled(carrier)
    assert sorted(statuses(receiver)) == ["delivered", "delivered", "sending", "sending", "sent", "sent"]


def test_a_lost_callback_never_comes(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(callback_lose=1)
    message = text(carrier, status_callback=f"{receiver.url}/status")
    settled(carrier)
    assert (receiver.arrivals, message.fetch().status) == ([], "delivered")


def test_somebody_writes_to_us(carrier: Carrier, receiver: Receiver) -> None:
    order = {"from": TO, "to": CALLER, "body": "STOP", "url": f"{receiver.url}/inbound"}
    sid = carrier.http.post("/_sim/messages/inbound", json=order).raise_for_status().json()["sid"]
    report = settled(carrier)
    (arrival,) = receiver.arrivals
    assert arrival.signed
    assert {name: arrival.params[name] for name in ("MessageSid", "From", "To", "Body")} == {
        "MessageSid": sid,
        "From": TO,
        "To": CALLER,
        "Body": "STOP",
    }
    assert report["inbound"] == 1


def test_where_nobody_is_told_of_messages_the_control_says_what_to_do(carrier: Carrier) -> None:
    answer = carrier.http.post("/_sim/messages/inbound", json={"from": TO, "to": CALLER, "body": "STOP"})
    assert answer.status_code == 409
    assert "SIMULATOR_MESSAGE_WEBHOOK" in answer.json()["detail"]


def test_a_reset_forgets_messages(carrier: Carrier) -> None:
    text(carrier)
    settled(carrier)
    carrier.http.post("/_sim/reset").raise_for_status()
    assert carrier.twilio.messages.list() == []
    assert settled(carrier)["messages"] == 0
