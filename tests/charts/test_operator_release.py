"""The operator's chart alone on a real API server: what an uninstall leaves."""

from apiserver.client import Client
from charts.releases import CRD, Helm, await_crd, await_no_crd, objects


def test_the_operator_can_be_upgraded_and_uninstalled_and_leaves_only_its_crd(
    client: Client, helm: Helm, namespace: str
) -> None:
    before = objects(client)

    helm.install_operator(namespace)
    await_crd(client)
    helm.install_operator(namespace, "--set", "replicas=3")
    assert client.get("Deployment", namespace, "op-switchboard-operator")["spec"]["replicas"] == 3
    helm("uninstall", "op", "--namespace", namespace)

    assert objects(client) == before
    assert client.request("GET", CRD)["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    await_no_crd(client)
