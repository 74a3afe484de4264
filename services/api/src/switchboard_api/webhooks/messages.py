"""The carrier's webhooks about text messages: their delivery, and what people write back."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from switchboard_api.auth import RuntimeDep
from switchboard_api.webhooks.signature import CarrierParameters
from switchboard_api.webhooks.twilio import EMPTY_TWIML
from switchboard_core.broadcasts import delivery, inbound
from switchboard_core.logs import get_logger

log = get_logger(__name__)

router = APIRouter(prefix="/webhooks/twilio", tags=["webhooks"])

RecipientId = Annotated[
    str | None, Query(max_length=64, description="The recipient of a broadcast; we put it into the URL.")
]


_SIDS = {"MessageSid": "SM" + "0" * 32, "SmsSid": "SM" + "0" * 32, "AccountSid": "AC" + "0" * 32}


def _form(**example: str) -> dict[str, Any]:
    """The carrier's form in the description of the api; the body itself is read as it came, for the signature."""
    form = {"type": "object", "additionalProperties": {"type": "string"}, "description": "Signed: X-Twilio-Signature."}
    content = {"schema": form, "example": {**_SIDS, **example}}
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": content}}}


@router.post(
    "/message-status",
    summary="Delivery of a text message",
    status_code=204,
    openapi_extra=_form(MessageStatus="delivered", From="+14155550100", To="+14155550117"),
)
async def message_status(form: CarrierParameters, runtime: RuntimeDep, recipient: RecipientId = None) -> Response:
    """Any order, doubled or late: the state of the message only moves forward."""

    def apply() -> None:
        ref = delivery.find_recipient(runtime, recipient)
        if ref is None:
            # Acknowledged all the same: the carrier would send it again, and it would be unknown again.
            log.warning("webhook about a message that is not ours", message_sid=form.get("MessageSid"))
            return
        delivery.on_status(runtime, ref, form)

    await run_in_threadpool(apply)
    return Response(status_code=204)


@router.post(
    "/message",
    summary="A text message to one of our numbers",
    openapi_extra=_form(From="+14155550117", To="+14155550100", Body="STOP"),
)
async def message(form: CarrierParameters, runtime: RuntimeDep) -> Response:
    """STOP, STOPALL, UNSUBSCRIBE, CANCEL, END and QUIT opt the sender out, START in again. Each counts once."""
    await run_in_threadpool(inbound.on_message, runtime, form)
    return Response(EMPTY_TWIML, media_type="text/xml")
