"""What people send and see of campaign runs."""

import uuid
from datetime import datetime, time
from typing import Literal

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from switchboard_core.calls.policy import DEFAULT_RETRY_AFTER_S, RETRYABLE
from switchboard_core.calls.states import AttemptState, CallStatus, RunStatus
from switchboard_core.leads.filters import LeadFilter

ALL_DAYS = 127


def e164(number: str) -> str:
    """Check an international number and write it in E.164.

    Raises:
        ValueError: it is not one.
    """
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        msg = "must be an international number such as +14155550100"
        raise ValueError(msg)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


class CallingHours(BaseModel):
    """When a lead may be called, in the lead's own time zone."""

    opens: time = Field(time(9), description="Local time, inclusive.")
    closes: time = Field(time(20), description="Local time, exclusive; the same as opens: the whole day.")
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1
    )

    @property
    def mask(self) -> int:
        """The days as a bit mask, Monday is bit 0."""
        names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
        return sum(1 << names.index(day) for day in set(self.days))


class RunCreate(BaseModel):
    """A campaign run to start."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Spring renewal",
                "message": "Hello {name}, your plan renews next week. Please call us back.",
                "leads": {"all": True},
                "caller_ids": ["+14155550100"],
                "machine_detection": "detect",
                "max_attempts": 3,
                "retry_after_s": {"busy": 300, "no_answer": 1800, "machine": 3600},
            }
        },
    )

    name: str = Field(min_length=1, max_length=200)
    message: str = Field(min_length=1, max_length=3000, description="Spoken to who answers; {name} is the lead's name.")
    leads: LeadFilter = Field(description="Whom to call.")
    caller_ids: list[str] = Field(default=[], max_length=100, description="Call from these; empty: the business's own.")
    record: bool = True
    machine_detection: Literal["off", "detect", "hangup"] = "off"
    ring_timeout_s: int = Field(30, ge=5, le=600)
    max_attempts: int = Field(3, ge=1, le=20, description="Calls to one lead at most.")
    retry_after_s: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_RETRY_AFTER_S),
        description=f"Seconds until the next attempt, per outcome ({', '.join(RETRYABLE)}); absent: no retry.",
    )
    calling_hours: CallingHours | None = Field(None, description="Absent: the business's own.")

    @field_validator("caller_ids")
    @classmethod
    def _numbers(cls, value: list[str]) -> list[str]:
        return [e164(number) for number in value]

    @model_validator(mode="after")
    def _known_outcomes(self) -> "RunCreate":
        unknown = sorted(set(self.retry_after_s) - set(RETRYABLE))
        if unknown:
            msg = f"retry_after_s knows {', '.join(RETRYABLE)}, not {', '.join(unknown)}"
            raise ValueError(msg)
        if any(not 0 <= seconds <= 7 * 86400 for seconds in self.retry_after_s.values()):
            msg = "retry_after_s takes 0 to 604800 seconds (a week)"
            raise ValueError(msg)
        return self


class RunCounts(BaseModel):
    """Call jobs of a run by status; ``active`` is how many calls are live, counted from the rows themselves."""

    total: int
    queued: int
    active: int = Field(description="Jobs that hold a slot: dialing to canceling.")
    dialing: int
    uncertain: int
    ringing: int
    in_progress: int
    canceling: int
    completed: int
    busy: int
    no_answer: int
    failed: int
    canceled: int
    skipped: int


class RunView(BaseModel):
    """A campaign run as people see it."""

    id: int
    name: str
    status: RunStatus
    reason: str | None
    job_id: int | None = Field(description="Its background job, for cancel, force-cancel and live progress.")
    counts: RunCounts
    waiting_for: str | None = Field(None, description="Why nothing is dialled right now, where that is known.")
    next_call_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class AttemptView(BaseModel):
    """One call, or one try at it."""

    id: uuid.UUID
    number: int
    state: AttemptState
    reason: str | None
    call_sid: str | None
    answered_by: str | None
    duration_s: int | None
    created_at: datetime
    sent_at: datetime | None
    answered_at: datetime | None
    settled_at: datetime | None


class CallJobView(BaseModel):
    """One number of a run."""

    id: int
    lead_id: int | None
    to_number: str
    timezone: str
    status: CallStatus
    reason: str | None
    attempts: int
    next_attempt_at: datetime | None
    calls: list[AttemptView] = []


class ForceCancelReport(BaseModel):
    """What a force-cancel did at once; the sweep finishes the rest."""

    job_id: int
    run_id: int
    canceled: int = Field(description="Jobs that ended at once.")
    hung_up: int = Field(description="Live calls that the carrier ended.")
    pending: int = Field(description="Calls that are being ended still; they keep their slots until then.")


class CleanupReport(BaseModel):
    """What a clean-up found and did."""

    attempts_checked: int = 0
    attempts_settled: int = 0
    runs_taken_over: int = 0
    runs_failed: int = 0
    slots: int = Field(0, description="Slots taken afterwards.")
