"""The proxy of the fault run: it passes on, cuts, refuses, is late and holds."""

import socket
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from faults.proxy import Proxy
from switchboard_cli.devstack import LOOPBACK

pytestmark = pytest.mark.faults


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that sends back what it gets."""
    with socket.create_server((LOOPBACK, 0)) as server:
        Thread(target=_echo, args=(server,), daemon=True).start()
        with Proxy(server.getsockname()[1]).running() as proxy:
            yield proxy


def _echo(server: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    connection.sendall(data)
            except OSError:
                return

    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        Thread(target=serve, args=(connection,), daemon=True).start()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=5)


def echoed(connection: socket.socket, data: bytes = b"hello") -> bytes:
    connection.sendall(data)
    return connection.recv(1024)


def converse(proxy: Proxy) -> bytes:
    """An answer; empty where the connection is closed in good order."""
    with connect(proxy) as connection:
        return echoed(connection)


def test_everything_is_passed_on(proxy: Proxy) -> None:
    with connect(proxy) as first, connect(proxy) as second:
        assert (echoed(first), echoed(second, b"you")) == (b"hello", b"you")


def test_a_cut_resets_what_there_is_and_lets_new_connections_through(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        echoed(connection)
        proxy.cut()
        with pytest.raises(ConnectionError):
            connection.recv(1)
    with connect(proxy) as connection:
        assert echoed(connection) == b"hello"


def test_who_is_refused_comes_through_later(proxy: Proxy) -> None:
    def try_it() -> bytes:
        with connect(proxy) as connection:
            return echoed(connection)

    proxy.refuse()
    with pytest.raises(ConnectionError):
        try_it()
    proxy.pass_on()
    assert try_it() == b"hello"


def test_what_is_held_arrives_when_the_line_is_free_again(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        echoed(connection)
        proxy.hold()
        connection.sendall(b"wait")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.pass_on()
        connection.settimeout(5)
        assert connection.recv(1024) == b"wait"


def test_who_is_refused_has_no_connection_at_all(proxy: Proxy) -> None:
    for _ in range(3):
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        proxy.pass_on()
        assert converse(proxy) == b"hello"


def test_what_is_slow_comes_late_each_way_until_it_is_passed_on(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.slow(0.2)
        began = time.monotonic()
        assert echoed(connection) == b"hello"
        assert time.monotonic() - began >= 0.4
        proxy.pass_on()
        assert echoed(connection) == b"hello"


def test_the_server_behind_it_may_be_named_later(proxy: Proxy) -> None:
    with Proxy().running() as second:
        second.target_port = proxy.port
        assert converse(second) == b"hello"


def test_it_ends_while_nobody_is_let_in(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_it_ends_while_connections_are_held(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        echoed(connection)
        proxy.hold()
        connection.sendall(b"never")
        connect(proxy).close()
