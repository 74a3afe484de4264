"""A server that never comes to an end: it sends a piece every moment, so that no single read ever times out.

with trickling_server(b"220-more to come\\r\\n") as server:
    ...                                 # whoever reads from server.port until it is done reads for ``LASTS_S``
    server.sent                         # pieces that went out
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

HOST = "127.0.0.1"
EVERY_S = 0.02
LASTS_S = 15.0
"""Then it hangs up, so that a client without a deadline of its own fails its test and does not hang it."""


@dataclass
class TricklingServer:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        sent: pieces that went out to all clients together.
    """

    port: int
    sent: int = 0


@contextmanager
def trickling_server(piece: bytes, *, first: bytes = b"", every_s: float = EVERY_S) -> Iterator[TricklingServer]:
    """Serve one client after the other on a free port.

    Args:
        piece: sent again and again.
        first: sent once, before.
        every_s: seconds between two pieces.
    """
    over = threading.Event()

    def talk(client: socket.socket) -> None:
        until = time.monotonic() + LASTS_S
        client.settimeout(1)
        with client, suppress(OSError):
            client.sendall(first)
            while time.monotonic() < until and not over.wait(every_s):
                client.sendall(piece)
                made.sent += 1

    def serve() -> None:
        with suppress(OSError):
            while True:
                talk(listener.accept()[0])

    with socket.create_server((HOST, 0)) as listener:
        made = TricklingServer(listener.getsockname()[1])
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            over.set()
            # shutdown wakes the thread that waits in accept; close alone does not.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
