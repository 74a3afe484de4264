"""What stands between a client and the IMAP server of a test: breaks connections, speaks TLS, hides capabilities.

with imap_proxy(server.port, cuts=[400]) as proxy:  # the first connection breaks after 400 bytes, the next ones last
    server.session(port=proxy.port)
"""

import base64
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from imap_server import HOST, PASSWORD, USER

_BLOCK = 65_536


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        port: on 127.0.0.1.
        connections: that were made so far.
        carried: bytes that were passed on from the server in each of them, for choosing where to cut.
    """

    listener: socket.socket
    server_port: int
    cuts: list[int]
    tls: ssl.SSLContext | None
    hidden: Sequence[bytes]
    refused: bytes | None
    token: str | None
    connections: int = 0
    carried: list[int] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def run(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                self._start(self._serve, client)

    def close(self) -> None:
        # shutdown wakes the thread that waits in accept; close alone does not.
        for one in (self.listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in list(self._threads):
            thread.join(10)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        number, cut = self.connections, self.cuts.pop(0) if self.cuts else None
        self.connections += 1
        self.carried.append(0)
        try:
            if self.tls is not None:
                client = self.tls.wrap_socket(client, server_side=True)
            server = socket.create_connection((HOST, self.server_port), timeout=30)
        except OSError:
            client.close()
            return
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(one)
        self._start(self._to_server, client, server)
        with suppress(OSError):
            while data := server.recv(_BLOCK):
                for word in self.hidden:
                    data = data.replace(b" " + word, b"")
                if cut is not None and self.carried[number] + len(data) >= cut:
                    # The server has done what it was asked; the client hears the beginning of it, or nothing.
                    client.sendall(data[: cut - self.carried[number]])
                    self.carried[number] = cut
                    break
                self.carried[number] += len(data)
                client.sendall(data)
        for one in (client, server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(_BLOCK):
                if self.token is not None and b"AUTHENTICATE XOAUTH2" in data:
                    data = self._log_in(client, data.split()[0])
                if self.refused is not None and self.refused in data:
                    client.sendall(data.split()[0] + b" NO [OVERQUOTA] Quota exceeded.\r\n")
                elif data:
                    server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _log_in(self, client: socket.socket, tag: bytes) -> bytes:
        """Speak XOAUTH2 with the client; what logs in at the server, which only takes the password."""
        client.sendall(b"+ \r\n")
        answer = base64.b64decode(client.recv(_BLOCK)).decode()
        if answer == f"user={USER}\1auth=Bearer {self.token}\1\1":
            return tag + f' LOGIN "{USER}" "{PASSWORD}"\r\n'.encode()
        # As the large providers do: the reason first, and the refusal once the client has answered with nothing.
        client.sendall(b"+ " + base64.b64encode(b'{"status":"400"}') + b"\r\n")
        assert client.recv(_BLOCK) == b"\r\n"
        client.sendall(tag + b" NO [AUTHENTICATIONFAILED] Invalid credentials\r\n")
        return b""


@contextmanager
def imap_proxy(
    server_port: int,
    *,
    cuts: Sequence[int] = (),
    tls: ssl.SSLContext | None = None,
    hidden: Sequence[bytes] = (),
    refused: bytes | None = None,
    token: str | None = None,
) -> Iterator[Proxy]:
    """Start a proxy on a free port, and stop it at the end.

    Args:
        server_port: of the IMAP server on 127.0.0.1.
        cuts: after how many bytes of the server's answers the first, second, … connection breaks; later ones last.
        tls: speak TLS with the client.
        hidden: capabilities that the client does not hear of.
        refused: commands with these bytes get a no.
        token: the access token that XOAUTH2 takes; without one XOAUTH2 is not known.
    """
    with socket.create_server((HOST, 0)) as listener:
        proxy = Proxy(listener, server_port, list(cuts), tls, hidden, refused, token)
        thread = threading.Thread(target=proxy.run, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.close()
            thread.join(10)
