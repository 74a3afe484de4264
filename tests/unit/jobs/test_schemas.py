"""What people and other processes see of a background job."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from switchboard_core.jobs.manager import _wire, parse_change
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.schemas import TaskSnapshot, snapshot
from switchboard_core.jobs.states import JobStatus

NOW = datetime(2026, 1, 26, 11, 5, 20, tzinfo=UTC)


def row(**columns: Any) -> BackgroundJob:
    values = {
        "id": 123,
        "business_id": 42,
        "job_type": "delete_leads",
        "queue": "maintenance",
        "status": JobStatus.RUNNING,
        "payload": {"secret": "s3cr3t"},
        "total": 50,
        "done": 20,
        "failed": 0,
        "errors": [],
        "version": 7,
        "created_at": NOW,
    }
    return BackgroundJob(**{**values, **columns})


def test_a_client_sees_neither_business_nor_payload() -> None:
    seen = snapshot(row()).model_dump_json()
    assert "business_id" not in seen
    assert "s3cr3t" not in seen


def test_errors_are_shown_from_the_first_on() -> None:
    errors = [{"item": str(number), "message": "no"} for number in range(150)]
    assert [error.item for error in snapshot(row(errors=errors)).errors] == [str(number) for number in range(100)]
    assert len(snapshot(row(errors=errors), max_errors=1000).errors) == 150


def test_a_cancel_request_is_a_yes_or_no() -> None:
    assert snapshot(row()).cancel_requested is False
    assert snapshot(row(cancel_requested_at=NOW)).cancel_requested is True


def test_another_process_reads_exactly_what_was_sent() -> None:
    sent = snapshot(
        row(
            errors=[{"item": "4", "message": 'a "quoted" } word\nand a line'}],
            result={"calls": {"busy": 1}},
            reason="because",
            started_at=NOW,
            finished_at=NOW,
            cancel_requested_at=NOW,
        )
    )
    received = parse_change(_wire(sent))
    assert received == sent
    assert received.business_id == 42
    assert parse_change(_wire(sent).encode()) == sent


@pytest.mark.parametrize("message", [b"", b"{}", b"not json", b'{"id": 1}', b"\xff"])
def test_what_is_no_change_is_refused(message: bytes) -> None:
    with pytest.raises(ValidationError):
        parse_change(message)


def test_a_newer_release_may_say_more() -> None:
    sent = snapshot(row())
    more = _wire(sent)[:-1] + ',"of_a_newer_release":1}'
    assert parse_change(more) == sent


def test_the_rq_job_can_be_found_from_a_snapshot() -> None:
    assert TaskSnapshot.model_validate({**snapshot(row()).model_dump(), "business_id": 1}).rq_id == "delete_leads_123"
