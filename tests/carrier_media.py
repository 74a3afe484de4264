"""A small HTTP server on loopback that serves a recording badly, as told."""

import base64
import re
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Answer = Callable[["MediaHandler"], None]


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """What one request asked for."""

    path: str
    authorization: str | None
    range: str | None
    if_range: str | None


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when the client leaves early, as many tests make it do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@dataclass
class MediaServer:
    """Serves ``body``; each request takes the next of ``answers``, or a good answer when none is left."""

    body: bytes
    etag: str | None = '"version-1"'
    content_type: str = "audio/x-wav"
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[SeenRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        media = self

        class Handler(MediaHandler):
            server_state = media

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{self.host}"


class MediaHandler(BaseHTTPRequestHandler):
    """One request."""

    server_state: MediaServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        state = self.server_state
        headers = self.headers
        state.requests.append(SeenRequest(self.path, headers["Authorization"], headers["Range"], headers["If-Range"]))
        answer = state.answers.popleft() if state.answers else serve()
        answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing on stderr."""


def serve(stop_after: int | None = None, *, chunked: bool = False) -> Answer:
    """Serve the recording, or the range asked for; break the connection off after some bytes of it."""

    def answer(request: MediaHandler) -> None:
        state = request.server_state
        start = _start_of_range(request)
        body = state.body[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Type", state.content_type)
        if state.etag:
            request.send_header("ETag", state.etag)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
        if chunked:
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        sent = body if stop_after is None else body[:stop_after]
        if chunked:
            request.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent))
            request.wfile.write(b"0\r\n\r\n" if stop_after is None else b"")
        else:
            request.wfile.write(sent)
        request.close_connection = stop_after is not None

    return answer


def status(code: int, *, content_type: str = "application/json", **headers: str) -> Answer:
    """Answer with a status and an empty JSON object."""

    def answer(request: MediaHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Type", content_type)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "2")
        request.end_headers()
        request.wfile.write(b"{}")

    return answer


def hang_up() -> Answer:
    """Close the connection without an answer."""

    def answer(request: MediaHandler) -> None:
        request.close_connection = True

    return answer


def lie_about_the_range(offset: int) -> Answer:
    """Answer a range request with another range than asked."""

    def answer(request: MediaHandler) -> None:
        state = request.server_state
        body = state.body[offset:]
        request.send_response(206)
        request.send_header("Content-Type", state.content_type)
        request.send_header("Content-Range", f"bytes {offset}-{len(state.body) - 1}/{len(state.body)}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _start_of_range(request: MediaHandler) -> int:
    """First byte to send: 0 unless the client asks for a range of the version that there is."""
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
    same_version = request.headers["If-Range"] in {None, request.server_state.etag}
    return int(asked[1]) if asked and same_version else 0
