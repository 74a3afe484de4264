"""When the Job that makes Helm wait is done, and when it gives up."""

from pathlib import Path
from typing import Any

import pytest

import switchboard_operator
from charts.scripts import load_script

wait = load_script("wait")


def switchboard(status: str, reason: str, *, generation: int = 1, observed: int = 1) -> dict[str, Any]:
    condition = {"type": "Ready", "status": status, "reason": reason, "message": "Why.", "observedGeneration": observed}
    return {"metadata": {"generation": generation}, "status": {"conditions": [condition]}}


def test_a_ready_switchboard_ends_the_wait() -> None:
    assert wait.verdict(switchboard("True", "Ready")) == (True, "Ready: Why.")


def test_what_was_ready_for_the_spec_before_does_not() -> None:
    done, sentence = wait.verdict(switchboard("True", "Ready", generation=2))

    assert done is None
    assert "operator" in sentence


def test_a_switchboard_that_nobody_took_up_is_waited_for() -> None:
    assert wait.verdict({"metadata": {"generation": 1}})[0] is None


@pytest.mark.parametrize("reason", ["MigrationFailed", "ReleaseRefused", "InvalidSpec", "NameTaken"])
def test_what_only_a_person_can_cure_ends_it_as_a_failure(reason: str) -> None:
    assert wait.verdict(switchboard("False", reason)) == (False, f"{reason}: Why.")


@pytest.mark.parametrize("reason", ["SecretMissing", "CheckFailed", "MigrationRetrying", "RollingOut", "PodsNotReady"])
def test_what_may_still_come_is_waited_for(reason: str) -> None:
    assert wait.verdict(switchboard("False", reason))[0] is None


def test_a_paused_switchboard_is_not_waited_for() -> None:
    done, sentence = wait.verdict(switchboard("False", "Paused"))

    assert done is True
    assert "paused" in sentence


def test_the_reasons_are_those_of_the_operator() -> None:
    folder = Path(switchboard_operator.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))

    assert all(f'"{reason}"' in source for reason in wait.NEEDS_A_PERSON | {"Paused"})
