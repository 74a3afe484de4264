"""Which URLs the recorder fetches, and which it must not."""

import pytest

from switchboard_recorder.download_errors import UrlNotAllowedError
from switchboard_recorder.media_url import MediaUrlPolicy

POLICY = MediaUrlPolicy.create("https://api.twilio.com", ("media.example.com", "cdn.example.com:8443"))
PATH = "/2010-04-01/Accounts/AC1/Recordings/RE1"


def test_the_suffix_of_the_wav_file_is_appended_to_the_carriers_url() -> None:
    assert str(POLICY.recording(f"https://api.twilio.com{PATH}")) == f"https://api.twilio.com{PATH}.wav"


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
def test_a_url_that_names_its_format_is_left_alone(suffix: str) -> None:
    url = f"https://api.twilio.com{PATH}{suffix}"
    assert str(POLICY.recording(url)) == url


def test_the_query_of_the_carriers_url_is_kept() -> None:
    url = f"https://api.twilio.com{PATH}?RequestedChannels=2"
    assert str(POLICY.recording(url)) == f"https://api.twilio.com{PATH}.wav?RequestedChannels=2"


@pytest.mark.parametrize("url", [f"https://API.twilio.com{PATH}", f"https://api.twilio.com:443{PATH}"])
def test_spellings_of_the_same_host_are_the_same(url: str) -> None:
    assert POLICY.is_carrier(POLICY.recording(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/RE1",
        "http://api.twilio.com/RE1",
        "https://api.twilio.com:8443/RE1",
        "https://api.twilio.com.evil.example.com/RE1",
        "https://api.twilio.com@evil.example.com/RE1",
        "https://user:secret@api.twilio.com/RE1",
        "https://evil.example.com#api.twilio.com/RE1",
        "https://media.example.com/RE1",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:5432/",
        "http://[::1]/RE1",
        "file:///etc/passwd",
        "//api.twilio.com/RE1",
        "/RE1",
        "RE1",
        "",
        "https://",
        "https://api.twilio.com:x/RE1",
        "https://api.twilio.com\\@evil.example.com/RE1",
        "https://api.twilio.com\n.evil.example.com/RE1",
    ],
)
def test_an_address_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowedError):
        POLICY.recording(url)


def test_the_refusal_shows_the_place_but_neither_path_nor_query() -> None:
    with pytest.raises(UrlNotAllowedError) as refusal:
        POLICY.recording("https://evil.example.com/path?token=secret")
    assert "https://evil.example.com" in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert "TWILIO_BASE_URL" in str(refusal.value)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://media.example.com/x?sig=1", "https://media.example.com/x?sig=1"),
        ("https://cdn.example.com:8443/x", "https://cdn.example.com:8443/x"),
        ("/elsewhere.wav", "https://api.twilio.com/elsewhere.wav"),
    ],
)
def test_a_redirect_to_a_known_host_is_followed(location: str, target: str) -> None:
    assert str(POLICY.redirect(POLICY.recording("https://api.twilio.com/RE1"), location)) == target


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example.com/x",
        "http://media.example.com/x",
        "https://media.example.com:8443/x",
        "https://cdn.example.com/x",
        "https://user@media.example.com/x",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "https://[broken/x",
    ],
)
def test_a_redirect_elsewhere_is_refused(location: str) -> None:
    with pytest.raises(UrlNotAllowedError):
        POLICY.redirect(POLICY.recording("https://api.twilio.com/RE1"), location)


def test_a_media_host_is_not_the_carrier() -> None:
    source = POLICY.recording("https://api.twilio.com/RE1")
    assert not POLICY.is_carrier(POLICY.redirect(source, "https://media.example.com/x"))


def test_a_carrier_on_loopback_may_speak_plain_http() -> None:
    policy = MediaUrlPolicy.create("http://127.0.0.1:8100")
    assert str(policy.recording("http://127.0.0.1:8100/RE1")) == "http://127.0.0.1:8100/RE1.wav"
