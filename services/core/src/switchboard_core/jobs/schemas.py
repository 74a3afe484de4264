"""What people and pollers see of a background job."""

from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus


class TaskError(BaseModel):
    """One item that failed."""

    item: str = Field(description="The item: a lead's id, a line, a document number.")
    message: str = Field(description="What is wrong with it.")


class TaskSnapshot(BaseModel):
    """A background job at one moment; polling and the WebSocket give the same numbers."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 123,
                "job_type": "delete_leads",
                "queue": "maintenance",
                "status": "running",
                "total": 50,
                "done": 20,
                "failed": 0,
                "errors": [],
                "version": 7,
                "created_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int
    # Of us alone: neither sent nor described.
    business_id: SkipJsonSchema[int] = Field(exclude=True)
    job_type: str
    queue: str
    status: JobStatus
    total: int | None = Field(description="Items in all, where known.")
    done: int = Field(description="Items that succeeded.")
    failed: int = Field(description="Items that failed.")
    errors: list[TaskError] = Field(description="The first errors, 100 at most in live updates.")
    result: dict[str, Any] | None = None
    reason: str | None = Field(None, description="Why it failed, was cancelled or is parked.")
    cancel_requested: bool = False
    version: int = Field(description="Grows with every change.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @cached_property
    def as_json(self) -> str:
        """What a client gets to see, written once however many sockets it goes to."""
        return self.model_dump_json()

    @property
    def rq_id(self) -> str:
        """Id of the RQ job that wakes it."""
        return f"{self.job_type}_{self.id}"


def snapshot(job: BackgroundJob, *, max_errors: int = 100) -> TaskSnapshot:
    """The snapshot of a row."""
    return TaskSnapshot(
        id=job.id,
        business_id=job.business_id,
        job_type=job.job_type,
        queue=job.queue,
        status=job.status,
        total=job.total,
        done=job.done,
        failed=job.failed,
        errors=[TaskError.model_validate(error) for error in job.errors[:max_errors]],
        result=job.result,
        reason=job.reason,
        cancel_requested=job.cancel_requested_at is not None,
        version=job.version,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
