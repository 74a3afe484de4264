"""States of a background job."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Contract: pending → running → completed, failed or cancelled."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self not in {JobStatus.PENDING, JobStatus.RUNNING}
