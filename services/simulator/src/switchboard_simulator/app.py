"""The web application: Twilio's API, the simulation's own controls, health and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from switchboard_simulator import control, errors, rest, rest_messages
from switchboard_simulator.clock import Clock, LoopClock
from switchboard_simulator.courier import http_client
from switchboard_simulator.errors import TwilioError, not_found
from switchboard_simulator.metrics import registry_for
from switchboard_simulator.mishaps import API_PREFIX, Mishaps
from switchboard_simulator.settings import SimulatorSettings
from switchboard_simulator.simulation import Simulation


def create_app(settings: SimulatorSettings, clock: Clock | None = None) -> FastAPI:
    """Build the application.

    Args:
        settings: accounts, habits of callees, faults.
        clock: real time by default.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with http_client() as client:
            app.state.simulation = Simulation(settings, clock or LoopClock(), client)
            yield
            app.state.simulation.stop()

    app = FastAPI(title="Switchboard carrier simulator", version="2010-04-01", lifespan=lifespan)
    app.include_router(rest.router)
    app.include_router(rest_messages.router)
    app.include_router(control.router)
    app.add_middleware(Mishaps, simulation=lambda running: running.state.simulation)
    _add_error_answers(app)
    _add_operations(app)
    return app


def _add_error_answers(app: FastAPI) -> None:
    """Give every error of the carrier's API the carrier's shape."""

    @app.exception_handler(TwilioError)
    async def twilio_error(_request: Request, error: TwilioError) -> Response:
        return rest.twilio_error_response(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if not request.url.path.startswith(API_PREFIX):
            return await http_exception_handler(request, error)
        if error.status_code == 405:
            return rest.twilio_error_response(TwilioError(405, 20004, "Method not allowed"))
        return rest.twilio_error_response(not_found(request.url.path))

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        if not request.url.path.startswith(API_PREFIX):
            return await request_validation_exception_handler(request, error)
        first = error.errors()[0]
        sentence = f"{first['loc'][-1]}: {first['msg']}."
        return rest.twilio_error_response(TwilioError(400, errors.INVALID_PARAMETER, sentence))


def _add_operations(app: FastAPI) -> None:
    """Add health, readiness and metrics."""
    registry = registry_for(lambda: app.state.simulation)

    @app.get("/api/health", tags=["Operations"])
    async def health() -> dict[str, str]:
        """Tell that the process lives."""
        return {"status": "ok"}

    @app.get("/api/ready", tags=["Operations"])
    async def ready(simulation: rest.Running) -> dict[str, str | int]:
        """Tell that calls are accepted; the simulator depends on nothing else."""
        return {"status": "ready", "live_calls": simulation.ledger.live}

    @app.get("/metrics", tags=["Operations"])
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
