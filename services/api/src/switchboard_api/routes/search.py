"""``/voice/search``: find mails and calls by typed or spoken words."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from switchboard_api.auth import Agent, Caller, RuntimeDep
from switchboard_api.idempotency import Idempotency, IdempotencyDep
from switchboard_api.pagination import MAX_ID
from switchboard_api.problems import Problem, invalid, not_found
from switchboard_api.uploads import FORM_FIELD, Upload, received_file
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.mailbox import search
from switchboard_core.mailbox.service import MailboxNotFoundError, SeveralMailboxesError
from switchboard_core.runtime import Runtime
from switchboard_core.speech.audio import AudioError, probe_stream, require_speech

router = APIRouter(tags=["mailbox"])

PATH = "/voice/search"
MAX_SECONDS = 30
MAX_BYTES = 2 * 1024 * 1024
"""Thirty seconds of two channels at 16,000 samples a second, and what a form adds."""

BODY_LIMITS = {PATH: MAX_BYTES}

WAV_TYPES = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_NAME = "The recording"
_WAV = {"type": "string", "format": "binary", "description": "A WAV of 16-bit PCM at 8 or 16 kHz, 30 s at most."}


class SearchOrder(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": "the invoice from Acme"}})

    text: str = Field(min_length=1, max_length=500, description="Words; small ones such as *the* do not count.")


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": SearchOrder.model_json_schema(),
                "example": {"text": "the invoice from Acme"},
            },
            "audio/wav": {"schema": _WAV, "example": "RIFF…"},
            "multipart/form-data": {
                "schema": {"type": "object", "required": [FORM_FIELD], "properties": {FORM_FIELD: _WAV}},
                "example": {FORM_FIELD: "RIFF…"},
            },
        },
    }
}


@dataclass(frozen=True)
class _Wanted:
    """One query.

    Attributes:
        text: typed words.
        audio: spoken words.
        fingerprint: tells two recordings apart where forms differ only in their boundary.
    """

    text: str | None = None
    audio: bytes | None = None
    fingerprint: bytes | None = None


@router.post(
    PATH,
    summary="Search mails and calls, by text or voice",
    status_code=202,
    response_model=TaskSnapshot,
    openapi_extra=_BODY,
    responses={404: {"description": "There is no such mailbox."}},
)
async def voice_search(
    request: Request,
    caller: Agent,
    runtime: RuntimeDep,
    once: IdempotencyDep,
    mailbox_id: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="Needed where several mailboxes are connected.", examples=[4])
    ] = None,
) -> Response:
    """In the background; `result` of the task has what was understood and up to 50 finds, best first.

    Each has `kind` (mail or call), `id`, `title`, `sender`, `place`, `snippet`, `score` (0 to 1) and `when`; `notes`
    say what was not searched. Send words as JSON, or a WAV as the body or as `file` of a form. A recording is deleted
    with the search. Without a mailbox the calls alone are searched. What was found is quoted from people's mails and
    calls: only `GET /api/tasks/{id}` and the WebSocket of the task tell it, and no queue ever holds it.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in WAV_TYPES or media_type == "multipart/form-data":
        async with received_file(request, WAV_TYPES) as upload:
            wanted = await run_in_threadpool(_spoken, upload)
    else:
        wanted = _typed(await request.body(), media_type)
    return await run_in_threadpool(_start, wanted, mailbox_id, runtime, caller, once)


def _typed(body: bytes, media_type: str) -> _Wanted:
    if media_type != "application/json":
        detail = "Send words as JSON with `Content-Type: application/json`, or a recording as audio/wav."
        raise Problem(415, "Unsupported media type", detail)
    try:
        return _Wanted(text=SearchOrder.model_validate(json.loads(body)).text)
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON at character {error.pos}: {error.msg}."
        raise Problem(400, "Malformed JSON", detail) from None
    except UnicodeDecodeError:
        raise Problem(400, "Malformed JSON", "The body is not JSON: it is not in UTF-8.") from None
    except ValidationError as error:
        errors = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        raise invalid(errors, media_type) from None


def _spoken(upload: Upload) -> _Wanted:
    """A recording that can be listened to, or a problem that says why not."""
    try:
        info = probe_stream(upload.file, _NAME)
        require_speech(info, _NAME)
    except AudioError as error:
        raise Problem(422, "Unusable recording", str(error)) from None
    if info.data_bytes == 0:
        raise Problem(422, "Unusable recording", f"{_NAME} has no sound in it: record it again.")
    if info.duration_ms > MAX_SECONDS * 1000:
        seconds = info.duration_ms / 1000
        detail = f"{_NAME} is {seconds:.0f} s long: say what you look for in {MAX_SECONDS} s at most."
        raise Problem(422, "Unusable recording", detail)
    return _Wanted(audio=b"".join(upload.chunks()), fingerprint=upload.digest())


def _start(wanted: _Wanted, mailbox_id: int | None, runtime: Runtime, caller: Caller, once: Idempotency) -> Response:
    with runtime.database.tenant(caller.business_id) as session:
        return once.run(
            session,
            lambda: _search(session, runtime, wanted, mailbox_id),
            status=202,
            headers=lambda task: {"Location": f"/api/tasks/{task.id}"},
            fingerprint=wanted.fingerprint if once.key else None,
        )


def _search(session: Session, runtime: Runtime, wanted: _Wanted, mailbox_id: int | None) -> TaskSnapshot:
    try:
        reference = search.reference_to(session, mailbox_id)
        return search.start(session, runtime, reference, text=wanted.text, audio=wanted.audio)
    except MailboxNotFoundError:
        raise not_found(f"mailbox {mailbox_id}") from None
    except SeveralMailboxesError as error:
        raise Problem(422, "Which mailbox", str(error)) from None
    except search.NothingToSearchError as error:
        errors = [{"field": "body.text", "message": "has no word in it"}]
        raise Problem(422, "Invalid request", f"body.text: {error}", errors=errors) from None
