"""The requests the carrier makes to the customer's server: their parameters, without sending them."""

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal
from uuid import uuid4

from switchboard_simulator.calls import Call, CallStatus, MachineDetection, Recording
from switchboard_simulator.messages import Message
from switchboard_simulator.outcomes import OutcomeKind

API_VERSION = "2010-04-01"
DIRECTION = "outbound-api"

_EVENT_OF: dict[CallStatus, str] = {
    CallStatus.INITIATED: "initiated",
    CallStatus.RINGING: "ringing",
    CallStatus.IN_PROGRESS: "answered",
}
_SIP_CODE: dict[CallStatus, str] = {
    CallStatus.COMPLETED: "200",
    CallStatus.BUSY: "486",
    CallStatus.NO_ANSWER: "487",
    CallStatus.CANCELED: "487",
    CallStatus.FAILED: "404",
}


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request to the customer's server, about the call or message ``sid``; sending it again keeps its token."""

    kind: Literal["voice", "status", "recording", "amd", "message-status", "message"]
    account_sid: str
    sid: str
    url: str
    method: str
    params: dict[str, str]
    token: str = field(default_factory=lambda: str(uuid4()))


def voice_request(call: Call, url: str, method: str) -> Webhook:
    """Return the request for the TwiML of an answered call."""
    params = _call_params(call)
    # Without asynchronous detection the carrier asks for TwiML only when it knows who answered.
    if call.answered_by is not None and not call.request.async_amd:
        params["AnsweredBy"] = call.answered_by
    return Webhook("voice", call.account_sid, call.sid, url, method, params)


def status_callback(call: Call, now: float) -> Webhook | None:
    """Return the callback for the state that a call has just reached, if it was asked for, and count it."""
    request = call.request
    event = _EVENT_OF.get(call.status, "completed")
    if request.status_callback is None or event not in request.status_events:
        return None
    params = _call_params(call) | {
        "Timestamp": formatdate(now),
        "CallbackSource": "call-progress-events",
        "SequenceNumber": str(call.events_sent),
    }
    if not call.live:
        params |= _final_params(call)
    call.events_sent += 1
    return Webhook(
        "status", call.account_sid, call.sid, request.status_callback, request.status_callback_method, params
    )


def recording_callback(call: Call, recording: Recording) -> Webhook | None:
    """Return the callback for the state that a recording has just reached, if it was asked for."""
    request = call.request
    if request.recording_callback is None or recording.status not in request.recording_events:
        return None
    params = {
        "AccountSid": call.account_sid,
        "CallSid": call.sid,
        "RecordingSid": recording.sid,
        "RecordingUrl": recording.url,
        "RecordingStatus": recording.status.value,
        "RecordingChannels": "1",
        "RecordingStartTime": formatdate(recording.started_at),
        "RecordingSource": "OutboundAPI",
        "RecordingTrack": recording.track,
        "ErrorCode": str(recording.error_code or 0),
    }
    if recording.seconds is not None:
        params["RecordingDuration"] = str(recording.seconds)
    return Webhook(
        "recording", call.account_sid, call.sid, request.recording_callback, request.recording_callback_method, params
    )


def amd_callback(call: Call, detection_seconds: float) -> Webhook | None:
    """Return the callback with the result of asynchronous machine detection, if it was asked for."""
    request = call.request
    if request.amd_callback is None or call.answered_by is None:
        return None
    params = {
        "CallSid": call.sid,
        "AccountSid": call.account_sid,
        "AnsweredBy": call.answered_by,
        "MachineDetectionDuration": str(round(detection_seconds * 1000)),
    }
    return Webhook("amd", call.account_sid, call.sid, request.amd_callback, request.amd_callback_method, params)


def message_callback(message: Message) -> Webhook | None:
    """Return the callback for the state that a message has just reached, if it was asked for."""
    request = message.request
    if request.status_callback is None:
        return None
    params = {
        "AccountSid": message.account_sid,
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": message.status.value,
        "SmsStatus": message.status.value,
        "From": request.from_,
        "To": request.to,
        "ApiVersion": API_VERSION,
    }
    if message.error_code is not None:
        params["ErrorCode"] = str(message.error_code)
    return Webhook("message-status", message.account_sid, message.sid, request.status_callback, "POST", params)


def inbound_message(account_sid: str, sid: str, *, from_: str, to: str, body: str, url: str) -> Webhook:
    """Return the webhook for a message that somebody sent to one of the customer's numbers."""
    params = {
        "AccountSid": account_sid,
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "SmsStatus": "received",
        "From": from_,
        "To": to,
        "Body": body,
        "NumMedia": "0",
        "NumSegments": "1",
        "ApiVersion": API_VERSION,
    }
    return Webhook("message", account_sid, sid, url, "POST", params)


def detected(call: Call) -> str:
    """Return what machine detection finds out about whoever answered."""
    if call.plan.answered_by is not None:
        return call.plan.answered_by
    if call.plan.kind is not OutcomeKind.MACHINE:
        return "human"
    waits = call.request.machine_detection is MachineDetection.DETECT_MESSAGE_END
    return "machine_end_beep" if waits else "machine_start"


def _call_params(call: Call) -> dict[str, str]:
    request = call.request
    return {
        "CallSid": call.sid,
        "AccountSid": call.account_sid,
        "From": request.from_,
        "To": request.to,
        "Caller": request.from_,
        "Called": request.to,
        "Direction": DIRECTION,
        "ApiVersion": API_VERSION,
        "CallStatus": call.status.value,
    }


def _final_params(call: Call) -> dict[str, str]:
    params = {
        "CallDuration": str(call.seconds),
        "Duration": str(-(-call.seconds // 60)),
        "SipResponseCode": _SIP_CODE[call.status],
    }
    if call.answered_by is not None:
        params["AnsweredBy"] = call.answered_by
    if call.error_code is not None:
        params["ErrorCode"] = str(call.error_code)
    recording = call.recording
    if recording is not None and call.plan.absent is None:
        params |= {
            "RecordingUrl": recording.url,
            "RecordingSid": recording.sid,
            "RecordingDuration": str(max(1, round(recording.clip.seconds))),
        }
    return params
