"""Closing connections in the middle of things, which no web framework does on purpose, and clients that do."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "switchboard_simulator.transport"
_BODY = "switchboard_simulator.body"


class BreakableProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, with the connection within reach of the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base class
        """Remember the connection for the requests that come in on it."""
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, _TRANSPORT: transport}

    def on_message_begin(self) -> None:
        """Remember what comes: of a client that leaves at once the application would not be told it."""
        super().on_message_begin()
        self._body = bytearray()

    def on_body(self, body: bytes) -> None:
        """Take in a piece of the request."""
        super().on_body(body)
        self._body += body

    def on_message_complete(self) -> None:
        """Keep the whole request within reach of the application."""
        super().on_message_complete()
        self.scope["state"][_BODY] = bytes(self._body)


@dataclass(frozen=True)
class Received:
    """A whole request, and whether its client still waits for the answer."""

    body: bytes
    awaited: bool


async def whole_request(scope: Scope, receive: Receive) -> Received | None:
    """Wait for the whole body of a request; None where the client left before it had sent that."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            sent = scope.get("state", {}).get(_BODY)
            return None if sent is None else Received(sent, awaited=False)
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return Received(body, awaited=True)


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
