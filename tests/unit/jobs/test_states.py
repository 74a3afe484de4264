"""The states of a background job."""

from switchboard_core.jobs.queueing import OPEN
from switchboard_core.jobs.states import JobStatus


def test_the_states_are_those_of_the_contract() -> None:
    assert [str(status) for status in JobStatus] == ["pending", "running", "completed", "failed", "cancelled"]


def test_every_state_is_either_open_or_terminal() -> None:
    assert {status for status in JobStatus if not status.terminal} == set(OPEN)
