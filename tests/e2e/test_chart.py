"""The charts' own promises: ``helm test``, upgrades that tell the truth, and ``--atomic`` that takes them back."""

import pytest

from e2e.history import is_true
from e2e.installation import Installation
from e2e.kube import Json, ProgramError
from e2e.lab import OPERATOR_CHART, OPERATOR_RELEASE, Lab, Operator
from e2e.releases import NEXT, REPOSITORY, THIS
from e2e.setup import NAME, helm_install, values

API_REPLICAS = 3


def test_helm_test_places_a_call(first: Installation, lab: Lab) -> None:
    said = lab.helm("test", NAME, "--namespace", first.kube.namespace, "--timeout", "5m")
    assert said.count("Phase:          Succeeded") == 2


def test_the_notes_say_what_to_do_next(first: Installation, lab: Lab) -> None:
    notes = lab.helm("get", "notes", NAME, "--namespace", first.kube.namespace)
    for words in ("NOT FOR PRODUCTION", f"kubectl switchboard status -n {first.kube.namespace} {NAME}", "helm test"):
        assert words in notes


def test_helm_upgrade_ends_when_what_it_changed_is_rolled_out(first: Installation, lab: Lab) -> None:
    chosen = values(api_replicas=API_REPLICAS)
    chosen["spec"]["env"].append({"name": "RATE_LIMIT_PER_MINUTE", "value": "1201"})
    helm_install(lab, first.kube.namespace, chosen, "--wait", "--timeout", "5m", command="upgrade")
    first.changed_elsewhere()
    first.wait(lambda board: is_true(board, "Ready"), "the watch to see that it is ready", 5)
    assert {_rate_limit(each) for each in first.deployments()} == {"1201"}
    first.await_rest()


@pytest.mark.usefixtures("failing_release")
def test_an_atomic_upgrade_whose_migration_fails_is_taken_back(first: Installation, lab: Lab) -> None:
    old = {pod["metadata"]["uid"] for pod in first.pods()}
    first.business("Obstacle")
    chosen = values(api_replicas=API_REPLICAS)
    chosen["spec"]["images"] = {"migrate": f"{REPOSITORY}-api:{NEXT}"}
    chosen["spec"]["env"].append({"name": "RATE_LIMIT_PER_MINUTE", "value": "1201"})
    with pytest.raises(ProgramError, match="rolled back due to atomic being set"):
        helm_install(lab, first.kube.namespace, chosen, "--atomic", "--timeout", "4m", command="upgrade")
    first.changed_elsewhere()
    first.await_release(THIS, 60)
    assert first.events("MigrationFailed")
    assert {pod["metadata"]["uid"] for pod in first.pods()} == old
    with first.truth() as truth:
        truth.change("UPDATE businesses SET name = 'Acme' WHERE name = 'Obstacle'")


def test_an_upgrade_of_the_operator_restarts_nothing(first: Installation, operator: Operator, lab: Lab) -> None:
    old = {pod["metadata"]["uid"] for pod in first.pods()}
    operators = {pod["metadata"]["uid"] for pod in operator.history.live("pods")}
    options = ("--set", "logging.level=DEBUG", "--wait", "--timeout", "5m")
    lab.helm("upgrade", OPERATOR_RELEASE, OPERATOR_CHART, "--namespace", operator.kube.namespace, *options)
    operator.await_replicas()
    assert operators.isdisjoint(pod["metadata"]["uid"] for pod in operator.history.live("pods"))
    # Whoever leads now has looked at everything once it repairs something.
    first.kube.run("delete", "poddisruptionbudget", first.api)
    first.kube.run("wait", "--for=create", f"poddisruptionbudget/{first.api}", "--timeout=60s", timeout=70)
    assert {pod["metadata"]["uid"] for pod in first.pods()} == old


def _rate_limit(deployment: Json) -> str | None:
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((each["value"] for each in env if each["name"] == "RATE_LIMIT_PER_MINUTE"), None)
