"""An operator for the whole cluster, on a control plane of its own: what it waits for, and kinds that come and go."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apiserver import rbac
from apiserver.audit import Audit
from apiserver.client import Client, Object
from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.operator_process import OperatorProcess
from apiserver.site import NAME, Site, small_spec
from switchboard_operator import drift
from switchboard_operator.crd import build_crd

HOME = "switchboard-system"
QUEUES = ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"]
WORKER = f"{NAME}-worker-calls"
SCALED_SPEC = small_spec(workers=[{"name": "calls", "queues": QUEUES, "autoscaling": {"min": 1, "max": 9}}])

Cluster = tuple[ControlPlane, Kubelet]


@contextmanager
def cluster_of(folder: Path) -> Iterator[Cluster]:
    """A control plane that does not know Switchboards, and its node."""
    with ControlPlane(folder) as control_plane, control_plane.admin as client, Kubelet(client) as kubelet:
        client.make_namespace(HOME)
        yield control_plane, kubelet


@contextmanager
def operator_of(control_plane: ControlPlane, client: Client, folder: Path) -> Iterator[OperatorProcess]:
    """An operator with the rights of a cluster-wide install."""
    token = rbac.make_account(client, HOME, "operator")
    rbac.grant_lease(client, HOME, "operator")
    rbac.grant_cluster(client, HOME, "operator")
    kubeconfig = control_plane.kubeconfig("operator", token)
    process = OperatorProcess("operator", kubeconfig, HOME, (), folder / "operator.log")
    try:
        yield process
    finally:
        process.kill()


def keda_crd(kind: str, plural: str) -> Object:
    """A definition that takes every spec, as far as KEDA's matters here."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.keda.sh"},
        "spec": {
            "group": "keda.sh",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


KEDA = (keda_crd("ScaledObject", "scaledobjects"), keda_crd("TriggerAuthentication", "triggerauthentications"))


def scale_as_keda(site: Site, replicas: int) -> None:
    """What the HorizontalPodAutoscaler that KEDA made does."""
    path = f"/apis/apps/v1/namespaces/{site.namespace}/deployments/{WORKER}/scale?fieldManager=kube-controller-manager"
    site.client.request("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")


def replicas_of(deployment: Object) -> int:
    return int(deployment["spec"]["replicas"])


@pytest.mark.timeout(240)
def test_an_operator_for_all_namespaces_and_kinds_that_come_and_go(binaries: None, tmp_path: Path) -> None:  # noqa: ARG001
    """One story, because each part is the beginning of the next one."""
    with cluster_of(tmp_path) as (control_plane, kubelet), control_plane.admin as client:
        audit = Audit(control_plane.audit_log, client)
        sites = []
        for namespace in ("one", "two"):
            client.make_namespace(namespace)
            sites.append(Site(client, kubelet, audit, namespace))
        with operator_of(control_plane, client, tmp_path) as operator:
            it_waits_for_the_definition(client, operator)
            it_serves_every_namespace(sites)
            it_hands_replicas_over_to_keda(client, operator, sites[0])
            it_keeps_its_hands_off_what_keda_scales(sites[0])
            it_goes_on_when_keda_is_removed(client, operator, sites)
            it_stops_acting_while_the_api_server_does_not_answer(control_plane, operator, sites[0])
            it_repairs_what_was_changed_while_its_watches_were_broken(control_plane, operator, sites[0])
            assert operator.terminate() == 0


def it_waits_for_the_definition(client: Client, operator: OperatorProcess) -> None:
    operator.start()
    operator.await_log("The custom resource definition is not there: install the chart switchboard-operator.")
    assert operator.ask("/readyz")[0] == 503
    client.install_crd(build_crd())
    operator.await_watching()


def it_serves_every_namespace(sites: list[Site]) -> None:
    for site in sites:
        site.add_secrets()
        site.create(SCALED_SPEC)
    for site in sites:
        site.await_settled()


def it_hands_replicas_over_to_keda(client: Client, operator: OperatorProcess, site: Site) -> None:
    seen: list[int] = []
    for crd in KEDA:
        client.install_crd(crd)
    # It looks once a minute whether there is a KEDA; a new process looks at once.
    assert operator.terminate() == 0
    operator.start()

    def is_handed_over(found: Object) -> bool:
        seen.append(replicas_of(found))
        return not drift.owns_replicas(found)

    site.await_object("Deployment", WORKER, is_handed_over, "the replicas to be handed over", 30)
    site.await_object("ScaledObject", WORKER, lambda found: found["spec"]["maxReplicaCount"] == 9, "KEDA's object", 30)
    assert set(seen) == {1}


def it_keeps_its_hands_off_what_keda_scales(site: Site) -> None:
    scale_as_keda(site, 5)
    site.change(logging={"level": "DEBUG"})
    site.await_settled()
    deployment = site.client.get("Deployment", site.namespace, WORKER)
    assert replicas_of(deployment) == 5
    assert "ScaleCorrected" not in site.told()

    site.client.delete("ScaledObject", site.namespace, WORKER)
    site.await_object("ScaledObject", WORKER, lambda _: True, "KEDA's object to be made again", 30)


def it_goes_on_when_keda_is_removed(client: Client, operator: OperatorProcess, sites: list[Site]) -> None:
    for crd in KEDA:
        client.remove_crd(crd["metadata"]["name"])
    for site, number in zip(sites, (5, 1), strict=True):
        # The operator decides again, and begins with the number that KEDA has left.
        site.change(logging={"level": "WARNING"})
        site.await_object("Deployment", WORKER, drift.owns_replicas, "the operator to decide on the replicas", 60)
        site.await_settled()
        assert replicas_of(site.client.get("Deployment", site.namespace, WORKER)) == number
    assert not operator.has_ended()


def it_stops_acting_while_the_api_server_does_not_answer(
    control_plane: ControlPlane, operator: OperatorProcess, site: Site
) -> None:
    control_plane.freeze_apiserver()
    try:
        operator.await_log("not leading any more")
        assert operator.ask("/healthz")[0] == 200
    finally:
        control_plane.thaw_apiserver()
    site.change(version="1.1.0")
    site.await_settled("1.1.0")


def it_repairs_what_was_changed_while_its_watches_were_broken(
    control_plane: ControlPlane, operator: OperatorProcess, site: Site
) -> None:
    operator.freeze()
    control_plane.kill_apiserver()
    control_plane.start_apiserver()
    site.client.delete("PodDisruptionBudget", site.namespace, WORKER)
    operator.thaw()

    site.await_object("PodDisruptionBudget", WORKER, lambda _: True, "the budget to be made again", 30)
    site.change(version="1.2.0")
    site.await_settled("1.2.0")
    assert site.script.too_early == []
