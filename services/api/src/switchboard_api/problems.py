"""Errors as ``application/problem+json`` (RFC 9457), one shape for everything that can go wrong."""

import re
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from switchboard_core.jobs.manager import TaskNotFoundError
from switchboard_core.jobs.queueing import SchemaTooOldError
from switchboard_core.logs import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

# Undefined table, column, function: the code is newer than the schema.
_SCHEMA_TOO_OLD = frozenset({"42P01", "42703", "42883"})


class Problem(HTTPException):
    """An answer other than success; raise it anywhere in a request.

    Args:
        status: HTTP status.
        title: the kind of problem in a few words; the same for all of its kind.
        detail: one sentence about this case that says what to do.
        headers: further headers, such as ``Retry-After``.
        extra: further members of the body.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,  # noqa: ANN401 - RFC 9457 allows members of any kind
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.title = title
        self.extra = extra

    def response(self) -> JSONResponse:
        """The answer."""
        body = {
            "type": f"urn:switchboard:problem:{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            **self.extra,
        }
        return JSONResponse(body, self.status_code, headers=self.headers, media_type=MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """The 404 for a row that does not exist, or that belongs to another business: nobody can tell the two apart."""
    return Problem(404, "Not found", f"There is no {what}.")


def migration_required() -> Problem:
    """The 503 of a database that is older than the code."""
    return Problem(
        503,
        "Database migration required",
        "The database is older than this release: an administrator has to run `switchboard migrate`.",
        error="Database migration required",
        details="Contact administrator",
    )


def database_unavailable() -> Problem:
    """The 503 of a database that does not answer."""
    detail = f"The database does not answer at the moment: nothing was changed, try again in {RETRY_AFTER_S} s."
    return Problem(503, "Database unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def unexpected(error: Exception) -> Problem:
    """The 500 for what nobody foresaw; the log has the whole story under the error id."""
    error_id = uuid.uuid4().hex
    log.error("unexpected error", error_id=error_id, exc_info=error)
    detail = f"Something went wrong here. If it happens again, tell the administrator this error id: {error_id}."
    return Problem(500, "Internal error", detail, error_id=error_id)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(TaskNotFoundError, _on_missing_task)
    app.add_exception_handler(SchemaTooOldError, _on_old_schema)
    app.add_exception_handler(ProgrammingError, _on_statement_error)
    app.add_exception_handler(IntegrityError, _on_statement_error)
    app.add_exception_handler(DataError, _on_unstorable)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, _on_database_away)


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Problem):
        return error.response()
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    sentences = {
        404: "There is nothing at this path: the routes are listed at /docs.",
        405: f"This path does not take this method; allowed: {(error.headers or {}).get('Allow', 'see /docs')}.",
        400: "The body could not be read: check that it is what Content-Type says.",
    }
    detail = sentences.get(error.status_code, error.detail)
    return Problem(error.status_code, status.phrase, detail, headers=error.headers).response()


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return invalid(error.errors(), request.headers.get("content-type", "")).response()


def invalid(errors: Sequence[Mapping[str, Any]], content_type: str) -> Problem:
    """What to say about a request that is not what the route takes.

    Only paths and messages are repeated, never what was sent: it may be a secret or somebody's number.

    Args:
        errors: as pydantic lists them.
        content_type: of the request.
    """
    first = errors[0]
    location = tuple(first["loc"])
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", "it cannot be parsed")
        return Problem(400, "Malformed JSON", f"The body is not JSON at character {location[-1]}: {why}.")
    if location == ("body",) and content_type and "json" not in content_type and first["type"] != "missing":
        return Problem(415, "Unsupported media type", "Send the body as JSON with `Content-Type: application/json`.")
    if all(tuple(item["loc"])[:1] == ("path",) for item in errors):
        return Problem(404, "Not found", "There is nothing with this id.")
    fields = [{"field": ".".join(str(part) for part in item["loc"]), "message": _message(item)} for item in errors]
    more = f" and {len(fields) - 1} more" if len(fields) > 1 else ""
    detail = f"{fields[0]['field']}: {fields[0]['message']}{more}."
    return Problem(422, "Invalid request", detail, errors=fields)


def _message(item: Mapping[str, Any]) -> str:
    return str(item["msg"]).removeprefix("Value error, ")


async def _on_missing_task(_request: Request, error: Exception) -> JSONResponse:
    return Problem(404, "Not found", str(error)).response()


async def _on_old_schema(_request: Request, error: Exception) -> JSONResponse:
    log.error("database migration required", error=str(error))
    return migration_required().response()


async def _on_statement_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProgrammingError | IntegrityError)
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    if getattr(error.orig, "sqlstate", None) in _SCHEMA_TOO_OLD or constraint == "chk_job_type":
        log.error("database migration required", error=str(error.orig).partition("\n")[0])
        return migration_required().response()
    return unexpected(error).response()


async def _on_unstorable(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DataError)
    log.info("value refused by the database", sqlstate=getattr(error.orig, "sqlstate", None))
    detail = "A value cannot be stored: a number is too large, or a text has a character such as NUL."
    return Problem(422, "Invalid request", detail).response()


async def _on_database_away(_request: Request, error: Exception) -> JSONResponse:
    log.warning("database unavailable", error=type(error).__name__)
    return database_unavailable().response()
