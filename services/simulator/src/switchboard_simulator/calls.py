"""A call and its states. No input or output, no clock: whoever moves a call says when."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from switchboard_simulator.outcomes import Plan
from switchboard_simulator.speech_library import Clip


class CallStatus(StrEnum):
    """The carrier's states of a call, in its spelling."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"
    FAILED = "failed"


_NEXT: dict[CallStatus, frozenset[CallStatus]] = {
    CallStatus.QUEUED: frozenset({CallStatus.INITIATED, CallStatus.CANCELED, CallStatus.FAILED}),
    CallStatus.INITIATED: frozenset({CallStatus.RINGING, CallStatus.CANCELED, CallStatus.FAILED}),
    CallStatus.RINGING: frozenset({CallStatus.IN_PROGRESS, CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.CANCELED}),
    CallStatus.IN_PROGRESS: frozenset({CallStatus.COMPLETED}),
}
TERMINAL = frozenset(CallStatus) - frozenset(_NEXT)
REST_STATUSES = frozenset(CallStatus) - {CallStatus.INITIATED}


class MachineDetection(StrEnum):
    """The parameter ``MachineDetection``."""

    ENABLE = "Enable"
    DETECT_MESSAGE_END = "DetectMessageEnd"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """What a create call asked for, checked. Times are in seconds; methods are ``GET`` or ``POST``."""

    to: str
    from_: str
    url: str | None = None
    method: str = "POST"
    twiml: str | None = None
    fallback_url: str | None = None
    fallback_method: str = "POST"
    status_callback: str | None = None
    status_callback_method: str = "POST"
    status_events: frozenset[str] = frozenset({"completed"})
    timeout: int = 60
    time_limit: int = 14_400
    record: bool = False
    recording_track: str = "both"
    recording_callback: str | None = None
    recording_callback_method: str = "POST"
    recording_events: frozenset[str] = frozenset({"completed"})
    machine_detection: MachineDetection | None = None
    async_amd: bool = False
    amd_callback: str | None = None
    amd_callback_method: str = "POST"

    def label(self, name: str) -> str | None:
        """Return a query parameter of the status callback's URL: how callers mark an attempt or a business."""
        query = urlsplit(self.status_callback or "").query
        return next(iter(parse_qs(query).get(name, [])), None)


class RecordingStatus(StrEnum):
    """The carrier's states of a recording."""

    IN_PROGRESS = "in-progress"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ABSENT = "absent"


@dataclass(slots=True)
class Recording:
    """The recording of a call.

    Attributes:
        media_from: when the media can be fetched (seconds since the epoch); before, it is not found.
    """

    sid: str
    account_sid: str
    call_sid: str
    url: str
    clip: Clip
    track: str
    started_at: float
    updated_at: float
    status: RecordingStatus = RecordingStatus.IN_PROGRESS
    error_code: int | None = None
    media_from: float = float("inf")

    @property
    def seconds(self) -> int | None:
        """Length in whole seconds, once it is known."""
        if self.status is RecordingStatus.COMPLETED:
            return max(1, round(self.clip.seconds))
        return 0 if self.status is RecordingStatus.ABSENT else None


@dataclass(slots=True, kw_only=True)
class Call:
    """A call at the carrier. All instants are seconds since the epoch.

    Attributes:
        index: position among all calls of this run; later calls have a higher one.
        api_base: how the client reached the API, the base of the recording's URL.
        plan: how the callee will behave.
        events_sent: status callbacks so far, the next ``SequenceNumber``.
    """

    account_sid: str
    index: int
    api_base: str
    request: CallRequest
    plan: Plan
    created_at: float
    sid: str = field(default_factory=lambda: f"CA{uuid4().hex}")
    status: CallStatus = CallStatus.QUEUED
    updated_at: float = 0.0
    started_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    answered_by: str | None = None
    error_code: int | None = None
    recording: Recording | None = None
    events_sent: int = 0

    def __post_init__(self) -> None:
        self.updated_at = self.updated_at or self.created_at

    @property
    def live(self) -> bool:
        """Whether the call has not ended."""
        return self.status not in TERMINAL

    @property
    def rest_status(self) -> CallStatus:
        """The state as the REST API shows it, which does not know ``initiated``."""
        return CallStatus.QUEUED if self.status is CallStatus.INITIATED else self.status

    @property
    def seconds(self) -> int:
        """Length of the conversation in whole seconds, begun ones counted; 0 if nobody answered."""
        if self.answered_at is None or self.ended_at is None:
            return 0
        return max(1, -int(-(self.ended_at - self.answered_at) // 1))

    def move(self, status: CallStatus, now: float) -> None:
        """Go to the next state.

        Raises:
            ValueError: the carrier never does that.
        """
        if status not in _NEXT.get(self.status, frozenset()):
            raise ValueError(f"a call cannot go from {self.status} to {status}")
        self.status = status
        self.updated_at = now
        if status is CallStatus.INITIATED:
            self.started_at = now
        elif status is CallStatus.IN_PROGRESS:
            self.answered_at = now
        elif status in TERMINAL:
            self.ended_at = now
