"""How the api stops while clients are at work: no request of theirs fails."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI

from integration.api_support import TOKEN, api_settings
from switchboard_api.app import create_app
from switchboard_api.server import DrainingServer, bind, server_for
from switchboard_core.runtime import make_runtime
from waiting import await_true

LONG_S = 60.0
"""A drain that only ends by itself, however slow the machine is."""


class _ThreadServer(DrainingServer):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Stopping:
    """An api that a test tells to stop, as SIGTERM does."""

    def __init__(self, drain_s: float) -> None:
        self.release = threading.Event()
        self.entered = threading.Event()
        self._clients: list[http.client.HTTPConnection] = []
        self.runtime = make_runtime(api_settings(twilio_auth_token=TOKEN), name="drain-test")
        self.server = _ThreadServer(server_for(self._app()).config, drain_s)
        self._listener = bind("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self.thread.start()
        await_true(lambda: self.server.started, "the api to listen")

    def _app(self) -> FastAPI:
        app = create_app(self.runtime)

        @app.get("/slow")
        def slow() -> str:
            self.entered.set()
            assert self.release.wait(LONG_S)
            return "done"

        return app

    def connection(self) -> http.client.HTTPConnection:
        self._clients.append(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S))
        return self._clients[-1]

    def stop(self) -> None:
        self.server.should_exit = True
        await_true(self._drains, "the drain to begin")

    def _drains(self) -> bool:
        return (b"connection", b"close") in self.server.server_state.default_headers

    def close(self) -> None:
        self.release.set()
        for client in self._clients:
            client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self._listener.close()
        self.runtime.close()
        assert not self.thread.is_alive()


@contextmanager
def stopping(drain_s: float = LONG_S) -> Iterator[Stopping]:
    api = Stopping(drain_s)
    try:
        yield api
    finally:
        api.close()


def get(connection: http.client.HTTPConnection, path: str = "/api/health") -> tuple[int, str | None]:
    """The status, and what the answer says of the connection."""
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status, response.headers["Connection"]


def test_a_connection_is_used_again_until_the_api_stops() -> None:
    with stopping() as api:
        client = api.connection()
        assert [get(client) for _ in range(3)] == [(200, None)] * 3


def test_a_client_at_work_is_answered_and_asked_to_go_elsewhere() -> None:
    with stopping() as api:
        client = api.connection()
        get(client)
        api.stop()
        assert get(client) == (200, "close")


def test_a_new_connection_is_still_served_while_others_are_open() -> None:
    with stopping() as api:
        idle = api.connection()
        get(idle)
        api.stop()
        assert get(api.connection()) == (200, "close")


def test_readiness_does_not_turn_by_the_stop_alone() -> None:
    with stopping() as api:
        client = api.connection()
        before, _ = get(client, "/api/ready")
        api.stop()
        assert get(client, "/api/ready") == (before, "close")


def test_the_drain_ends_with_the_last_connection() -> None:
    with stopping() as api:
        client = api.connection()
        get(client)
        api.stop()
        get(client)
        api.thread.join(20)
        assert not api.thread.is_alive()


def test_the_drain_of_an_api_without_connections_takes_no_time() -> None:
    with stopping() as api:
        api.server.should_exit = True
        api.thread.join(20)
        assert not api.thread.is_alive()


@pytest.mark.parametrize("drain_s", [0.0, LONG_S], ids=["behind the drain", "within the drain"])
def test_a_request_under_way_is_finished(drain_s: float) -> None:
    with stopping(drain_s) as api:
        client = api.connection()
        client.request("GET", "/slow")
        assert api.entered.wait(20)
        api.stop()
        api.release.set()
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b'"done"')


def test_an_idle_connection_does_not_hold_the_api_up() -> None:
    with stopping(0.0) as api:
        get(api.connection())
        api.stop()
        api.thread.join(20)
        assert not api.thread.is_alive()
