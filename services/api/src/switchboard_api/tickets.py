"""One-time tickets: how a browser, which cannot send a header with a WebSocket, proves who it is."""

import secrets
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from redis import Redis
from redis.exceptions import RedisError

from switchboard_api.problems import Problem
from switchboard_core.logs import get_logger
from switchboard_core.tenancy.service import Caller

log = get_logger(__name__)

TICKET_S = 30


class Ticket(BaseModel):
    """Opens one WebSocket once."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "ticket": "q3JX0h1Y2m8",
                "url": "/ws/tasks/123?ticket=q3JX0h1Y2m8",
                "expires_in_s": TICKET_S,
            }
        }
    )

    ticket: str
    url: str = Field(description="Path and query of the WebSocket.")
    expires_in_s: int = Field(description="Seconds until it is worthless.")


def issue_ticket(redis: Redis, caller: Caller, task_id: int) -> Ticket:
    """Make a ticket for a task that the caller may see.

    Raises:
        Problem: 503, Redis does not answer.
    """
    ticket = secrets.token_urlsafe(32)
    try:
        redis.set(_key(ticket), f"{caller.business_id}:{task_id}", ex=TICKET_S)
    except RedisError as error:
        log.warning("no ticket: Redis does not answer", error=type(error).__name__)
        detail = f"Redis does not answer, so there are no live updates: poll GET /api/tasks/{task_id} instead."
        raise Problem(503, "Live updates unavailable", detail, headers={"Retry-After": "5"}) from None
    return Ticket(ticket=ticket, url=f"/ws/tasks/{task_id}?ticket={quote(ticket)}", expires_in_s=TICKET_S)


def redeem_ticket(redis: Redis, ticket: str, task_id: int) -> int | None:
    """Use a ticket up.

    Args:
        redis: where it was left.
        ticket: as sent by the client.
        task_id: the task that is to be opened.

    Returns:
        The business that it was made for; None when it is unknown, used, expired or for another task.

    Raises:
        RedisError: Redis does not answer.
    """
    value = redis.getdel(_key(ticket))
    if not isinstance(value, bytes):
        return None
    business_id, _, wanted = value.decode().partition(":")
    return int(business_id) if wanted == str(task_id) else None


def _key(ticket: str) -> str:
    return f"switchboard:ticket:{ticket}"
