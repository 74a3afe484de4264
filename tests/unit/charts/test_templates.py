"""What the charts and the operator have to agree about, read from the templates themselves."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.rbac import rules_of
from charts.paths import CHARTS, EXAMPLES, OPERATOR, ROOT, SWITCHBOARD
from switchboard_operator import names
from switchboard_operator.kinds import OWNED, OWNED_WITH_KEDA
from switchboard_operator.lease import Timing
from switchboard_operator.resources.base import Owner
from switchboard_operator.resources.pods import API_PORT, METRICS_PORT
from switchboard_operator.resources.service import PORT, api_service
from switchboard_operator.spec import SwitchboardSpec

_OWN = ["get", "list", "watch", "create", "patch", "delete"]


def verbs_on(resource: str, group: str) -> list[str]:
    return [
        verb
        for rule in rules_of("namespacedRules")
        if resource in rule["resources"] and group in rule["apiGroups"]
        for verb in rule["verbs"]
    ]


@pytest.mark.parametrize("kind", [*OWNED, *OWNED_WITH_KEDA], ids=lambda kind: kind.plural)
def test_the_operator_may_manage_each_kind_that_it_owns(kind: Any) -> None:
    assert verbs_on(kind.plural, kind.group) == _OWN


def test_the_operator_can_neither_change_secrets_nor_give_rights() -> None:
    granted = rules_of("namespacedRules") + rules_of("clusterRules")

    assert not {"update", "patch", "delete"} & set(verbs_on("secrets", ""))
    assert not [rule for rule in granted if "rbac.authorization.k8s.io" in rule["apiGroups"]]
    assert not [rule for rule in granted if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]]


def test_the_operator_has_time_to_hand_over_before_it_is_killed() -> None:
    text = (OPERATOR / "templates" / "deployment.yaml").read_text("utf-8")
    grace_s = int(re.findall(r"terminationGracePeriodSeconds: (\d+)", text)[0])

    assert grace_s > Timing().lease + Timing().request


def test_the_chart_leads_to_the_service_that_the_operator_makes() -> None:
    service = api_service(Owner("main", "calls", "uid"))
    ingress = (SWITCHBOARD / "templates" / "ingress.yaml").read_text("utf-8")
    route = (SWITCHBOARD / "templates" / "httproute.yaml").read_text("utf-8")

    assert service["metadata"]["name"] == names.api_name("main") == "main-api"
    assert '{{ include "switchboard.name" $ }}-api' in ingress
    assert f"port: {{name: {service['spec']['ports'][0]['name']}}}" in ingress
    assert f"-api, port: {PORT}}}" in route


def test_the_operators_policy_lets_it_reach_the_pods() -> None:
    policy = (OPERATOR / "templates" / "networkpolicy.yaml").read_text("utf-8")

    assert f"port: {API_PORT}," in policy
    assert f"port: {METRICS_PORT}," in policy


def test_charts_and_project_have_one_version() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert project
    for chart in sorted(CHARTS.iterdir()):
        found = yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))
        assert found["version"] == found["appVersion"] == project[1], chart.name


def test_the_example_of_a_resource_is_valid() -> None:
    resource = yaml.safe_load((EXAMPLES / "switchboard.yaml").read_text("utf-8"))

    spec = SwitchboardSpec.model_validate(resource["spec"]).dump()
    assert (resource["apiVersion"], resource["kind"]) == (names.API_VERSION, names.KIND)
    # The model ignores what it does not know; nothing of the example may be ignored.
    assert set(resource["spec"]) <= set(spec)


@pytest.mark.parametrize("path", sorted((EXAMPLES / "gitops").glob("*.yaml")), ids=lambda path: path.stem)
def test_gitops_examples_name_what_there_is(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text("utf-8")):
        spec = document.get("spec", {})
        places = [spec.get("source", {}).get("path"), spec.get("chart", {}).get("spec", {}).get("chart")]
        for place in filter(None, places):
            assert (ROOT / place / "Chart.yaml").is_file(), place
