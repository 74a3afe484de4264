"""Recordings and their transcripts."""

from typing import Annotated

from fastapi import APIRouter, Query

from switchboard_api.auth import RuntimeDep, Viewer
from switchboard_api.pagination import Page, Paging, RowId
from switchboard_api.problems import not_found
from switchboard_core.recordings import service
from switchboard_core.recordings.schemas import RecordingView, view
from switchboard_core.recordings.states import RecordingStatus

router = APIRouter(prefix="/api/recordings", tags=["recordings"])


@router.get("", summary="List recordings")
def list_recordings(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    run_id: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Only those of this campaign.")] = None,
    status: Annotated[RecordingStatus | None, Query(description="Only recordings in this state.")] = None,
) -> Page[RecordingView]:
    """Newest first."""
    with runtime.database.tenant(caller.business_id) as session:
        found = service.list_recordings(
            session, run_id=run_id, status=status, before_id=paging.after_id, limit=paging.fetch
        )
        return paging.page([view(recording) for recording in found])


@router.get("/search", summary="Search transcripts")
def search(
    caller: Viewer,
    runtime: RuntimeDep,
    q: Annotated[
        str,
        Query(min_length=1, max_length=500, description='Words; "a phrase"; -not; or.', examples=["call me back"]),
    ],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=10_000)] = 0,
) -> list[RecordingView]:
    """Best match first."""
    with runtime.database.tenant(caller.business_id) as session:
        return [view(recording) for recording in service.search(session, q, limit=limit, offset=offset)]


@router.get("/{recording_id}", summary="Show a recording")
def show(recording_id: RowId, caller: Viewer, runtime: RuntimeDep) -> RecordingView:
    """One recording with its transcript."""
    with runtime.database.tenant(caller.business_id) as session:
        try:
            return view(service.get_recording(session, recording_id))
        except service.RecordingNotFoundError:
            raise not_found(f"recording {recording_id}") from None
