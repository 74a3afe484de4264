"""Reading from a server that a tenant chose: within a time from start to end, and within a number of bytes.

A socket's timeout begins anew with each byte, so a server that sends a little now and then holds up whoever reads from
it for as long as it likes.
"""

import io
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SHORTEST_S = 0.05
"""A timeout of 0 would mean not to wait at all."""


class BoundedReader(io.RawIOBase):
    """What comes from a socket; to be wrapped in ``io.BufferedReader``.

    Args:
        sock: stays the caller's to close.
        until: the deadline by ``time.monotonic``, asked for before each read.
        silence_s: how long nothing at all may come, in seconds.

    Attributes:
        bytes_left: how many more may come; None: any number.
    """

    def __init__(self, sock: socket.socket, until: Callable[[], float], silence_s: float | None = None) -> None:
        self._sock = sock
        self._until = until
        self._silence_s = silence_s
        self.bytes_left: int | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read what is there; raises ``OSError`` beyond a bound."""
        left_s = self._until() - time.monotonic()
        if left_s <= 0:
            msg = "the server was not done in time"
            raise TimeoutError(msg)
        if self.bytes_left is not None and self.bytes_left <= 0:
            msg = "the server sends more than it should"
            raise OSError(msg)
        self._sock.settimeout(left_s if self._silence_s is None else min(left_s, self._silence_s))
        received = self._sock.recv_into(memoryview(buffer)[: self.bytes_left])
        if self.bytes_left is not None:
            self.bytes_left -= received
        return received
