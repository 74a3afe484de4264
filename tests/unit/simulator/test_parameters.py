"""Create calls are checked as the carrier checks them."""

from urllib.parse import urlencode

import pytest

from switchboard_simulator.calls import CallRequest, MachineDetection
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.parameters import Form, parse_create

GOOD = {"To": "+14155550100", "From": "+14155550199", "Url": "https://example.com/voice"}


def parse(**changes: object) -> CallRequest:
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return parse_create(Form(urlencode(fields, doseq=True).encode()))


def test_what_is_left_out_has_the_carriers_defaults() -> None:
    assert parse() == CallRequest(to=GOOD["To"], from_=GOOD["From"], url=GOOD["Url"])


def test_everything_that_is_given_is_read() -> None:
    request = parse(
        StatusCallback="https://example.com/s?attempt=1",
        StatusCallbackEvent=["ringing", "answered"],
        StatusCallbackMethod="get",
        Record="True",
        MachineDetection="DetectMessageEnd",
        AsyncAmd="true",
        Timeout="15",
    )
    assert request.status_events == {"ringing", "answered"}
    assert request.status_callback_method == "GET"
    assert (request.record, request.async_amd, request.timeout) == (True, True, 15)
    assert request.machine_detection is MachineDetection.DETECT_MESSAGE_END
    assert request.label("attempt") == "1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21201),
        ({"To": ""}, 21201),
        ({"To": "4155550100"}, 21211),
        ({"To": "+0123456789"}, 21211),
        ({"To": "+14155550100 "}, 21211),
        ({"To": "+1\uff114155550100"}, 21211),
        ({"From": None}, 21213),
        ({"From": "Acme"}, 21212),
        ({"Url": None}, 21205),
        ({"Url": "example.com/voice"}, 21205),
        ({"Url": "http://[broken/voice"}, 21205),
        ({"Url": "https://example.com/a b"}, 21205),
        ({"Url": "https://example.com/" + "a" * 4000}, 21205),
        ({"Url": None, "Twiml": "x" * 4001}, 11750),
        ({"StatusCallback": "ftp://example.com"}, 21609),
        ({"StatusCallbackEvent": "ringing answered"}, 21626),
        ({"RecordingStatusCallbackEvent": "done"}, 21626),
        ({"Method": "PUT"}, 20001),
        ({"Timeout": "601"}, 20001),
        ({"Timeout": "soon"}, 20001),
        ({"Timeout": "²"}, 20001),
        ({"MachineDetection": "Perhaps"}, 20001),
        ({"RecordingTrack": "all"}, 20001),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_code(changes: dict[str, object], code: int) -> None:
    with pytest.raises(TwilioError) as refused:
        parse(**changes)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert refused.value.message.endswith((".", "]", "voice", "com", "a b", "aaa"))


def test_a_body_that_is_not_text_is_refused() -> None:
    with pytest.raises(TwilioError) as refused:
        Form(b"\xff\xfe=1")
    assert refused.value.code == 20001


def test_the_longest_twiml_is_accepted() -> None:
    assert parse(Url=None, Twiml="x" * 4000).twiml == "x" * 4000
