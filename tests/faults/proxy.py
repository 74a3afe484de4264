"""A TCP proxy in front of a server: it can cut every connection, refuse new ones, be late, or let nothing through."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from switchboard_cli.devstack import LOOPBACK, free_port

_CHUNK = 1 << 16
_ON, _AT_ONCE = 1, 0
_A_MOMENT_S = 0.05


class Proxy:
    """Stands between the services and a server on loopback; its own port stays the same.

    Args:
        target_port: where the server listens; may be set until the first connection.
    """

    def __init__(self, target_port: int = 0) -> None:
        self.port = free_port()
        self.target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._accepts = True
        self._late_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._place: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        """Serve from a thread inside the block."""
        self._thread.start()
        self._soon(self._take_place)
        self._soon(self._listen)
        try:
            yield self
        finally:
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def cut(self) -> None:
        """Reset every connection, on both sides. New ones go through."""
        self._soon(self._reset_all)

    def refuse(self) -> None:
        """Reset every connection and do not listen until ``pass_on``, as where the server has ended."""

        def close_the_door() -> None:
            self._stop_listening()
            self._accepts = False
            self._reset_all()

        self._soon(close_the_door)

    def hold(self) -> None:
        """Let nothing through in either direction, until ``pass_on``: connections stay open and are silent."""
        self._soon(self._flows.clear)

    def slow(self, late_s: float) -> None:
        """Let each piece of data through so many seconds late, in both directions, until ``pass_on``."""

        def be_late() -> None:
            self._late_s = late_s

        self._soon(be_late)

    def pass_on(self) -> None:
        """Let everything through again and at once, what was held included."""

        def open_the_door() -> None:
            self._late_s = 0.0
            self._flows.set()
            if not self._accepts:
                self._accepts = True
                self._listen()

        self._soon(open_the_door)

    def _soon(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()

        self._do(act())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # Not asyncio.start_server: closed, it forgets a connection that it has accepted and not handed over yet. Here each
    # one has its task from the moment that it is accepted.

    def _take_place(self) -> None:
        """Bind the port and never listen there: nobody else gets it while the door is closed."""
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, _ON)
        self._place.bind((LOOPBACK, self.port))

    def _listen(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self.port), reuse_port=True)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        self._stop_listening()
        if self._place is not None:
            self._place.close()
        self._accepts = False
        self._flows.set()
        # Not cancelled, of which the loop complains: whoever was held goes on, and what it opens is reset as well.
        while self._tasks:
            self._reset_all()
            await asyncio.wait(self._tasks, timeout=_A_MOMENT_S)

    def _reset_all(self) -> None:
        for writer in tuple(self._writers):
            _reset(writer)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        self._writers.add(writer)
        try:
            if self._accepts:
                await self._flows.wait()
                await self._connect(reader, writer)
        finally:
            _reset(writer)
            await self._closed(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            return
        self._writers.add(far_writer)
        ways = [asyncio.ensure_future(self._relay(*way)) for way in ((reader, far_writer), (far_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()
            await self._closed(far_writer)

    async def _closed(self, writer: asyncio.StreamWriter) -> None:
        """Wait until a connection is closed; until then it can be reset like any other."""
        with suppress(OSError):
            await writer.wait_closed()
        self._writers.discard(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one side ends; the servers behind it speak protocols that know no half-closed connection."""
        try:
            while data := await reader.read(_CHUNK):
                if self._late_s:
                    await asyncio.sleep(self._late_s)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, as a cut line or a dead host does, not with an orderly goodbye."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", _ON, _AT_ONCE))
    writer.transport.abort()
