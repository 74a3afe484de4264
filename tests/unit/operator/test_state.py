"""A status that a newer operator has written is understood as far as it goes, and opens no gate."""

from typing import Any

import pytest

from switchboard_operator.state import State
from unit.operator.fake_cluster import failing_upgrade, installed

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
