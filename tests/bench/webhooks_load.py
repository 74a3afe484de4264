"""Sends prepared requests when they are due, whatever the answers do, and writes down how long each one took.

A process of its own. The latency of a request counts from the moment at which it was due, not from when it was sent:
a server that stalls is charged for every request that should have been on its way meanwhile.

Usage: ``webhooks_load.py HOST PORTS REQUESTS OUTPUT``; PORTS has commas, and the connections are spread over them;
REQUESTS holds each request behind the second at which it is due and its length.
"""

import asyncio
import json
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

CONNECTIONS = 64
HEAD = struct.Struct("<dI")
"""Before each request: when it is due, in seconds from the start, and its length in bytes."""


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = b""
        self._due = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for requests."""
        self._transport = cast("asyncio.Transport", transport)
        self._load.free(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at ``due``."""
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """An answer without a body, or a piece of it; one with a body is an error, and the end."""
        self._received += data
        if not b"HTTP/1.1 204".startswith(self._received[:12]):
            self._load.lost(RuntimeError(self._received.decode(errors="replace")))
        if self._received.endswith(b"\r\n\r\n"):
            status = int(self._received[9:12])
            self._received = b""
            self._load.answered(status, time.perf_counter() - self._due)
            self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server must not close a connection that is in use."""
        self._load.lost(exc)


class Load:
    """The requests, when each is due, and what became of them."""

    def __init__(self, requests: list[tuple[float, bytes]]) -> None:
        self._requests = requests
        self._idle: deque[Client] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._done = asyncio.Event()
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}

    def free(self, client: Client) -> None:
        """A connection may take the request that waits longest."""
        if self._waiting:
            client.send(*self._waiting.popleft())
        else:
            self._idle.append(client)

    def answered(self, status: int, took_s: float) -> None:
        """One more answer."""
        self.latencies.append(took_s)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if len(self.latencies) == len(self._requests):
            self._done.set()

    def lost(self, error: Exception | None) -> None:
        """A connection is gone."""
        if not self._done.is_set():
            sys.exit(f"the api closed a connection: {error}")

    async def run(self, host: str, ports: list[int]) -> None:
        """Send everything, and wait for every answer."""
        loop = asyncio.get_running_loop()
        for number in range(CONNECTIONS):
            await loop.create_connection(lambda: Client(self), host, ports[number % len(ports)])
        started = time.perf_counter()
        for after_s, request in self._requests:
            due = started + after_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if self._idle:
                self._idle.popleft().send(request, due)
            else:
                self._waiting.append((request, due))
        await asyncio.wait_for(self._done.wait(), 300)


def main() -> None:
    """Read the requests, send them, write the latencies."""
    host, ports, requests, output = sys.argv[1:5]
    load = Load(_requests(Path(requests).read_bytes()))
    uvloop.run(load.run(host, [int(port) for port in ports.split(",")]))
    Path(output).write_text(json.dumps({"latencies": load.latencies, "statuses": load.statuses}), "utf-8")


def _requests(content: bytes) -> list[tuple[float, bytes]]:
    found, at = [], 0
    while at < len(content):
        after_s, length = HEAD.unpack_from(content, at)
        at += HEAD.size
        found.append((after_s, content[at : at + length]))
        at += length
    return found


if __name__ == "__main__":
    main()
