"""The simulator behind the unmodified ``twilio`` package, over real HTTP."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from integration.simulator_support import CALLER, Carrier, Receiver, carrier_with, receiving
from switchboard_simulator.server import CannotListenError, bind
from switchboard_simulator.settings import SimulatorSettings
from switchboard_simulator.speech_library import clips, media

ALL_EVENTS = ["initiated", "ringing", "answered", "completed"]
LONG = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[Carrier]:
    with carrier_with() as carrier:
        yield carrier


@pytest.fixture
def carrier(server: Carrier) -> Carrier:
    server.http.post("/_sim/reset").raise_for_status()
    return server


@pytest.fixture
def receiver(carrier: Carrier) -> Iterator[Receiver]:
    with receiving(carrier.auth_token) as server:
        yield server


def recording_of(carrier: Carrier, **wanted: Any) -> Any:
    call = carrier.call(record=True, **wanted)
    carrier.settled_report()
    return carrier.twilio.recordings.list(call_sid=call.sid)[0]


def media_of(carrier: Carrier, recording: Any, form: str, **headers: str) -> Any:
    auth = (carrier.account_sid, carrier.auth_token)
    return carrier.http.get(f"{recording.media_url}.{form}", auth=auth, headers=headers)


def test_a_call_is_created_queued_and_ends_completed(carrier: Carrier) -> None:
    call = carrier.call()
    assert (call.status, call.direction, call.to, call._from) == ("queued", "outbound-api", "+14155550100", CALLER)
    assert call.start_time is None
    carrier.settled_report()
    ended = call.fetch()
    assert (ended.status, ended.duration) == ("completed", "1")
    assert datetime.now(UTC) - ended.start_time < timedelta(minutes=1)


def test_every_webhook_arrives_in_order_and_is_accepted_by_the_validator(carrier: Carrier, receiver: Receiver) -> None:
    call = carrier.call(
        twiml=None,
        url=f"{receiver.url}/voice?attempt=5",
        status_callback=f"{receiver.url}/status?attempt=5&business=2",
        status_callback_event=ALL_EVENTS,
        record=True,
        recording_status_callback=f"{receiver.url}/recording?attempt=5",
        machine_detection="Enable",
        async_amd="true",
        async_amd_status_callback=f"{receiver.url}/amd",
    )
    carrier.settled_report()
    assert receiver.statuses_of(call.sid) == ["initiated", "ringing", "in-progress", "completed"]
    assert [a.params["SequenceNumber"] for a in receiver.at("/status")] == ["0", "1", "2", "3"]
    assert [a.params["AnsweredBy"] for a in receiver.at("/amd")] == ["human"]
    assert len(receiver.at("/voice")) == len(receiver.at("/recording")) == 1
    assert all(arrival.signed for arrival in receiver.arrivals)
    assert len({arrival.token for arrival in receiver.arrivals}) == len(receiver.arrivals) == 7


def test_webhooks_by_get_are_signed_too(carrier: Carrier, receiver: Receiver) -> None:
    call = carrier.call(status_callback=f"{receiver.url}/status?attempt=5", status_callback_method="GET")
    carrier.settled_report()
    (arrival,) = receiver.arrivals
    assert (arrival.query["CallSid"], arrival.query["attempt"], arrival.params) == (call.sid, "5", {})
    assert arrival.signed


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("busy", "busy"), ("no_answer", "no-answer"), ("fail", "failed"), ("answer", "completed")],
)
def test_a_scripted_outcome_reaches_the_client_and_the_webhook(
    carrier: Carrier, receiver: Receiver, outcome: str, status: str
) -> None:
    carrier.script({"suffix": "42", "outcome": outcome})
    call = carrier.call("+14155550142", status_callback=f"{receiver.url}/status")
    report = carrier.settled_report()
    assert call.fetch().status == status
    assert receiver.statuses_of(call.sid) == [status]
    assert report["calls_by_status"] == {status: 1}


def test_a_machine_is_detected_before_the_twiml_request(carrier: Carrier, receiver: Receiver) -> None:
    carrier.script({"outcome": "machine"})
    call = carrier.call(twiml=None, url=f"{receiver.url}/voice", machine_detection="DetectMessageEnd")
    carrier.settled_report()
    assert receiver.at("/voice")[0].params["AnsweredBy"] == "machine_end_beep"
    assert call.fetch().answered_by == "machine_end_beep"


def test_a_conversation_is_hung_up_with_completed(carrier: Carrier, receiver: Receiver) -> None:
    carrier.script({"outcome": "answer", "talk_seconds": LONG})
    call = carrier.call(
        twiml=None,
        url=f"{receiver.url}/voice",
        status_callback=f"{receiver.url}/status",
    )
    while not receiver.at("/voice"):
        call = call.fetch()
    assert call.update(status="completed").status == "completed"
    carrier.settled_report()
    assert receiver.statuses_of(call.sid) == ["completed"]


def test_a_ringing_call_is_canceled(carrier: Carrier) -> None:
    carrier.script({"outcome": "answer", "ring_seconds": LONG})
    assert carrier.call().update(status="canceled").status == "canceled"


def test_an_ended_call_cannot_be_updated(carrier: Carrier) -> None:
    call = carrier.call()
    carrier.settled_report()
    with pytest.raises(TwilioRestException) as refused:
        call.update(status="completed")
    assert (refused.value.status, refused.value.code) == (400, 21220)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"to": "12"}, 21211),
        ({"status_callback": "nowhere"}, 21609),
        ({"twiml": "x" * 4001}, 11750),
        ({"timeout": 601}, 20001),
        ({"twiml": None, "application_sid": "AP" + "0" * 32}, 21205),
    ],
)
def test_a_wrong_create_call_is_refused_with_twilios_code(carrier: Carrier, wanted: dict[str, Any], code: int) -> None:
    with pytest.raises(TwilioRestException) as refused:
        carrier.call(**wanted)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert carrier.report()["creates"]["rejected"] == 1


@pytest.mark.parametrize("code", [21214, 21217, 13224])
def test_a_script_can_refuse_a_number(carrier: Carrier, code: int) -> None:
    carrier.script({"number": "+14155550100", "outcome": "reject", "error_code": code})
    with pytest.raises(TwilioRestException) as refused:
        carrier.call()
    assert refused.value.code == code
    assert carrier.report()["calls"] == 0


@pytest.mark.parametrize(
    ("account", "token"),
    [("AC" + "f" * 32, "secret"), (None, "wrong")],
)
def test_wrong_credentials_are_refused_with_20003(carrier: Carrier, account: str | None, token: str) -> None:
    auth = (account or carrier.account_sid, token)
    answer = carrier.http.get(f"/2010-04-01/Accounts/{auth[0]}/Calls.json", auth=auth)
    assert answer.status_code == 401
    assert answer.json() == {
        "code": 20003,
        "message": "Authenticate",
        "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    }


def test_credentials_open_only_their_own_account(carrier: Carrier) -> None:
    other = "AC" + "f" * 32
    auth = (carrier.account_sid, carrier.auth_token)
    assert carrier.http.get(f"/2010-04-01/Accounts/{other}/Calls.json", auth=auth).status_code == 401


def test_what_does_not_exist_is_not_found(carrier: Carrier) -> None:
    with pytest.raises(TwilioRestException) as refused:
        carrier.twilio.calls("CA" + "0" * 32).fetch()
    assert (refused.value.status, refused.value.code) == (404, 20404)
    unknown = carrier.http.get("/2010-04-01/Nothing.json")
    assert (unknown.status_code, unknown.json()["code"]) == (404, 20404)


def test_the_client_pages_through_all_calls(carrier: Carrier) -> None:
    made = [carrier.call(f"+141555501{n:02}").sid for n in range(23)]
    listed = [call.sid for call in carrier.twilio.calls.list(page_size=5)]
    assert listed == made[::-1]


def test_calls_made_while_paging_shift_nothing(carrier: Carrier) -> None:
    made = [carrier.call(f"+141555501{n:02}").sid for n in range(9)]
    stream = carrier.twilio.calls.stream(page_size=4)
    listed = [next(stream).sid for _ in range(4)]
    carrier.call("+14155550999")
    listed += [call.sid for call in stream]
    assert listed == made[::-1]


def test_the_list_is_narrowed_by_number_status_and_time(carrier: Carrier) -> None:
    carrier.script({"number": "+14155550101", "outcome": "busy"})
    busy, answered = carrier.call("+14155550101").sid, carrier.call("+14155550102").sid
    carrier.settled_report()
    calls = carrier.twilio.calls
    now = datetime.now(UTC)

    def sids(**wanted: Any) -> list[str]:
        return [call.sid for call in calls.list(**wanted)]

    assert sids(to="+14155550101") == [busy]
    assert sids(from_=CALLER, status="completed") == [answered]
    assert sids(to="+14155550101", status="completed") == []
    assert sids(start_time_after=now - timedelta(minutes=1), start_time_before=now) == [answered, busy]
    assert sids(start_time_after=now + timedelta(minutes=1)) == []
    with pytest.raises(Exception, match="Status must be one of"):
        sids(status="initiated")


def test_recordings_are_listed_by_call_and_by_account(carrier: Carrier) -> None:
    recording = recording_of(carrier)
    carrier.call(record=True)
    carrier.settled_report()
    call = carrier.twilio.calls(recording.call_sid)
    assert [found.sid for found in call.recordings.list()] == [recording.sid]
    assert call.recordings(recording.sid).fetch().status == "completed"
    assert len(carrier.twilio.recordings.list(page_size=1)) == 2
    assert (recording.status, recording.channels, recording.source) == ("completed", 1, "OutboundAPI")


def test_the_media_is_speech_of_the_length_that_was_told(carrier: Carrier) -> None:
    recording = recording_of(carrier)
    wav, mp3 = media_of(carrier, recording, "wav"), media_of(carrier, recording, "mp3")
    assert (wav.headers["Content-Type"], mp3.headers["Content-Type"]) == ("audio/x-wav", "audio/mpeg")
    with wave.open(io.BytesIO(wav.content)) as sound:
        assert abs(sound.getnframes() / sound.getframerate() - float(recording.duration)) <= 0.5
    assert mp3.content in {media(clip.mp3) for clip in clips()}


def test_an_interrupted_download_goes_on(carrier: Carrier) -> None:
    recording = recording_of(carrier)
    whole = media_of(carrier, recording, "wav").content
    rest = media_of(carrier, recording, "wav", Range="bytes=1000-")
    assert (rest.status_code, rest.content) == (206, whole[1000:])


def test_media_needs_credentials(carrier: Carrier) -> None:
    recording = recording_of(carrier)
    assert carrier.http.get(f"{recording.media_url}.wav").status_code == 401


def test_media_is_not_found_before_it_is_ready(carrier: Carrier) -> None:
    carrier.script({"outcome": "answer", "media_seconds": LONG})
    recording = recording_of(carrier)
    assert recording.status == "completed"
    assert media_of(carrier, recording, "wav").status_code == 404
    assert carrier.report()["recordings"]["asked_too_early"] == 1


@pytest.mark.parametrize(("what", "code"), [("too_short", 16101), ("silent", 16102)])
def test_an_absent_recording_says_why(carrier: Carrier, what: str, code: int) -> None:
    carrier.script({"outcome": "answer", "recording": what})
    recording = recording_of(carrier)
    assert (recording.status, recording.error_code) == ("absent", code)
    assert media_of(carrier, recording, "wav").status_code == 404


def test_a_deleted_recording_is_gone(carrier: Carrier) -> None:
    recording = recording_of(carrier)
    assert recording.delete()
    assert carrier.twilio.recordings.list() == []
    assert media_of(carrier, recording, "wav").status_code == 404


def test_calls_per_second_queue_the_rest() -> None:
    with carrier_with(cps=20) as carrier:
        calls = [carrier.call(f"+141555501{n:02}") for n in range(10)]
        assert {call.status for call in calls} == {"queued"}
        carrier.settled_report()
        waits = sorted(int(call.fetch().queue_time) for call in calls)
        assert waits[-1] >= 300


def test_hundreds_of_calls_at_once_all_end_and_call_back(carrier: Carrier, receiver: Receiver) -> None:
    carrier.script({"outcome": "answer", "ring_seconds": 1.0, "talk_seconds": 0.05})
    for n in range(300):
        carrier.call(
            f"+1415556{n:04}",
            status_callback=f"{receiver.url}/status?attempt={n}&business=1",
            status_callback_event=["initiated", "completed"],
        )
    report = carrier.settled_report()
    assert report["calls_by_status"] == {"completed": 300}
    assert report["callbacks"]["delivered"] == len(receiver.arrivals) == 600
    assert report["attempts_called_more_than_once"] == []
    assert report["concurrent_max"]["business"]["1"] == report["concurrent_max"]["account"][carrier.account_sid]


def test_further_accounts_are_apart() -> None:
    other = "AC" + "f" * 32
    with carrier_with(accounts={other: "other-token"}) as carrier:
        carrier.call()
        auth = (other, "other-token")
        answer = carrier.http.get(f"/2010-04-01/Accounts/{other}/Calls.json", auth=auth)
        assert answer.json()["calls"] == []


def test_it_tells_when_each_call_began_and_ended(carrier: Carrier) -> None:
    carrier.script({"outcome": "busy"})
    began = time.time()
    call = carrier.call()
    carrier.settled_report()
    (seen,) = carrier.http.get("/_sim/calls").json()
    assert (seen["sid"], seen["status"]) == (call.sid, "busy")
    assert began <= seen["created_at"] <= seen["ended_at"] <= time.time()


def test_a_wrong_script_is_refused(carrier: Carrier) -> None:
    assert carrier.http.post("/_sim/script", json={"outcome": "maybe"}).status_code == 422


def test_a_reset_forgets_everything(carrier: Carrier) -> None:
    carrier.script({"outcome": "answer", "talk_seconds": LONG})
    carrier.faults(create_429=0.0, callback_lose=1.0)
    carrier.call()
    carrier.http.post("/_sim/reset")
    report = carrier.settled_report()
    assert (report["calls"], report["live"]) == (0, 0)
    assert carrier.http.get("/_sim/faults").json()["callback_lose"] == 0
    assert carrier.twilio.calls.list() == []


def test_health_readiness_and_metrics_answer(carrier: Carrier) -> None:
    carrier.call()
    carrier.settled_report()
    assert carrier.http.get("/api/health").json() == {"status": "ok"}
    assert carrier.http.get("/api/ready").json()["status"] == "ready"
    metrics = carrier.http.get("/metrics").text
    assert 'simulator_calls{status="completed"} 1.0' in metrics
    assert 'simulator_creates_total{result="answered"} 1.0' in metrics


def test_the_account_can_be_fetched_to_check_credentials(carrier: Carrier) -> None:
    twilio: Client = carrier.twilio
    assert twilio.api.accounts(carrier.account_sid).fetch().status == "active"


def test_it_starts_as_a_process_and_leaves_when_told_to() -> None:
    environment = {**os.environ, "SIMULATOR_PORT": "0", "SIMULATOR_FAULTS__CREATE_HANG": "1", "LOG_FORMAT": "json"}
    with subprocess.Popen(
        [sys.executable, "-m", "switchboard_simulator.main"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert started["event"] == "SIMULATOR STARTED"
        assert httpx.get(f"{started['url']}/api/ready", timeout=20).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_port_in_use_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "switchboard_simulator.main"],
            env={**os.environ, "SIMULATOR_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"127.0.0.1:{port} is in use: stop what listens there or set SIMULATOR_PORT to a free port."
    )


def test_an_address_of_another_machine_is_one_clear_sentence() -> None:
    with pytest.raises(CannotListenError, match=r"^The simulator cannot listen on 192\.0\.2\.1:0: .*\.$"):
        bind(SimulatorSettings(host="192.0.2.1", port=0))
