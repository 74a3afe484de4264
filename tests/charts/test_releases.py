"""Trials installed, upgraded and uninstalled on a real API server, which checks every object and every rule."""

import base64

import pytest

from apiserver.client import Client
from charts.releases import CRD, Helm, objects, pods_of
from cluster.errors import ClusterError


@pytest.mark.usefixtures("operator")
def test_a_trial_keeps_its_passwords_on_upgrade_and_leaves_nothing(client: Client, helm: Helm, namespace: str) -> None:
    before = objects(client)

    helm.install_trial(namespace)
    secret = client.get("Secret", namespace, "main-trial")["data"]
    helm.install_trial(namespace, "--set", "spec.api.replicas=1")
    resource = client.get("Switchboard", namespace, "main")
    assert client.get("Secret", namespace, "main-trial")["data"] == secret
    assert resource["spec"]["api"]["replicas"] == 1
    assert resource["metadata"]["generation"] == 2

    helm("uninstall", "main", "--namespace", namespace, "--no-hooks")
    assert objects(client) == before
    assert client.list("Switchboard", namespace) == []


@pytest.mark.usefixtures("operator")
def test_no_secret_of_a_trial_is_in_the_resource(client: Client, helm: Helm, namespace: str) -> None:
    helm.install_trial(namespace)
    secret = client.get("Secret", namespace, "main-trial")["data"]
    shown = str(client.get("Switchboard", namespace, "main"))

    for key in ("ownerPassword", "appPassword", "redisPassword", "authToken"):
        assert base64.b64decode(secret[key]).decode() not in shown
    helm("uninstall", "main", "--namespace", namespace, "--no-hooks")


def test_every_pod_of_both_charts_passes_pod_security_restricted(
    client: Client, helm: Helm, operator: str, namespace: str
) -> None:
    helm.install_trial(namespace)
    # No controller makes the account of the namespace here, and the operator's is in another one.
    for account in ("default", "op-switchboard-operator"):
        client.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": account}})
    pods = pods_of([*helm.manifests(namespace, "main"), *helm.manifests(operator, "op")])

    names = set()
    for pod in pods:
        made = client.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        names.add(made["metadata"]["name"])

    assert names == {
        "main-test-api",
        "main-test-call",
        "main-trial-postgresql",
        "main-trial-simulator",
        "main-trial-valkey",
        "main-wait",
        "op-switchboard-operator",
    }
    helm("uninstall", "main", "--namespace", namespace, "--no-hooks")


@pytest.mark.usefixtures("operator")
def test_a_spec_against_the_rules_is_refused_with_the_field_and_the_rule(helm: Helm, namespace: str) -> None:
    with pytest.raises(ClusterError, match=r"every queue .* must belong to exactly one pool"):
        helm.install_trial(namespace, "--set-json", 'spec.workers=[{"name":"calls","queues":["high"]}]')


def test_a_new_crd_reaches_the_api_server_with_an_upgrade(client: Client, helm: Helm, operator: str) -> None:
    """An older CRD, as an operator before would have left it."""
    change = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]
    client.request("PATCH", CRD, change, "application/json-patch+json")

    helm.install_operator(operator, "--set", "reconcileWorkers=4")

    assert client.request("GET", CRD)["spec"]["versions"][0]["additionalPrinterColumns"]
