"""Listening for requests, and ceasing to."""

import asyncio
import errno
import socket

import uvicorn
from fastapi import FastAPI

DRAIN_S = 2.0
"""Seconds after SIGTERM in which open connections are talked out of being used again."""
GRACE_S = 5
"""Seconds that requests get to end after that; with the rest of the shutdown it stays below ten."""
KEEP_ALIVE_S = 75
"""Seconds that an idle connection stays open: longer than proxies and clients keep theirs (60 s is common), so that it
is them who close it. Who sends a request while we close sees it fail."""
_DRAIN_LOOK_S = 0.05


class CannotListenError(Exception):
    """The address cannot be had; the message says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """Take the address before anything else starts, so that a port in use is one sentence and not a traceback.

    Args:
        host: name or address.
        port: 0 for any free one.

    Raises:
        CannotListenError: somebody else has it, or this machine does not.
    """
    address = f"{host}:{port}"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        msg = (
            f"The api cannot listen on {address}: {error.strerror}. Set SWITCHBOARD_HOST to an address of this machine."
        )
        raise CannotListenError(msg) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        # Only listening makes it ours: until then a second process could bind the same address.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            msg = f"{address} is in use: stop what listens there, or set SWITCHBOARD_PORT to a free port."
        elif error.errno == errno.EACCES:
            msg = f"The api may not listen on {address}: set SWITCHBOARD_PORT to a port above 1023."
        else:
            msg = f"The api cannot listen on {address}: {error.strerror}."
        raise CannotListenError(msg) from error
    return listener


class DrainingServer(uvicorn.Server):
    """A server that drains before it shuts down.

    uvicorn closes idle connections as soon as it is told to stop; a request that is on its way on one of them fails. So
    this one first goes on answering, new connections included, and asks for each connection to be closed with the
    answer: a client that is at work opens its next one elsewhere. What is still idle then is idle for long.

    Args:
        config: of the server.
        drain_s: seconds that this may take; it ends with the last connection.
    """

    def __init__(self, config: uvicorn.Config, drain_s: float = DRAIN_S) -> None:
        super().__init__(config)
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then stop listening, let requests under way end, and close what is left."""
        # For requests that begin from now on. Those under way get it from uvicorn when their time has come.
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain_s
        # Looked at again and again, as uvicorn does itself: nobody is told when a connection is lost.
        while self.server_state.connections and loop.time() < until and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_LOOK_S)
        await super().shutdown(sockets)


def server_for(app: FastAPI) -> DrainingServer:
    """A server that is not running yet. Logging is left as it is."""
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return DrainingServer(config)
