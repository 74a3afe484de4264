"""Deletion needs nobody: owner references and no finalizer."""

from pathlib import Path

from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.replicas import replicas_of
from apiserver.site import NAME, Site
from switchboard_operator.names import credentials_secret_name

KEPT = credentials_secret_name(NAME)
OWNED = ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "Job", "Secret", "ServiceAccount", "Pod")


def left_over(site: Site) -> list[tuple[str, str]]:
    """Everything that has to do with the Switchboard and is to go with it."""
    found = [(kind, name) for kind in OWNED for name in site.names(kind)]
    return [(kind, name) for kind, name in found if (name == NAME or name.startswith(f"{NAME}-")) and name != KEPT]


def delete_and_watch(site: Site) -> None:
    """Delete the Switchboard, then its namespace, and wait until neither has left anything."""
    assert {kind for kind, _ in left_over(site)} >= {"Deployment", "Service", "Job", "Secret", "Pod"}
    site.client.delete("Switchboard", site.namespace, NAME)
    for kind, name in left_over(site):
        site.await_gone(kind, name)
    # The database is still there, and with it what these keys have sealed.
    assert KEPT in site.names("Secret")
    site.client.request("DELETE", f"/api/v1/namespaces/{site.namespace}")
    site.client.await_namespace_gone(site.namespace)


def test_everything_owned_disappears_with_the_operator_running_which_serves_the_others_on(
    control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
) -> None:
    with replicas_of(control_plane, kubelet, tmp_path, 1, ["beside", "deleted"]) as replicas:
        (process,) = replicas.processes
        process.start()
        beside, deleted = replicas.sites
        deleted.install()

        delete_and_watch(deleted)

        assert process.await_end(within_s=40) == 0
        # As Kubernetes does with a container that has ended.
        process.start()
        process.await_log("namespace left out")
        beside.install()


def test_everything_owned_disappears_with_the_operator_gone(
    control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
) -> None:
    with replicas_of(control_plane, kubelet, tmp_path, 1, ["deletion"]) as replicas:
        replicas.processes[0].start()
        replicas.site.install()
        replicas.processes[0].kill()

        delete_and_watch(replicas.site)
