"""Listening for requests."""

import errno
import socket

import uvicorn
from fastapi import FastAPI

GRACE_S = 7
"""Seconds that requests get to end after SIGTERM; with the rest of the shutdown it stays below ten."""


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


def server_for(app: FastAPI) -> uvicorn.Server:
    """A server that is not running yet. Logging is left as it is."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
