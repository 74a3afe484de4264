"""``Idempotency-Key``: a POST that is sent twice has one effect and one answer.

The answer is remembered in the transaction of the effect, so that neither can exist without the other. The key counts
per business and route; sent again with the same request it replays the answer, with another request it is refused
(422), and while the first is still at work it is refused too (409). Only answers of success are remembered: what
failed has changed nothing and may be sent again. A key is forgotten after ``IDEMPOTENCY_HOURS``.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_api.body import body_digest
from switchboard_api.problems import Problem
from switchboard_core.db import tenant_of
from switchboard_core.tenancy.models import IdempotencyKey

REPLAYED = "Idempotency-Replayed"

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Idempotency:
    """How to run the effect of this request once.

    Attributes:
        key: as sent by the client; None: the request has none and is simply run.
        route: method and path template.
        request: of which the fingerprint is taken once its body was read.
        keep_for: how long an answer is remembered.
    """

    key: str | None
    route: str
    request: Request
    keep_for: timedelta

    def run(
        self,
        session: Session,
        effect: Callable[[], Body],
        *,
        status: int = 201,
        headers: Callable[[Body], Mapping[str, str]] = lambda _: {},
        remember: Callable[[Body], Body] = lambda body: body,
        fingerprint: bytes | None = None,
    ) -> Response:
        """Run ``effect``, or replay the answer of the first time.

        Args:
            session: the transaction of the effect, bound to the caller's business.
            effect: changes things in ``session`` and returns the body of the answer.
            status: of the answer.
            headers: further headers of the answer, such as ``Location``.
            remember: what a replay shows of the body; for bodies with a secret.
            fingerprint: says whether two bodies are the same where their bytes do not, as in multipart forms; by
                default the SHA-256 of the body.

        Returns:
            The answer, ready to be returned by the route.

        Raises:
            Problem: 409 while the first request is at work, 422 when the key belongs to another request.
        """
        if self.key is None:
            body = effect()
            return _answer(status, body.model_dump_json(), headers(body))
        wanted = self._fingerprint(fingerprint)
        self._take_turn(session)
        if (remembered := self._remembered(session, wanted)) is not None:
            return remembered
        body = effect()
        more = dict(headers(body))
        self._store(session, wanted, status, {"body": remember(body).model_dump_json(), "headers": more})
        return _answer(status, body.model_dump_json(), more)

    def _fingerprint(self, body: bytes | None) -> bytes:
        # The path with its ids and the query belong to it: one key must not stand for two runs.
        target = f"{self.request.url.path}?{self.request.url.query}".encode()
        return hashlib.sha256(target + b"\0" + (body or body_digest(self.request.scope))).digest()

    def _take_turn(self, session: Session) -> None:
        """Hold the key until the transaction ends, or refuse at once: a client must not wait for itself."""
        name = f"idempotency:{tenant_of(session)}:{self.route}:{self.key}"
        mine = session.execute(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
        if not mine.scalar_one():
            detail = "The first request with this Idempotency-Key is still at work: wait a second, then send it again."
            raise Problem(409, "Request in flight", detail, headers={"Retry-After": "1"})

    def _remembered(self, session: Session, wanted: bytes) -> Response | None:
        row = session.scalars(
            select(IdempotencyKey).where(
                IdempotencyKey.route == self.route,
                IdempotencyKey.key == self.key,
                IdempotencyKey.created_at > func.clock_timestamp() - self.keep_for,
            )
        ).first()
        if row is None or row.response is None or row.response_status is None:
            return None
        if row.body_hash != wanted:
            detail = "This Idempotency-Key was used for another request: use a new key for each new request."
            raise Problem(422, "Idempotency key reused", detail)
        return _answer(row.response_status, row.response["body"], {**row.response["headers"], REPLAYED: "true"})

    def _store(self, session: Session, wanted: bytes, status: int, answer: dict[str, Any]) -> None:
        values = {"body_hash": wanted, "response_status": status, "response": answer}
        statement = insert(IdempotencyKey).values(
            business_id=tenant_of(session), route=self.route, key=self.key, **values
        )
        session.execute(
            statement.on_conflict_do_update(  # an expired row makes room for the new one
                index_elements=["business_id", "route", "key"],
                set_={**values, "created_at": func.clock_timestamp()},
            )
        )


def _answer(status: int, body: str, headers: Mapping[str, str]) -> Response:
    return Response(body, status, headers=dict(headers), media_type="application/json")


def _idempotency(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="A new value, such as a UUID, for each new request; the same one to send a request again.",
            examples=["6f1c4a5e-6d0b-4d0c-9b6a-0d6a3c1f2b11"],
        ),
    ] = None,
) -> Idempotency:
    route = f"{request.method} {request.scope['route'].path}"
    hours: int = request.app.state.runtime.settings.idempotency_hours
    return Idempotency(key, route, request, timedelta(hours=hours))


IdempotencyDep = Annotated[Idempotency, Depends(_idempotency)]
