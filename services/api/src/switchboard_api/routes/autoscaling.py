"""For autoscalers (KEDA, or the operator itself): how much work could run now. Not for tenants, so not in OpenAPI."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from switchboard_api.auth import RuntimeDep, unauthenticated
from switchboard_api.metrics import show_runnable
from switchboard_api.problems import Problem
from switchboard_api.runnable import RunnableWork
from switchboard_core.logs import get_logger
from switchboard_core.settings import ALL_QUEUES

log = get_logger(__name__)

router = APIRouter(prefix="/internal/autoscaling", include_in_schema=False)

_bearer = HTTPBearer(auto_error=False, scheme_name="InternalToken")


class Runnable(BaseModel):
    """Work that replicas of a pool could do at this moment."""

    runnable: int


def _autoscaler(
    runtime: RuntimeDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> None:
    """Let nobody pass who does not know the internal token.

    Raises:
        Problem: 404 where no token is set, so nobody can know it; 401 for a wrong one.
    """
    token = runtime.settings.internal_token.get_secret_value()
    if not token:
        detail = "This api serves no autoscaler: set INTERNAL_TOKEN here, and give the same token to the autoscaler."
        raise Problem(404, "Not found", detail)
    if credentials is None:
        raise unauthenticated("Send the internal token as `Authorization: Bearer …`.")
    if not secrets.compare_digest(credentials.credentials.encode(), token.encode()):
        log.warning("autoscaler refused: it sent a token that is not INTERNAL_TOKEN")
        raise unauthenticated("This is not the internal token: give the autoscaler the value of INTERNAL_TOKEN.")


def _queues(
    queues: Annotated[str, Query(max_length=500, description="Names of queues, separated by commas.")],
) -> tuple[str, ...]:
    names = tuple(name.strip() for name in queues.split(",") if name.strip())
    unknown = [name for name in names if name not in ALL_QUEUES]
    if names and not unknown:
        return names
    message = f"unknown queue {', '.join(unknown)}" if unknown else "no queue is named"
    message += f"; known are {', '.join(ALL_QUEUES)}"
    raise Problem(
        422, "Invalid request", f"query.queues: {message}.", errors=[{"field": "query.queues", "message": message}]
    )


def _work(request: Request) -> RunnableWork:
    work: RunnableWork = request.app.state.runnable_work
    return work


@router.get("/{pool}", dependencies=[Depends(_autoscaler)])
def runnable(
    pool: Annotated[str, Path(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)],
    queues: Annotated[tuple[str, ...], Depends(_queues)],
    work: Annotated[RunnableWork, Depends(_work)],
) -> Runnable:
    """Runnable work of the queues that a pool consumes; ``pool`` only names the pool's series in the metrics."""
    number = work.of(queues)
    show_runnable(pool, number)
    return Runnable(runnable=number)
