"""The carrier's webhooks: signed, acknowledged at once, applied in one transaction each. Nothing here dials."""

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from switchboard_api.auth import RuntimeDep
from switchboard_api.webhooks.signature import CarrierParameters
from switchboard_core import crossing
from switchboard_core.calls import callbacks
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime

log = get_logger(__name__)

router = APIRouter(prefix="/webhooks/twilio", tags=["webhooks"])

AttemptId = Annotated[str | None, Query(max_length=64, description="The call attempt; we put it into the URL.")]

BusinessId = Annotated[str | None, Query(max_length=20, description="The attempt's business; we put it there too.")]

_AT_ONCE = CapacityLimiter(4)
"""Status callbacks at once, beside those that are applied together; more would need connections beyond the pool's, each
of which is made for one transaction and closed again."""

EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


def _find(runtime: Runtime, attempt: str | None, form: dict[str, str], kind: str) -> crossing.AttemptRef | None:
    ref = callbacks.find_attempt(runtime, attempt, form)
    if ref is None:
        _say_unknown(form, kind)
    return ref


def _say_unknown(form: dict[str, str], kind: str) -> None:
    # Acknowledged all the same: the carrier would send it again, and it would be unknown again.
    log.warning("webhook about a call that is not ours", kind=kind, call_sid=form.get("CallSid"))


@router.post("/voice", summary="What to say to who answered")
async def voice(form: CarrierParameters, runtime: RuntimeDep, attempt: AttemptId = None) -> Response:
    """TwiML with the run's message."""

    def answer() -> str:
        ref = _find(runtime, attempt, form, "voice")
        return callbacks.voice_response(runtime, ref) if ref else EMPTY_TWIML

    return Response(await run_in_threadpool(answer), media_type="text/xml")


@router.post("/status", summary="Progress of a call", status_code=204)
async def status(
    request: Request,
    form: CarrierParameters,
    runtime: RuntimeDep,
    attempt: AttemptId = None,
    business: BusinessId = None,
) -> Response:
    """Any order, doubled or late: the state of the call only moves forward."""
    told = callbacks.told_in_passing(attempt, business, form)
    if told is not None and await request.app.state.together.apply(told):
        return Response(status_code=204)

    def apply() -> None:
        if not callbacks.receive_status(runtime, attempt, business, form):
            _say_unknown(form, "status")

    await to_thread.run_sync(apply, limiter=_AT_ONCE)
    return Response(status_code=204)


@router.post("/recording", summary="A recording is ready", status_code=204)
async def recording(form: CarrierParameters, runtime: RuntimeDep, attempt: AttemptId = None) -> Response:
    """Notes it; the recorder downloads it."""

    def apply() -> None:
        if ref := _find(runtime, attempt, form, "recording"):
            callbacks.on_recording(runtime, ref, form)

    await run_in_threadpool(apply)
    return Response(status_code=204)


@router.post("/amd", summary="Who answered", status_code=204)
async def amd(form: CarrierParameters, runtime: RuntimeDep, attempt: AttemptId = None) -> Response:
    """The result of answering-machine detection."""

    def apply() -> None:
        if ref := _find(runtime, attempt, form, "amd"):
            callbacks.on_machine_detection(runtime, ref, form)

    await run_in_threadpool(apply)
    return Response(status_code=204)
