"""Sends prepared requests at a fixed rate, whatever the answers do, and writes down how long each one took.

A process of its own. The latency of a request counts from the moment at which it was due, not from when it was sent:
a server that stalls is charged for every request that should have been on its way meanwhile.

Usage: ``webhooks_load.py HOST PORT RATE REQUESTS OUTPUT``; REQUESTS holds each request with its length before it.
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

    def __init__(self, requests: list[bytes], rate: float) -> None:
        self._requests = requests
        self._rate = rate
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

    async def run(self, host: str, port: int) -> None:
        """Send everything, and wait for every answer."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: Client(self), host, port)
        started = time.perf_counter()
        for number, request in enumerate(self._requests):
            due = started + number / self._rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if self._idle:
                self._idle.popleft().send(request, due)
            else:
                self._waiting.append((request, due))
        await asyncio.wait_for(self._done.wait(), 300)


def main() -> None:
    """Read the requests, send them, write the latencies."""
    host, port, rate, requests, output = sys.argv[1:6]
    load = Load(list(_requests(Path(requests).read_bytes())), float(rate))
    uvloop.run(load.run(host, int(port)))
    Path(output).write_text(json.dumps({"latencies": load.latencies, "statuses": load.statuses}), "utf-8")


def _requests(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        found.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return found


if __name__ == "__main__":
    main()
