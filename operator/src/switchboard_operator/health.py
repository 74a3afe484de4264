"""Liveness, readiness and metrics, served from a thread so that a stuck event loop can be told."""

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

STUCK_AFTER_S = 30.0


class Pulse:
    """When the event loop last ran, and whether the watches have begun; thread-safe by being two plain values."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat_at = clock()
        self.ready = False

    def beat(self) -> None:
        """The event loop runs."""
        self._beat_at = self._clock()

    @property
    def alive(self) -> bool:
        """It ran not long ago."""
        return self._clock() - self._beat_at < STUCK_AFTER_S


def serve(pulse: Pulse, host: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/healthz``, ``/readyz`` and ``/metrics``.

    A replica that does not lead is ready too: it stands by.

    Args:
        pulse: of the event loop.
        host: an address; empty for all, of both families where this machine has both.
        port: 0 for any free one.

    Raises:
        OSError: the port is in use.
    """

    class Server(ThreadingHTTPServer):
        address_family = _family_of(host)
        daemon_threads = True

        def server_bind(self) -> None:
            """Take the address, and with an IPv6 one that stands for all of them those of IPv4."""
            if self.address_family == socket.AF_INET6 and not host:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer a probe."""
            if self.path == "/metrics":
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                self._answer(*((200, b"ok") if pulse.alive else (503, b"the event loop is stuck")))
            elif self.path == "/readyz":
                self._answer(*((200, b"ready") if pulse.ready else (503, b"waiting for the API server")))
            else:
                self._answer(404, b"not found")

        def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not logged."""

    server = Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def _family_of(host: str) -> socket.AddressFamily:
    """The family to listen with."""
    if not host:
        return socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
