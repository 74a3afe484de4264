"""Closing connections in the middle of things, which no web framework does on purpose."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "switchboard_simulator.transport"


class BreakableProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, with the connection within reach of the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base class
        """Remember the connection for the requests that come in on it."""
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, _TRANSPORT: transport}


async def break_off(scope: Scope, receive: Receive) -> None:
    """Close a request's connection, once what was already sent has left, and wait until that happened.

    Raises:
        RuntimeError: the server does not use ``BreakableProtocol``.
    """
    transport = scope.get("state", {}).get(_TRANSPORT)
    if transport is None:
        raise RuntimeError("this server cannot break connections: run it with BreakableProtocol")
    transport.close()
    await disconnected(receive)


async def disconnected(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
