"""The application: routes, layers and what runs beside the requests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from switchboard_api import docs, health, live, metrics, problems, unsubscribe, web
from switchboard_api.addresses import ClientAddresses
from switchboard_api.body import BodyLimit
from switchboard_api.entrance import Entrance
from switchboard_api.feed import ChangeFeed
from switchboard_api.observe import Observe
from switchboard_api.openapi import DESCRIPTION, TAGS, describe
from switchboard_api.ratelimit import RateLimiter
from switchboard_api.routes import (
    autoscaling,
    broadcasts,
    leads,
    ledger,
    mailbox,
    mailbox_receipts,
    outbound_calls,
    receipts,
    recordings,
    search,
    tasks,
    tenancy,
)
from switchboard_api.runnable import RunnableWork, count_runnable
from switchboard_api.startup import Startup
from switchboard_api.webhooks import messages, twilio
from switchboard_api.webhooks.together import Together
from switchboard_core.logs import get_logger
from switchboard_core.redis import make_redis
from switchboard_core.runtime import Runtime

log = get_logger(__name__)

# A request is compared with one route after the other: those of the carrier, which sends the most, come first.
ROUTERS: tuple[APIRouter, ...] = (
    twilio.router,
    messages.router,
    health.router,
    metrics.router,
    tasks.router,
    tenancy.router,
    live.router,
    leads.router,
    outbound_calls.router,
    recordings.router,
    receipts.router,
    mailbox.router,
    mailbox_receipts.router,
    search.router,
    ledger.router,
    broadcasts.router,
    unsubscribe.router,
    autoscaling.router,
)

# Paths that take more than settings.max_body_bytes.
IMPORTS = ("/api/leads/import", "/api/ledger/import")

LIVE_QUIET_S = 10.0
"""Seconds without a change after which a live socket reads the task again, or pings."""


class Api(FastAPI):
    """FastAPI whose description of itself has our errors and an example everywhere."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema


def create_app(runtime: Runtime) -> FastAPI:
    """Build the api around the parts of a process.

    Args:
        runtime: stays the caller's: whoever made it closes it.
    """
    settings = runtime.settings
    app = Api(
        title="Switchboard",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=_lifespan,
        docs_url=None,  # ours has no asset from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    # Its own connections with a short wait: a limiter that hangs would be worse than none.
    limiter_redis = make_redis(settings, socket_timeout_s=0.5)
    app.state.runtime = runtime
    app.state.startup = Startup(runtime)
    app.state.limiter_redis = limiter_redis
    app.state.rate_limiter = RateLimiter(limiter_redis)
    app.state.entrance = Entrance(
        runtime.database,
        app.state.rate_limiter,
        ClientAddresses(settings.trusted_proxies),
        settings.failed_keys_per_minute,
    )
    app.state.together = Together(runtime.database)
    app.state.runnable_work = RunnableWork(lambda: count_runnable(runtime))
    app.state.live_quiet_s = LIVE_QUIET_S
    problems.install(app)
    docs.install(app)
    for router in ROUTERS:
        app.include_router(router)
    web.install(app)
    app.add_middleware(
        BodyLimit,
        default=settings.max_body_bytes,
        by_path=dict.fromkeys(IMPORTS, settings.max_import_bytes) | search.BODY_LIMITS,
    )
    app.add_middleware(Observe)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    feed = ChangeFeed(runtime.settings, runtime.tasks)
    app.state.feed = feed
    async with AsyncExitStack() as stack:
        stack.callback(app.state.limiter_redis.close)
        await stack.enter_async_context(_beside(feed.run(), "live updates"))
        await stack.enter_async_context(_beside(app.state.startup.run(), "startup"))
        yield


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run ``work`` beside the requests until they end."""

    async def guarded() -> None:
        try:
            await work
        except Exception:
            log.exception("background work of the api ended", work=name)

    task = asyncio.create_task(guarded(), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
