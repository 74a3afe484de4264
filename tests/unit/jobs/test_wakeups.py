"""Wake-ups: deterministic ids, and arguments that are ids and nothing else."""

import importlib

import pytest

from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import wakeup_of
from switchboard_core.jobs.transport import (
    BACKGROUND_JOB,
    PROCESS_NEXT,
    RECORDING,
    WakeUp,
    background_wakeup,
    process_next_wakeup,
    recording_wakeup,
)


def test_a_background_job_s_wake_up_is_named_after_its_type_and_id() -> None:
    assert background_wakeup("delete_leads", 123, "maintenance", 60) == WakeUp(
        "delete_leads_123", "maintenance", BACKGROUND_JOB, (123,), 60
    )


def test_the_pump_s_wake_up_is_that_of_the_contract() -> None:
    assert process_next_wakeup(123, 7) == WakeUp("process_next_123", "high", PROCESS_NEXT, (123, 7), 600)


def test_a_recording_s_wake_up_goes_to_the_recorder() -> None:
    assert recording_wakeup(9) == WakeUp("recording_9", "recordings", RECORDING, (9,), 600)


@pytest.mark.parametrize("dotted", [BACKGROUND_JOB, PROCESS_NEXT, RECORDING])
def test_the_functions_that_wake_ups_name_exist(dotted: str) -> None:
    module, _, name = dotted.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(("job_type", "timeout_s"), [("delete_leads", 60), ("of_a_newer_release", 60)])
def test_a_row_has_a_wake_up_even_when_its_type_is_unknown_here(job_type: str, timeout_s: int) -> None:
    row = BackgroundJob(id=5, job_type=job_type, queue="low", payload={"phone": "+14155550123"})
    assert wakeup_of(row) == WakeUp(f"{job_type}_5", "low", BACKGROUND_JOB, (5,), timeout_s)
