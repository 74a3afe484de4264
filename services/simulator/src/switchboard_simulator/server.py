"""Listening: in the foreground for ``main``, in the background for tests and notebooks."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from switchboard_simulator.app import create_app
from switchboard_simulator.connection import BreakableProtocol
from switchboard_simulator.settings import SimulatorSettings

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


class CannotListenError(Exception):
    """The address cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """Where a simulator can be reached, and with which credentials."""

    url: str
    account_sid: str
    auth_token: str


def bind(settings: SimulatorSettings) -> socket.socket:
    """Take the address that the settings name.

    Raises:
        CannotListenError: somebody else has it, or this machine does not.
    """
    address = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListenError(f"The simulator cannot listen on {address}: {error.strerror}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        # Taken only once it listens: until then a second process could bind the same address.
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            sentence = f"{address} is in use: stop what listens there or set SIMULATOR_PORT to a free port."
        else:
            sentence = f"The simulator cannot listen on {address}: {error.strerror}."
        raise CannotListenError(sentence) from error
    return listener


def server_for(settings: SimulatorSettings) -> uvicorn.Server:
    """Return a server that is not running yet. Logging is left as it is."""
    config = uvicorn.Config(
        create_app(settings),
        http=BreakableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # A request that hangs on purpose must not keep the process from leaving.
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


class _BackgroundServer(uvicorn.Server):
    """A server on a thread of its own, which therefore leaves signals alone and says when it is there."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the main thread."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start and say so."""
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def running_simulator(settings: SimulatorSettings | None = None) -> Iterator[RunningSimulator]:
    """Run a simulator on a thread for as long as the block lasts.

    Args:
        settings: by default those of the environment, on a free port.

    Raises:
        CannotListenError: the address cannot be had.
        RuntimeError: it did not start.
    """
    settings = settings or SimulatorSettings(port=0)
    listener = bind(settings)
    server = _BackgroundServer(server_for(settings).config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True)
    thread.start()
    try:
        if not server.listening.wait(_START_SECONDS):
            raise RuntimeError("the simulator did not start")
        yield RunningSimulator(
            f"http://{url_host(settings.host)}:{listener.getsockname()[1]}", settings.account_sid, settings.auth_token
        )
    finally:
        server.should_exit = True
        thread.join(_STOP_SECONDS)
        listener.close()


def url_host(host: str) -> str:
    """Return a host as URLs write it."""
    return f"[{host}]" if ":" in host else host
