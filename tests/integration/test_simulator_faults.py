"""Every fault, switched on at the running simulator and seen by the client or the receiver."""

import socket
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
import requests
from twilio.base.exceptions import TwilioRestException

from integration.simulator_support import Carrier, Receiver, carrier_with, receiving
from waiting import await_true

CLIENT_SECONDS = 1.0
ALL_EVENTS = ["initiated", "ringing", "answered", "completed"]


@pytest.fixture(scope="module")
def server() -> Iterator[Carrier]:
    with carrier_with(timeout=CLIENT_SECONDS) as carrier:
        yield carrier


@pytest.fixture
def carrier(server: Carrier) -> Carrier:
    server.http.post("/_sim/reset").raise_for_status()
    return server


@pytest.fixture
def receiver(carrier: Carrier) -> Iterator[Receiver]:
    with receiving(carrier.auth_token) as server:
        yield server


def call_with_callbacks(carrier: Carrier, receiver: Receiver) -> str:
    call = carrier.call(status_callback=f"{receiver.url}/status?attempt=1", status_callback_event=ALL_EVENTS)
    return str(call.sid)


def interrupted_download(carrier: Carrier, url: str) -> bytes:
    """Return what came before the connection broke."""
    got = bytearray()
    try:
        with carrier.http.stream("GET", url, auth=(carrier.account_sid, carrier.auth_token)) as broken:
            for chunk in broken.iter_raw():
                got += chunk
    except httpx.RemoteProtocolError:
        return bytes(got)
    raise AssertionError("the download was not interrupted")


def test_a_lost_answer_leaves_a_call_that_the_list_finds(carrier: Carrier) -> None:
    carrier.faults(create_lose_answer=1)
    with pytest.raises(requests.ConnectionError):
        carrier.call("+14155550123", status_callback="http://127.0.0.1:9/status?attempt=1")
    report = carrier.report()
    assert (report["calls_by_attempt"], report["creates"]["answer_lost"]) == ({"1": 1}, 1)
    assert [call.to for call in carrier.twilio.calls.list(to="+14155550123")] == ["+14155550123"]


def test_a_call_whose_caller_leaves_behind_its_request_happens(carrier: Carrier) -> None:
    """As that of a process that is killed between its send and the answer."""
    form = urlencode({"To": "+14155550123", "From": "+14155550100", "Url": "http://127.0.0.1:9/voice"})
    for _ in range(20):
        leave_behind_a_create(carrier, form)
    await_true(lambda: len(carrier.twilio.calls.list(to="+14155550123")) == 20, "every call", timeout=10)
    creates = carrier.report()["creates"]  # as answered, too: those that were read before the end of the connection
    assert sum(creates.values()) == 20


def test_a_request_that_was_not_sent_to_its_end_makes_no_call(carrier: Carrier) -> None:
    leave_behind_a_create(carrier, "To=%2B14155550123", missing=10)
    assert carrier.twilio.calls.list(to="+14155550123") == []


def leave_behind_a_create(carrier: Carrier, form: str, *, missing: int = 0) -> None:
    """Send a create call, or all but the last bytes of it, and close the connection without reading."""
    url = httpx.URL(f"{carrier.http.base_url}")
    credentials = b64encode(f"{carrier.account_sid}:{carrier.auth_token}".encode()).decode()
    head = (
        f"POST /2010-04-01/Accounts/{carrier.account_sid}/Calls.json HTTP/1.1\r\nHost: {url.host}\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form) + missing}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall((head + form).encode())


def test_a_hung_answer_runs_into_the_clients_timeout_and_the_call_happens(carrier: Carrier) -> None:
    carrier.faults(create_hang=1, create_hang_seconds=30)
    with pytest.raises(requests.Timeout):
        carrier.call()
    report = carrier.settled_report()
    assert (report["calls"], report["creates"]["hung"]) == (1, 1)


def test_a_hung_answer_ends_without_one_for_a_patient_client(carrier: Carrier) -> None:
    carrier.faults(create_hang=1, create_hang_seconds=0.05)
    with pytest.raises(requests.ConnectionError):
        carrier.call()
    assert carrier.settled_report()["calls"] == 1


def test_too_many_requests_create_nothing(carrier: Carrier) -> None:
    carrier.faults(create_429=1)
    with pytest.raises(TwilioRestException) as refused:
        carrier.call()
    assert (refused.value.status, refused.value.code) == (429, 20429)
    report = carrier.report()
    assert (report["calls"], report["creates"]["answered_429"]) == (0, 1)


def test_a_server_error_before_creates_nothing(carrier: Carrier) -> None:
    carrier.faults(create_5xx_before=1)
    with pytest.raises(TwilioRestException) as refused:
        carrier.call()
    report = carrier.report()
    assert (refused.value.status, report["calls"], report["creates"]["answered_5xx_before"]) == (503, 0, 1)


def test_a_server_error_after_leaves_a_call(carrier: Carrier) -> None:
    carrier.faults(create_5xx_after=1)
    with pytest.raises(TwilioRestException) as refused:
        carrier.call()
    report = carrier.report()
    assert (refused.value.status, report["calls"], report["creates"]["answered_5xx_after"]) == (500, 1, 1)


def test_a_call_that_is_refused_anyway_is_refused_truthfully(carrier: Carrier) -> None:
    carrier.faults(create_5xx_after=1)
    with pytest.raises(TwilioRestException) as refused:
        carrier.call("12")
    assert refused.value.code == 21211


def test_a_slow_answer_still_comes(carrier: Carrier) -> None:
    carrier.faults(create_slow=1, create_slow_seconds=0.2)
    call = carrier.call()
    assert carrier.http.get("/_sim/report").json()["creates"]["answered"] == 1
    assert call.status == "queued"


def test_queries_can_fail_too(carrier: Carrier) -> None:
    call = carrier.call()
    carrier.faults(query_5xx=1)
    with pytest.raises(TwilioRestException) as refused:
        call.fetch()
    assert refused.value.status == 503


def test_a_download_can_break_off_and_be_resumed(carrier: Carrier) -> None:
    call = carrier.call(record=True)
    carrier.settled_report()
    (recording,) = carrier.twilio.recordings.list(call_sid=call.sid)
    url = f"{recording.media_url}.wav"
    auth = (carrier.account_sid, carrier.auth_token)
    carrier.faults(media_cut=1)
    got = interrupted_download(carrier, url)
    carrier.faults()
    rest = carrier.http.get(url, auth=auth, headers={"Range": f"bytes={len(got)}-"})
    assert len(got) > 0
    assert got + rest.content == carrier.http.get(url, auth=auth).content


def test_lost_callbacks_never_arrive(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(callback_lose=1)
    call_with_callbacks(carrier, receiver)
    report = carrier.settled_report()
    assert receiver.arrivals == []
    assert (report["callbacks"]["lost"], report["callbacks"]["sent"]) == (4, 0)


def test_duplicated_callbacks_arrive_twice_with_the_same_token(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(callback_duplicate=1, callback_delay_seconds=0.1)
    call_with_callbacks(carrier, receiver)
    report = carrier.settled_report()
    assert set(Counter(arrival.token for arrival in receiver.arrivals).values()) == {2}
    assert (report["callbacks"]["duplicated"], report["callbacks"]["delivered"]) == (4, 8)


def test_delayed_callbacks_all_arrive(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(callback_delay=1, callback_delay_seconds=0.3)
    sid = call_with_callbacks(carrier, receiver)
    report = carrier.settled_report()
    assert sorted(receiver.statuses_of(sid)) == ["completed", "in-progress", "initiated", "ringing"]
    assert report["callbacks"]["delayed"] == 4


def test_reordered_callbacks_arrive_in_another_order(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(callback_reorder=0.5, callback_hold_seconds=0.3, seed=4)
    sids = [call_with_callbacks(carrier, receiver) for _ in range(10)]
    carrier.settled_report()
    orders = [[a.params["SequenceNumber"] for a in receiver.arrivals if a.params["CallSid"] == sid] for sid in sids]
    assert all(sorted(order) == ["0", "1", "2", "3"] for order in orders)
    assert any(order != sorted(order) for order in orders)


def test_a_callback_without_an_answer_is_retried_once_with_its_token(carrier: Carrier, receiver: Receiver) -> None:
    receiver.closes = 1
    carrier.call(status_callback=f"{receiver.url}/status")
    report = carrier.settled_report()
    first, second = receiver.arrivals
    assert first.token == second.token
    assert (report["callbacks"]["retried"], report["callbacks"]["delivered"]) == (1, 1)


def test_after_the_retry_the_carrier_gives_up(carrier: Carrier, receiver: Receiver) -> None:
    receiver.closes = 9
    carrier.call(status_callback=f"{receiver.url}/status")
    report = carrier.settled_report()
    assert len(receiver.arrivals) == 2
    assert report["callbacks"]["unreachable"] == 1


def test_an_answer_that_is_an_error_is_not_retried(carrier: Carrier, receiver: Receiver) -> None:
    receiver.statuses.append(500)
    carrier.call(status_callback=f"{receiver.url}/status")
    report = carrier.settled_report()
    assert len(receiver.arrivals) == report["callbacks"]["refused"] == 1


def test_a_call_whose_server_gives_no_twiml_is_completed_at_once(carrier: Carrier, receiver: Receiver) -> None:
    receiver.statuses.append(404)
    carrier.script({"outcome": "answer", "talk_seconds": 60})
    call = carrier.call(twiml=None, url=f"{receiver.url}/voice")
    carrier.settled_report()
    assert call.fetch().status == "completed"


def test_the_faults_of_the_environment_hold_from_the_start() -> None:
    with carrier_with(faults={"create_429": 1.0}) as carrier, pytest.raises(TwilioRestException) as refused:
        carrier.call()
    assert refused.value.status == 429


def test_under_all_faults_at_once_every_call_is_counted(carrier: Carrier, receiver: Receiver) -> None:
    carrier.faults(
        seed=11,
        callback_lose=0.1,
        callback_duplicate=0.2,
        callback_delay=0.2,
        callback_delay_seconds=0.2,
        callback_reorder=0.2,
        callback_hold_seconds=0.1,
        create_lose_answer=0.1,
        create_429=0.1,
        create_5xx_before=0.1,
        create_5xx_after=0.1,
    )
    for n in range(100):
        try:
            carrier.call(
                f"+1415556{n:04}",
                status_callback=f"{receiver.url}/status?attempt={n}",
                status_callback_event=ALL_EVENTS,
            )
        except (TwilioRestException, requests.RequestException):
            continue
    report = carrier.settled_report()
    creates, callbacks = report["creates"], report["callbacks"]
    assert report["calls"] == creates["answered"] + creates["answer_lost"] + creates["answered_5xx_after"]
    assert sum(creates.values()) == 100
    assert callbacks["sent"] == 4 * report["calls"] - callbacks["lost"] + callbacks["duplicated"]
    assert callbacks["sent"] == callbacks["delivered"] == len(receiver.arrivals)
    assert all(arrival.signed for arrival in receiver.arrivals)
