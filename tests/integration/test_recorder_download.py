"""Downloads from a server on loopback that breaks off, stalls, redirects and lies."""

import errno
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from carrier_media import MediaServer, basic, hang_up, lie_about_the_range, serve, status
from switchboard_recorder.download import Downloaded, Downloader, DownloadLimits
from switchboard_recorder.download_errors import (
    BrokenOffError,
    DiskFullError,
    DownloadRefusedError,
    NotAudioError,
    RecordingGoneError,
    RecordingNotReadyError,
    RecordingTooLargeError,
    UrlNotAllowedError,
)
from switchboard_recorder.media_url import MediaUrlPolicy

ACCOUNT, TOKEN = "AC0123", "not-a-secret"
BODY = random.Random(7).randbytes(1_000_000)
PATH = "/2010-04-01/Accounts/AC0123/Recordings/RE0123"


@dataclass
class Time:
    """A clock that moves only when somebody sleeps."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def carrier() -> Iterator[MediaServer]:
    with MediaServer(BODY) as server:
        yield server


@pytest.fixture
def media_host() -> Iterator[MediaServer]:
    with MediaServer(BODY) as server:
        yield server


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "RE0123.wav"


Fetch = Callable[..., Downloaded]


@pytest.fixture
def fetch(carrier: MediaServer, media_host: MediaServer, time: Time, target: Path) -> Fetch:
    def run(*, limits: DownloadLimits | None = None, path: str = PATH, **callbacks: Any) -> Downloaded:
        policy = MediaUrlPolicy.create(carrier.url, (media_host.host,))
        with Downloader(
            (ACCOUNT, TOKEN),
            policy,
            limits,
            sleep=time.sleep,
            monotonic=time.monotonic,
            jitter=random.Random(1),
        ) as downloader:
            return downloader.download(carrier.url + path, target, **callbacks)

    return run


def folder(target: Path) -> list[str]:
    return [path.name for path in target.parent.iterdir()]


def test_a_recording_arrives_whole_with_its_checksum(fetch: Fetch, target: Path) -> None:
    done = fetch()
    assert target.read_bytes() == BODY
    assert (done.path, done.size, done.sha256, done.content_type, done.resumed_from) == (
        target,
        len(BODY),
        hashlib.sha256(BODY).hexdigest(),
        "audio/x-wav",
        0,
    )


def test_the_wav_file_is_asked_for_with_the_accounts_credentials(fetch: Fetch, carrier: MediaServer) -> None:
    fetch()
    assert [(request.path, request.authorization) for request in carrier.requests] == [
        (f"{PATH}.wav", basic(ACCOUNT, TOKEN))
    ]


def test_a_recording_without_a_length_in_advance_arrives_too(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.append(serve(chunked=True))
    assert fetch().size == len(BODY)
    assert target.read_bytes() == BODY


def test_a_broken_download_goes_on_where_it_stopped(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.extend([serve(stop_after=300_000), serve(stop_after=200_000)])
    done = fetch()
    assert target.read_bytes() == BODY
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()
    assert done.resumed_from == 500_000
    assert [request.range for request in carrier.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert {request.if_range for request in carrier.requests[1:]} == {'"version-1"'}


def test_a_broken_download_without_a_length_goes_on_too(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.append(serve(stop_after=300_000, chunked=True))
    assert fetch().size == len(BODY)
    assert target.read_bytes() == BODY


def test_another_version_of_the_recording_is_taken_from_its_beginning(
    fetch: Fetch, carrier: MediaServer, target: Path
) -> None:
    newer = BODY[::-1]

    def replaced(request: Any) -> None:
        carrier.body, carrier.etag = newer, '"version-2"'
        serve()(request)

    carrier.answers.extend([serve(stop_after=300_000), replaced])
    done = fetch()
    assert target.read_bytes() == newer
    assert (done.sha256, done.resumed_from) == (hashlib.sha256(newer).hexdigest(), 0)


@pytest.mark.parametrize("etag", [None, 'W/"version-1"'])
def test_halves_are_not_joined_without_a_strong_tag(
    fetch: Fetch, carrier: MediaServer, target: Path, etag: str | None
) -> None:
    carrier.etag = etag
    carrier.answers.append(serve(stop_after=300_000))
    assert fetch().resumed_from == 0
    assert target.read_bytes() == BODY
    assert [request.range for request in carrier.requests] == [None, None]


def test_a_range_that_was_not_asked_for_is_not_joined(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.extend([serve(stop_after=300_000), lie_about_the_range(100_000)])
    fetch()
    assert target.read_bytes() == BODY


def test_a_range_that_the_carrier_rejects_starts_again(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.extend([serve(stop_after=300_000), status(416)])
    assert fetch().resumed_from == 0
    assert target.read_bytes() == BODY


def test_a_recording_that_is_not_there_yet_is_asked_for_again(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.extend([status(404)] * 3)
    attempts: list[int] = []
    fetch(on_attempt=attempts.append)
    assert attempts == [1, 2, 3, 4]
    assert target.read_bytes() == BODY


def test_a_recording_that_never_comes_is_given_up_after_a_while(fetch: Fetch, carrier: MediaServer, time: Time) -> None:
    carrier.answers.extend([status(404)] * 100)
    with pytest.raises(RecordingNotReadyError) as failure:
        fetch(limits=DownloadLimits(not_ready_s=60))
    assert failure.value.retryable
    assert 60 <= time.now < 60 + 15


def test_waiting_for_a_recording_does_not_use_up_the_attempts(fetch: Fetch, carrier: MediaServer) -> None:
    carrier.answers.extend([*[status(404)] * 8, hang_up(), hang_up()])
    assert fetch(limits=DownloadLimits(attempts=3)).size == len(BODY)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_carrier_in_trouble_is_asked_again(fetch: Fetch, carrier: MediaServer, code: int) -> None:
    carrier.answers.append(status(code))
    assert fetch().size == len(BODY)


def test_a_pause_that_the_carrier_asks_for_is_kept(fetch: Fetch, carrier: MediaServer, time: Time) -> None:
    carrier.answers.append(status(429, Retry_After="7"))
    fetch()
    assert time.pauses == [7.0]


def test_no_carrier_makes_us_pause_for_an_hour(fetch: Fetch, carrier: MediaServer, time: Time) -> None:
    carrier.answers.append(status(503, Retry_After="3600"))
    fetch()
    assert time.pauses == [15.0]


def test_pauses_grow_up_to_their_limit_and_are_spread(fetch: Fetch, carrier: MediaServer, time: Time) -> None:
    carrier.answers.extend([hang_up()] * 7)
    fetch(limits=DownloadLimits(attempts=8, first_pause_s=1, longest_pause_s=8))
    for pause, ceiling in zip(time.pauses, [1, 2, 4, 8, 8, 8, 8], strict=True):
        assert ceiling / 2 <= pause <= ceiling
    assert len(set(time.pauses)) == 7


def test_attempts_are_bounded_and_leave_nothing_behind(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.extend([serve(stop_after=1000)] * 20)
    with pytest.raises(BrokenOffError) as failure:
        fetch(limits=DownloadLimits(attempts=4))
    assert failure.value.retryable
    assert len(carrier.requests) == 4
    assert folder(target) == []


@pytest.mark.parametrize("code", [401, 403])
def test_wrong_credentials_are_reported_at_once(fetch: Fetch, carrier: MediaServer, code: int) -> None:
    carrier.answers.append(status(code))
    with pytest.raises(DownloadRefusedError, match="check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN") as failure:
        fetch()
    assert not failure.value.retryable
    assert len(carrier.requests) == 1


def test_a_deleted_recording_is_not_asked_for_again(fetch: Fetch, carrier: MediaServer) -> None:
    carrier.answers.append(status(410))
    with pytest.raises(RecordingGoneError):
        fetch()
    assert len(carrier.requests) == 1


def test_a_web_page_is_not_a_recording(fetch: Fetch, carrier: MediaServer, target: Path) -> None:
    carrier.answers.append(status(200, content_type="text/html"))
    with pytest.raises(NotAudioError, match="text/html"):
        fetch()
    assert folder(target) == []


def test_an_empty_recording_is_a_failure(fetch: Fetch, carrier: MediaServer) -> None:
    carrier.body = b""
    with pytest.raises(BrokenOffError, match="sent 0 of"):
        fetch()


def test_a_recording_that_announces_too_much_is_refused_unread(fetch: Fetch, target: Path) -> None:
    seen: list[int] = []
    with pytest.raises(RecordingTooLargeError, match="raise RECORDING_MAX_BYTES"):
        fetch(limits=DownloadLimits(max_bytes=len(BODY) - 1), on_progress=seen.append)
    assert seen == []
    assert folder(target) == []


def test_a_recording_that_hides_its_length_is_cut_off_at_the_limit(
    fetch: Fetch, carrier: MediaServer, target: Path
) -> None:
    carrier.answers.append(serve(chunked=True))
    seen: list[int] = []
    with pytest.raises(RecordingTooLargeError):
        fetch(limits=DownloadLimits(max_bytes=500_000), on_progress=seen.append)
    assert max(seen) <= 500_000
    assert folder(target) == []


def test_a_recording_that_trickles_is_ended_by_the_total_limit(
    fetch: Fetch, carrier: MediaServer, time: Time, target: Path
) -> None:
    def minute_per_piece(_size: int) -> None:
        time.now += 60

    with pytest.raises(BrokenOffError, match="did not arrive within 300 s"):
        fetch(limits=DownloadLimits(total_s=300), on_progress=minute_per_piece)
    assert len(carrier.requests) == 1
    assert folder(target) == []


def test_a_server_that_stalls_is_left_after_the_read_limit(fetch: Fetch, carrier: MediaServer) -> None:
    stalled = Event()

    def stall(request: Any) -> None:
        stalled.wait(5)
        request.close_connection = True

    carrier.answers.append(stall)
    try:
        assert fetch(limits=DownloadLimits(read_s=0.2)).size == len(BODY)
    finally:
        stalled.set()


def test_a_redirect_to_a_known_host_is_followed_without_the_credentials(
    fetch: Fetch, carrier: MediaServer, media_host: MediaServer, target: Path
) -> None:
    carrier.answers.append(status(302, Location=f"{media_host.url}/signed?x=1"))
    fetch()
    assert target.read_bytes() == BODY
    assert [(request.path, request.authorization) for request in media_host.requests] == [("/signed?x=1", None)]


def test_a_redirect_elsewhere_is_not_followed(fetch: Fetch, carrier: MediaServer) -> None:
    with MediaServer(BODY) as stranger:
        carrier.answers.append(status(307, Location=f"{stranger.url}/RE1.wav"))
        with pytest.raises(UrlNotAllowedError, match="TWILIO_MEDIA_HOSTS"):
            fetch()
        assert stranger.requests == []


def test_a_download_from_a_media_host_goes_on_through_the_carrier(
    fetch: Fetch, carrier: MediaServer, media_host: MediaServer, target: Path
) -> None:
    carrier.answers.extend([status(302, Location=f"{media_host.url}/{number}") for number in (1, 2)])
    media_host.answers.append(serve(stop_after=300_000))
    assert fetch().resumed_from == 300_000
    assert target.read_bytes() == BODY
    assert [(request.path, request.range) for request in media_host.requests] == [("/1", None), ("/2", "bytes=300000-")]


def test_an_expired_link_of_a_media_host_is_renewed_by_the_carrier(
    fetch: Fetch, carrier: MediaServer, media_host: MediaServer
) -> None:
    carrier.answers.extend([status(302, Location=f"{media_host.url}/{number}") for number in (1, 2)])
    media_host.answers.append(status(403))
    assert fetch().size == len(BODY)


def test_a_carrier_that_redirects_in_circles_is_left(fetch: Fetch, carrier: MediaServer) -> None:
    carrier.answers.extend([status(302, Location="/again")] * 20)
    with pytest.raises(DownloadRefusedError, match="redirected the recording more than 4 times"):
        fetch()
    assert len(carrier.requests) == 5


def test_nothing_is_asked_of_a_host_that_is_not_the_carrier(
    time: Time, target: Path, media_host: MediaServer, carrier: MediaServer
) -> None:
    policy = MediaUrlPolicy.create(carrier.url)
    with (
        Downloader((ACCOUNT, TOKEN), policy, sleep=time.sleep) as downloader,
        pytest.raises(UrlNotAllowedError, match="TWILIO_BASE_URL"),
    ):
        downloader.download(f"{media_host.url}/RE1", target)
    assert media_host.requests == []


def test_progress_is_reported_and_can_end_the_download(fetch: Fetch, target: Path) -> None:
    class LeaseLostError(Exception):
        pass

    sizes: list[int] = []

    def renew(size: int) -> None:
        sizes.append(size)
        if size > 500_000:
            raise LeaseLostError

    with pytest.raises(LeaseLostError):
        fetch(on_progress=renew)
    assert sizes == sorted(sizes)
    assert folder(target) == []


def test_a_full_disk_says_so(fetch: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFullError, match="is full: free some room") as failure:
        fetch()
    assert failure.value.retryable
    assert folder(target) == []
