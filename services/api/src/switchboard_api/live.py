"""``/ws/tasks/{id}``: a task's progress as it happens.

It subscribes first and reads the task then, so that no change falls between; versions put what arrives in order. The
database is read again whenever nothing came for a while, so a lost message or Redis being away makes the numbers
late, never wrong.
"""

import asyncio
from contextlib import suppress

import structlog
from fastapi import APIRouter, WebSocket
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from switchboard_api.entrance import Entrance, TooManyFailuresError
from switchboard_api.metrics import SOCKETS
from switchboard_api.pagination import MAX_ID
from switchboard_api.tickets import redeem_ticket
from switchboard_core.jobs.catalog import has_private_result
from switchboard_core.jobs.manager import TaskNotFoundError
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import AuthenticationError

log = get_logger(__name__)

ENDED = 1000
ERROR = 1011
NOT_AUTHENTICATED = 4401
NOT_FOUND = 4404

PING = '{"type":"ping"}'

router = APIRouter()


class Newest:
    """The newest change that was not sent yet: a slow client skips what came in between, and memory stays bounded."""

    def __init__(self) -> None:
        self._change: TaskSnapshot | None = None
        self._arrived = asyncio.Event()
        self.seen_version = 0

    async def offer(self, change: TaskSnapshot) -> None:
        """Take a change unless a newer one is known."""
        if change.version > max(self.seen_version, self._change.version if self._change else 0):
            self._change = change
            self._arrived.set()

    async def take(self, timeout_s: float) -> TaskSnapshot | None:
        """The next change, or None when nothing came in ``timeout_s`` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        self._arrived.clear()
        change, self._change = self._change, None
        return change if change is not None and change.version > self.seen_version else None


@router.websocket("/ws/tasks/{task_id}")
async def follow_task(websocket: WebSocket, task_id: str) -> None:
    """Authenticate, then stream the task until it has ended or the client leaves."""
    runtime: Runtime = websocket.app.state.runtime
    structlog.contextvars.bind_contextvars(task_id=task_id[:20])
    # A close code reaches a browser only on a socket that was accepted.
    await websocket.accept()
    code, reason = ERROR, "Something went wrong: poll the task instead."
    try:
        wanted = _possible_id(task_id)
        business_id = await _identify(websocket, runtime, wanted)
        await _Follower(websocket, runtime, business_id, wanted).run()
        code, reason = ENDED, ""
    except (AuthenticationError, TooManyFailuresError) as error:
        code, reason = NOT_AUTHENTICATED, str(error)
    except TaskNotFoundError as error:
        code, reason = NOT_FOUND, str(error)
    except WebSocketDisconnect:
        return
    except Exception as error:
        # Whatever it was, the client falls back to polling and the log knows.
        log.exception("WebSocket error", error=type(error).__name__)
    with suppress(RuntimeError, WebSocketDisconnect):  # the client has left
        await websocket.close(code, reason[:100])


def _possible_id(task_id: str) -> int:
    if task_id.isdecimal() and len(task_id) < 20 and 0 < int(task_id) <= MAX_ID:
        return int(task_id)
    msg = "There is no such task."
    raise TaskNotFoundError(msg)


async def _identify(websocket: WebSocket, runtime: Runtime, task_id: int) -> int:
    """The business of the client, by API key or by ticket."""
    entrance: Entrance = websocket.app.state.entrance
    scheme, _, secret = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return (await run_in_threadpool(entrance.identify, websocket, secret.strip())).business_id
    ticket = websocket.query_params.get("ticket", "")
    return await run_in_threadpool(_redeem, websocket, runtime, ticket, task_id)


def _redeem(websocket: WebSocket, runtime: Runtime, ticket: str, task_id: int) -> int:
    entrance: Entrance = websocket.app.state.entrance
    with entrance.attempt(websocket):
        business_id = redeem_ticket(runtime.redis, ticket, task_id) if ticket else None
        if business_id is None:
            msg = "Send an API key, or get a new ticket: one opens one task once."
            raise AuthenticationError(msg)
    return business_id


class _Follower:
    """One socket that follows one task."""

    def __init__(self, websocket: WebSocket, runtime: Runtime, business_id: int, task_id: int) -> None:
        self._websocket = websocket
        self._runtime = runtime
        self._business_id = business_id
        self._task_id = task_id
        self._newest = Newest()
        self._quiet_s: float = websocket.app.state.live_quiet_s

    async def run(self) -> None:
        """Stream until the task's end or the client's; leaves no subscription behind, whatever happens."""
        unsubscribe = self._runtime.tasks.subscribe(self._task_id, self._newest.offer)
        SOCKETS.inc()
        try:
            first = await run_in_threadpool(self._read)
            await self._stream(first)
        finally:
            SOCKETS.dec()
            unsubscribe()

    async def _stream(self, first: TaskSnapshot) -> None:
        sending = asyncio.create_task(self._send_all(first))
        leaving = asyncio.create_task(self._until_gone())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            else:
                raise WebSocketDisconnect(ENDED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, task: TaskSnapshot) -> None:
        await self._send(task)
        while not task.status.terminal:
            change = await self._newest.take(self._quiet_s) or await self._look_again()
            if change is not None and change.status.terminal and has_private_result(change.job_type):
                change = await self._look_again() or change
            if change is None:
                await self._websocket.send_text(PING)
            else:
                task = change
                await self._send(task)

    async def _send(self, task: TaskSnapshot) -> None:
        self._newest.seen_version = task.version
        await self._websocket.send_text(f'{{"type":"snapshot",{task.as_json[1:]}')

    async def _look_again(self) -> TaskSnapshot | None:
        try:
            task = await run_in_threadpool(self._read)
        except SQLAlchemyError:
            return None  # changes may still arrive; the next look is soon
        return task if task.version > self._newest.seen_version else None

    def _read(self) -> TaskSnapshot:
        with self._runtime.database.tenant(self._business_id) as session:
            return self._runtime.tasks.get(session, self._task_id)

    async def _until_gone(self) -> None:
        while (await self._websocket.receive())["type"] != "websocket.disconnect":
            pass
