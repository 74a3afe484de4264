"""Fetching a recording from the carrier: streamed, resumed where it broke off, and never more than allowed."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from switchboard_core.logs import get_logger
from switchboard_recorder.download_errors import (
    BrokenOffError,
    DownloadRefusedError,
    RecordingGoneError,
    RecordingNotReadyError,
    RecordingTooLargeError,
)
from switchboard_recorder.media_url import MediaUrlPolicy
from switchboard_recorder.partial_file import PartialFile

_log = get_logger(__name__)

_MAX_REDIRECTS = 4
_GONE = frozenset({HTTPStatus.GONE, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS})
_TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """How long, how often and how much; times in seconds.

    Attributes:
        max_bytes: a larger recording is refused.
        connect_s: to open a connection.
        read_s: between two pieces of data.
        total_s: for the whole download, pauses included; ends one that only trickles. The wake-up has 600 for this
            and for the storing.
        attempts: requests made for one download, those answered 404 not counted.
        not_ready_s: how long a 404 is taken to mean *not yet*.
        first_pause_s: before the second attempt; it doubles from there, and each pause is shortened at random.
        longest_pause_s: where the doubling ends; also the longest ``Retry-After`` that is obeyed.
    """

    max_bytes: int = 500 * 1024 * 1024
    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 480.0
    attempts: int = 6
    not_ready_s: float = 60.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A finished download.

    Attributes:
        path: the file.
        size: in bytes.
        sha256: of its content, as hex.
        content_type: as the carrier said, without parameters.
        resumed_from: byte at which the last resumed request went on; 0 when none was resumed.
    """

    path: Path
    size: int
    sha256: str
    content_type: str
    resumed_from: int


class Downloader:
    """Downloads recordings over connections that it keeps open. May be shared between threads.

    Args:
        auth: the carrier's account and token; only ever sent to the carrier's own host.
        urls: where recordings may come from.
        limits: how long, how often and how much.
        sleep: how to wait, in seconds; a service passes one that ends early when it shuts down, by raising.
        monotonic: a clock in seconds that only grows.
        jitter: source of the pauses' randomness.
    """

    def __init__(
        self,
        auth: tuple[str, str],
        urls: MediaUrlPolicy,
        limits: DownloadLimits | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        self._auth = httpx.BasicAuth(*auth)
        self._urls = urls
        self._limits = limits or DownloadLimits()
        self._sleep = sleep
        self._monotonic = monotonic
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, hides nothing
        self._client = httpx.Client(
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            follow_redirects=False,  # every hop is checked and decides anew about the credentials
            headers={"Accept": "audio/*", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def download(
        self,
        url: str,
        target: Path,
        *,
        on_attempt: Callable[[int], None] = lambda _attempt: None,
        on_progress: Callable[[int], None] = lambda _size: None,
    ) -> Downloaded:
        """Fetch a recording into a file, which appears under its name only when it is complete.

        Args:
            url: the ``RecordingUrl`` of the carrier's webhook; ``.wav`` is appended when it has no suffix.
            target: the file to write; its folder must exist.
            on_attempt: called with 1, 2 … before each request.
            on_progress: called with the bytes so far after each piece. What it raises ends the download: the place
                to renew a lease, or to notice that it was lost.

        Raises:
            UrlNotAllowedError: the URL, or a redirect, does not lead to the carrier.
            DownloadError: it failed; ``retryable`` tells whether a later try makes sense.
        """
        media = self._urls.recording(url)
        with PartialFile(target) as part:
            self._fetch_until_complete(media, part, _Callbacks(on_attempt, on_progress))
            part.complete()
        return Downloaded(target, part.size, part.sha256, part.content_type, part.resumed_from)

    def _fetch_until_complete(self, url: httpx.URL, part: PartialFile, callbacks: "_Callbacks") -> None:
        started = self._monotonic()
        number = 0  # of requests, as the log counts them
        failures = 0
        while True:
            number += 1
            callbacks.on_attempt(number)
            try:
                self._fetch(url, part, callbacks, deadline=started + self._limits.total_s)
            except RecordingNotReadyError as error:
                if self._monotonic() - started >= self._limits.not_ready_s:
                    raise
                pause = self._pause(number)
                reason = str(error)
            except BrokenOffError as error:
                failures += 1
                if failures >= self._limits.attempts or self._monotonic() - started >= self._limits.total_s:
                    raise
                pause = self._pause(failures) if error.retry_after_s is None else error.retry_after_s
                reason = str(error)
            else:
                return
            pause = min(pause, self._limits.longest_pause_s)
            _log.info("DOWNLOAD_RETRY", attempt=number, received=part.size, pause_s=round(pause, 2), reason=reason)
            self._sleep(pause)

    def _pause(self, failures: int) -> float:
        doublings = min(failures - 1, 30)  # beyond any limit already, and no overflow
        ceiling: float = min(self._limits.first_pause_s * 2.0**doublings, self._limits.longest_pause_s)
        return ceiling * self._jitter.uniform(0.5, 1.0)

    def _fetch(self, url: httpx.URL, part: PartialFile, callbacks: "_Callbacks", *, deadline: float) -> None:
        """Make one request, following redirects, and append what it answers."""
        try:
            with self._open(url, part) as response:
                self._receive(response, part, callbacks, deadline)
        except httpx.TransportError as error:
            msg = f"The connection to the carrier broke off ({type(error).__name__}) after {part.size} bytes."
            raise BrokenOffError(msg) from error

    @contextlib.contextmanager
    def _open(self, url: httpx.URL, part: PartialFile) -> Iterator[httpx.Response]:
        for _hop in range(_MAX_REDIRECTS + 1):
            auth = self._auth if self._urls.is_carrier(url) else None
            with self._client.stream("GET", url, auth=auth, headers=part.resume_headers()) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = self._urls.redirect(url, response.headers["location"])
        msg = f"The carrier redirected the recording more than {_MAX_REDIRECTS} times."
        raise DownloadRefusedError(msg)

    def _receive(self, response: httpx.Response, part: PartialFile, callbacks: "_Callbacks", deadline: float) -> None:
        self._check_status(response, part)
        total = part.begin(response)
        self._check_size(total or 0)
        for chunk in response.iter_raw():  # with a size it would hold back, and lose, what does not fill a piece
            self._check_size(part.size + len(chunk))
            part.append(chunk)
            callbacks.on_progress(part.size)
            if self._monotonic() >= deadline:
                msg = f"The recording did not arrive within {self._limits.total_s:.0f} s ({part.size} bytes did)."
                raise BrokenOffError(msg)
        if part.size == 0 or (total is not None and part.size != total):
            msg = f"The carrier sent {part.size} of {total or 'an unknown number of'} bytes."
            raise BrokenOffError(msg)

    def _check_status(self, response: httpx.Response, part: PartialFile) -> None:
        status = response.status_code
        if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        if status == HTTPStatus.NOT_FOUND:
            msg = "The carrier has no such recording yet (404)."
            raise RecordingNotReadyError(msg)
        if status in _GONE:
            msg = f"The carrier no longer has this recording ({status})."
            raise RecordingGoneError(msg)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.restart()
            msg = "The carrier could not go on where the download broke off (416); it starts again."
            raise BrokenOffError(msg)
        if status in _TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            msg = f"The carrier answered {status}."
            raise BrokenOffError(msg, retry_after_s=_retry_after(response))
        if not self._urls.is_carrier(response.request.url):
            # Links to media hosts are signed for some minutes: the next attempt asks the carrier for a fresh one.
            msg = f"The carrier's media host {response.request.url.host} answered {status}."
            raise BrokenOffError(msg)
        hint = ": check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" if status in {401, 403} else ""
        msg = f"The carrier refused the recording ({status}){hint}."
        raise DownloadRefusedError(msg)

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            msg = (
                f"The recording has more than {self._limits.max_bytes} bytes: raise RECORDING_MAX_BYTES if you "
                "want recordings of this size."
            )
            raise RecordingTooLargeError(msg)


@dataclass(frozen=True, slots=True)
class _Callbacks:
    on_attempt: Callable[[int], None]
    on_progress: Callable[[int], None]


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
