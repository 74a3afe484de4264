"""The faults of the REST API: a layer around the application, which itself always does the right thing."""

import asyncio
from collections import Counter
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from switchboard_simulator import errors
from switchboard_simulator.connection import Received, break_off, disconnected, whole_request
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.faults import CreateFate
from switchboard_simulator.rest import twilio_error_response
from switchboard_simulator.simulation import Simulation

API_PREFIX = "/2010-04-01/"
_CREATED = 201

_TOO_MANY = TwilioError(429, errors.TOO_MANY_REQUESTS, "Too Many Requests")
_UNAVAILABLE = TwilioError(503, errors.UNAVAILABLE, "Service is temporarily unavailable")
_INTERNAL = TwilioError(500, errors.INTERNAL_ERROR, "An internal server error has occurred")


class Mishaps:
    """ASGI middleware that lets requests go wrong as the dice say.

    Args:
        app: the application.
        simulation: returns the running simulation of an application.
    """

    def __init__(self, app: ASGIApp, simulation: Callable[[FastAPI], Simulation]) -> None:
        self._app = app
        self._simulation = simulation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith(API_PREFIX):
            await self._app(scope, receive, send)
            return
        simulation = self._simulation(scope["app"])
        if scope["method"] == "POST" and scope["path"].endswith("/Calls.json"):
            fate = simulation.dice.create()
            await self._create(simulation, fate, simulation.ledger.creates, scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].endswith("/Messages.json"):
            fate = simulation.dice.create("message")
            await self._create(simulation, fate, simulation.message_ledger.creates, scope, receive, send)
        elif not scope["path"].endswith(".json"):
            await self._media(simulation, scope, receive, send)
        elif simulation.dice.query_fails():
            await twilio_error_response(_UNAVAILABLE)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _create(
        self, simulation: Simulation, fate: CreateFate, counts: Counter[str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        request = await whole_request(scope, receive)
        if request is None:
            return
        if delay := simulation.dice.create_delay():
            await asyncio.sleep(delay)
        if fate in {CreateFate.TOO_MANY, CreateFate.ERROR_BEFORE}:
            counts[fate.value] += 1
            error = _TOO_MANY if fate is CreateFate.TOO_MANY else _UNAVAILABLE
            await twilio_error_response(error)(scope, receive, send)
            return
        if fate is CreateFate.ANSWERED and not request.awaited:
            # Of a process that was killed behind its send, say: as at any carrier, the call happens.
            fate = CreateFate.LOSE_ANSWER
        answer = await self._answer(scope, _replaying(request, receive))
        if answer[0]["status"] != _CREATED:
            fate = CreateFate.ANSWERED
            counts["rejected"] += 1
        else:
            counts[fate.value] += 1
        match fate:
            case CreateFate.ERROR_AFTER:
                await twilio_error_response(_INTERNAL)(scope, receive, send)
            case CreateFate.LOSE_ANSWER:
                await break_off(scope, receive)
            case CreateFate.HANG:
                await self._hang(simulation, scope, receive)
            case _:
                for message in answer:
                    await send(message)

    async def _hang(self, simulation: Simulation, scope: Scope, receive: Receive) -> None:
        """Answer nothing until the client gives up or the time is over."""
        try:
            async with asyncio.timeout(simulation.dice.faults.create_hang_seconds):
                await disconnected(receive)
        except TimeoutError:
            await break_off(scope, receive)

    async def _media(self, simulation: Simulation, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive)
        body = answer[-1].get("body", b"")
        if answer[0]["status"] >= 400 or len(body) < 2 or not simulation.dice.media_is_cut():
            for message in answer:
                await send(message)
            return
        simulation.ledger.recordings["cut"] += 1
        await send(answer[0])
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await break_off(scope, receive)

    async def _answer(self, scope: Scope, receive: Receive) -> list[Message]:
        """Let the application work and return its answer instead of sending it."""
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        return answer


def _replaying(request: Received, receive: Receive) -> Receive:
    """What receives a request that was received already, and then whatever comes behind it."""
    waiting: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
