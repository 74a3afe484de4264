"""Is the process alive, and may it have requests?"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from redis import Redis

from switchboard_api.auth import RuntimeDep
from switchboard_api.metrics import READY
from switchboard_api.problems import Problem
from switchboard_api.startup import Startup
from switchboard_core.migrate import CODE_SEQ, check_schema
from switchboard_core.redis import is_reachable

router = APIRouter(prefix="/api", tags=["operations"])


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "service": "api"}})

    status: str = "ok"
    service: str = "api"


class Check(BaseModel):
    """One part that the api works with."""

    ok: bool
    required: bool = Field(description="Whether the api can do without it for a while.")
    detail: str = Field(description="For people: what is the matter and what to do.")


_READY: dict[str, Any] = {
    "status": "ready",
    "code_seq": 104,
    "checks": {
        "database": {"ok": True, "required": True, "detail": "The database answers."},
        "schema": {"ok": True, "required": True, "detail": "The schema (sequence 104) suits this release."},
        "redis": {"ok": True, "required": False, "detail": "Redis answers."},
    },
}


class Readiness(BaseModel):
    """The replica may have requests."""

    model_config = ConfigDict(json_schema_extra={"example": _READY})

    status: str
    code_seq: int = Field(description="The newest migration that this release brings.")
    checks: dict[str, Check]


@router.get("/health", summary="Is the process alive?")
async def health() -> Health:
    """Answers as long as the process runs, whatever the database does; needs no key."""
    return Health()


def _startup(request: Request) -> Startup:
    startup: Startup = request.app.state.startup
    return startup


def _quick_redis(request: Request) -> Redis:
    # The limiter's client, for its short wait: a probe that waits longer than its own timeout takes the pod for lost.
    redis: Redis = request.app.state.limiter_redis
    return redis


@router.get(
    "/ready",
    summary="May this replica have requests?",
    response_model=Readiness,
    responses={503: {"description": "Not ready; `checks` says which part."}},
)
def ready(
    runtime: RuntimeDep, startup: Annotated[Startup, Depends(_startup)], redis: Annotated[Redis, Depends(_quick_redis)]
) -> Response:
    """Looks at the database, its schema and Redis; needs no key.

    Redis being away is reported and not required: requests still succeed and the sweep enqueues later.
    """
    verdict = check_schema(runtime.database)
    reachable = verdict.reachable
    redis_ok = is_reachable(redis)
    checks = {
        "database": Check(
            ok=reachable, required=True, detail="The database answers." if reachable else verdict.sentence
        ),
        "schema": Check(
            ok=verdict.ok,
            required=True,
            detail=verdict.sentence if reachable else "Not known while the database is away.",
        ),
        "redis": Check(
            ok=redis_ok,
            required=False,
            detail="Redis answers."
            if redis_ok
            else "Redis does not answer: check that it runs and REDIS_URL. Work is queued once it is back.",
        ),
    }
    if startup.migrates:
        waiting_for = startup.waiting_for
        checks["migrations"] = Check(ok=waiting_for is None, required=True, detail=waiting_for or "Done.")
    missing = [name for name, check in checks.items() if check.required and not check.ok]
    READY.set(not missing)
    if missing:
        detail = " ".join(dict.fromkeys(checks[name].detail for name in missing))
        parts = {name: check.model_dump() for name, check in checks.items()}
        return Problem(503, "Not ready", detail, not_ready=missing, checks=parts).response()
    return JSONResponse(Readiness(status="ready", code_seq=CODE_SEQ, checks=checks).model_dump())
