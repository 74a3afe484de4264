"""Around every request: its id, its one log line, its metrics, and an answer when something unforeseen happens."""

import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from switchboard_api.metrics import DURATION, REQUESTS
from switchboard_api.problems import unexpected
from switchboard_core.logs import get_logger

log = get_logger(__name__)

REQUEST_ID = "X-Request-ID"

_SOUND_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every few seconds by machines: their lines would bury the others.
_QUIET = frozenset({"/api/health", "/api/ready", "/metrics", "/internal/autoscaling/{pool}"})
# Told hundreds of times a second: as long as all is well, the lines about the calls say more.
_QUIET_IF_FINE = frozenset({"/webhooks/twilio/status"})
# Whoever knows such a path may do what it does.
_SECRET = frozenset({"/u/{token}"})


class Observe:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            if scope["type"] == "http":
                await self._serve(scope, receive, _Answer(send, request_id))
            else:
                await self._app(scope, receive, send)
        finally:
            structlog.contextvars.clear_contextvars()

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - the last resort; it is logged with its error id
            problem = unexpected(error)
            # An answer that has begun can only be cut off, which the server does when we return without its end.
            if answer.status is None:
                await problem.response()(scope, receive, answer)
        finally:
            _account(scope, answer.status, time.perf_counter() - started)


class _Answer:
    """``send`` that knows the status and adds headers of every answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The client's own id if it is harmless, otherwise a new one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _SOUND_ID.fullmatch(given) else uuid.uuid4().hex


def _account(scope: Scope, status: int | None, seconds: float) -> None:
    route: Any = scope.get("route")
    template = str(getattr(route, "path", "unmatched"))
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    REQUESTS.labels(method, template, str(status or "aborted")).inc()
    DURATION.labels(method, template).observe(seconds)
    quiet = template in _QUIET or (template in _QUIET_IF_FINE and status is not None and status < 400)
    write = log.debug if quiet else log.info
    # The path without its query, which may hold a ticket or a signature.
    path = template if template in _SECRET else scope["path"]
    write("request", method=method, path=path, status=status, duration_ms=round(seconds * 1000, 1))
