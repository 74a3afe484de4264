"""Who calls, and what they may do: API keys as bearer tokens, three roles, and the process's parts for a route.

A route takes ``caller: Viewer``, ``Agent`` or ``Owner`` and opens ``runtime.database.tenant(caller.business_id)``:
what belongs to somebody else does not exist there, so it is a 404 and never a 403.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from switchboard_api.entrance import Entrance, TooManyFailuresError
from switchboard_api.problems import Problem
from switchboard_api.ratelimit import RateLimiter
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import AuthenticationError, Caller

__all__ = ["Agent", "Caller", "Owner", "RuntimeDep", "Viewer", "get_runtime", "unauthenticated"]

_RANK = {Role.VIEWER: 0, Role.AGENT: 1, Role.OWNER: 2}

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="An API key of your business: `Authorization: Bearer sbk_…`."
)


async def get_runtime(request: Request) -> Runtime:
    """The parts of this process; async only because FastAPI runs any other dependency in a thread, every time."""
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]


def unauthenticated(detail: str) -> Problem:
    """The 401 for a request without a key that works."""
    return Problem(401, "Not authenticated", detail, headers={"WWW-Authenticate": "Bearer"})


async def _caller(
    request: Request,
    runtime: RuntimeDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    if credentials is None:
        raise unauthenticated("Send your API key as `Authorization: Bearer sbk_…`.")
    caller = await run_in_threadpool(_identify, request, runtime, credentials.credentials)
    # Bound here and not in the thread, whose context ends with it: every later log line of the request has them.
    structlog.contextvars.bind_contextvars(business_id=caller.business_id, key_id=caller.key_id)
    return caller


def _identify(request: Request, runtime: Runtime, secret: str) -> Caller:
    entrance: Entrance = request.app.state.entrance
    limiter: RateLimiter = request.app.state.rate_limiter
    per_minute = runtime.settings.rate_limit_per_minute
    try:
        caller = entrance.identify(request, secret)
    except AuthenticationError as error:
        raise unauthenticated(str(error)) from None
    except TooManyFailuresError as error:
        raise _too_many(str(error), error.wait_s) from None
    if wait_s := limiter.wait_s(str(caller.key_id), per_minute):
        detail = f"This API key may send {per_minute} requests a minute: wait {wait_s} s, then go on."
        raise _too_many(detail, wait_s)
    return caller


def _too_many(detail: str, wait_s: int) -> Problem:
    return Problem(429, "Too many requests", detail, headers={"Retry-After": str(wait_s)})


def _at_least(role: Role) -> Callable[[Caller], Awaitable[Caller]]:
    async def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if _RANK[caller.role] < _RANK[role]:
            detail = f"This needs an API key with the role {role.value}; yours has the role {caller.role.value}."
            raise Problem(403, "Role too low", detail)
        return caller

    return check


Viewer = Annotated[Caller, Depends(_at_least(Role.VIEWER))]
"""Any key of the business: for what only reads."""

Agent = Annotated[Caller, Depends(_at_least(Role.AGENT))]
"""A key that may work: for what changes leads, runs and tasks."""

Owner = Annotated[Caller, Depends(_at_least(Role.OWNER))]
"""A key that may manage: for API keys, settings and the audit log."""
