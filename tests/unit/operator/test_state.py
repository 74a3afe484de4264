"""A status that a newer operator has written is understood as far as it goes, and opens no gate."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from switchboard_operator.actions import Apply, WriteStatus
from switchboard_operator.plan import plan
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import State
from unit.operator.fake_cluster import FakeCluster, failing_upgrade, installed

FUTURE = "Teleporting"


@pytest.mark.parametrize("field", ["step", "state"])
def test_a_gate_at_an_unknown_place_is_asked_again_from_its_beginning(field: str) -> None:
    cluster = failing_upgrade()
    cluster.status["gate"][field] = FUTURE

    gate = cluster.state.gate

    assert gate
    assert (gate.step, gate.state, gate.number) == ("check", "Running", 2)


@pytest.mark.parametrize("field", ["step", "state"])
def test_no_unknown_word_opens_a_gate(field: str) -> None:
    cluster = failing_upgrade()
    pods = {pod.name for pod in cluster.pods}
    cluster.status["gate"][field] = FUTURE

    cluster.settle()

    assert {pod.name for pod in cluster.pods} == pods
    assert cluster.condition("DatabaseMigrated") == ("False", "MigrationFailed")


def test_an_unknown_stage_takes_no_pod_away_and_ends_well() -> None:
    cluster = installed()
    pods = {pod.name for pod in cluster.pods}
    cluster.status["applied"]["stage"] = FUTURE

    cluster.settle()

    assert {pod.name for pod in cluster.pods} == pods
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.status["applied"]["stage"] == "done"


def test_an_unknown_outcome_of_the_contract_phase_is_asked_for_again() -> None:
    cluster = installed()
    cluster.status["applied"] |= {"stage": "contract", "contract": {"state": FUTURE, "run": 1}}
    cluster.delete_jobs()

    cluster.settle()

    assert cluster.database.runs[-2:] == [("1.0.0", "contract")] * 2
    assert cluster.status["applied"]["contract"]["state"] == "Succeeded"


def test_conditions_and_history_are_kept_as_far_as_they_are_known() -> None:
    cluster = failing_upgrade()
    unknown: dict[str, Any] = {
        "conditions": [{**cluster.status["conditions"][0], "type": FUTURE}, *cluster.status["conditions"]],
        "history": [{**cluster.status["history"][0], "outcome": FUTURE}, *cluster.status["history"][1:]],
    }

    state = State.model_validate(cluster.status | unknown)

    assert [condition.type for condition in state.conditions] == [each.type for each in cluster.state.conditions]
    assert [entry.number for entry in state.history] == [2]


def test_what_is_known_is_read_as_it_stands() -> None:
    cluster = failing_upgrade()

    assert cluster.state.dump() == cluster.status


def recorded_elsewhere() -> FakeCluster:
    """At rest, with a recorded spec that this operator takes from no user: words and rules of another release."""
    cluster = installed()
    recorded = cluster.status["applied"]["spec"]
    recorded["images"]["pullPolicy"] = recorded["logging"]["format"] = FUTURE
    recorded["workers"][0] |= {"queues": ["high", "default", FUTURE], "tolerations": [{"effect": FUTURE}]}
    recorded["workers"].append({"name": "new", "queues": [FUTURE, "low"], "brandNew": {"field": 1}})
    return cluster


def test_a_spec_that_another_operator_has_recorded_is_read_as_it_stands() -> None:
    cluster = recorded_elsewhere()
    with pytest.raises(ValidationError):
        SwitchboardSpec.model_validate(cluster.status["applied"]["spec"])

    spec = SwitchboardSpec.recorded(cluster.status["applied"]["spec"])

    words: list[str] = [spec.images.pull_policy, spec.logging.format, *spec.workers[0].queues]
    assert words == [FUTURE, FUTURE, "high", "default", FUTURE]
    assert [pool.name for pool in spec.workers] == ["calls", "bulk", "new"]


def test_the_gate_works_after_a_spec_that_another_operator_has_recorded() -> None:
    cluster = recorded_elsewhere()
    cluster.change(version="1.1.0")

    cluster.settle()

    assert set(cluster.versions().values()) == {"1.1.0"}
    assert cluster.condition("Ready") == ("True", "Ready")


def test_what_another_operator_has_recorded_is_repaired_while_the_spec_cannot_be_used() -> None:
    cluster = recorded_elsewhere()
    del cluster.objects["Service", "main-api"]

    actions = plan(None, replace(cluster.observe(), spec_error="The spec cannot be used."), cluster.now)

    assert "Service" in [action.manifest["kind"] for action in actions if isinstance(action, Apply)]
    state = next(action.state for action in actions if isinstance(action, WriteStatus))
    assert {each.type: each.reason for each in state.conditions}["Degraded"] == "InvalidSpec"
