"""What people see of a recording."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from switchboard_core.recordings.models import Recording
from switchboard_core.recordings.states import RecordingStatus


class RecordingView(BaseModel):
    """A call recording and its transcript."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 7,
                "recording_sid": "RE0123456789abcdef0123456789abcdef",
                "call_sid": "CA0123456789abcdef0123456789abcdef",
                "run_id": 3,
                "status": "completed",
                "reason": None,
                "duration_ms": 3120,
                "bytes": 49964,
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "transcript": "please call me back tomorrow",
                "transcript_engine": "pocketsphinx",
                "created_at": "2026-01-26T11:05:20Z",
                "finished_at": "2026-01-26T11:05:24Z",
            }
        }
    )

    id: int
    recording_sid: str
    call_sid: str
    run_id: int | None
    status: RecordingStatus
    reason: str | None = Field(description="Why it failed or is absent, or what it waits for.")
    duration_ms: int | None
    bytes: int | None
    sha256: str | None
    transcript: str | None
    transcript_engine: str | None
    created_at: datetime
    finished_at: datetime | None


def view(recording: Recording) -> RecordingView:
    """The view of a row."""
    return RecordingView.model_validate(recording, from_attributes=True)
