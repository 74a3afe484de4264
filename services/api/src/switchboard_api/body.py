"""Bodies of requests: how large they may be, and what they hash to."""

import hashlib
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from switchboard_api.problems import Problem

if TYPE_CHECKING:
    from hashlib import _Hash

_DIGEST = "switchboard.body_digest"


class BodyLimit:
    """Refuses a body that is too large: by its Content-Length, and by counting where there is none or it lies.

    The bytes are hashed as they pass, for ``Idempotency-Key``, so that an upload of any size is never held for it.
    """

    def __init__(self, app: ASGIApp, *, default: int, by_path: dict[str, int]) -> None:
        self._app = app
        self._default = default
        self._by_path = by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._by_path.get(scope["path"], self._default)
        digest = hashlib.sha256()
        scope[_DIGEST] = digest
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await _too_large(limit).response()(scope, receive, send)
            return
        wanted = "idempotency-key" in headers
        await self._app(scope, _counted(receive, limit, digest if wanted else None), send)


def _counted(receive: Receive, limit: int, digest: "_Hash | None") -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            chunk = message.get("body", b"")
            total += len(chunk)
            if total > limit:
                raise _too_large(limit)
            if digest is not None:
                digest.update(chunk)
        return message

    return counted


def _too_large(limit: int) -> Problem:
    detail = f"The body is larger than the {limit:,} bytes that this path takes: send less at once."
    # What is left of the body is not read, so the connection cannot be used again.
    return Problem(413, "Body too large", detail, headers={"Connection": "close"}, limit=limit)


def body_digest(scope: Scope) -> bytes:
    """SHA-256 of the body; only of a request with an Idempotency-Key, and once its body was read."""
    digest: _Hash = scope[_DIGEST]
    return digest.digest()
