"""States of a recording."""

from enum import StrEnum


class RecordingStatus(StrEnum):
    """pending → downloading → downloaded → transcribing → completed; failed and absent end it."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    TRANSCRIBING = "transcribing"
    COMPLETED = "completed"
    ABSENT = "absent"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self in {RecordingStatus.COMPLETED, RecordingStatus.ABSENT, RecordingStatus.FAILED}
