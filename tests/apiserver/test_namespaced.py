"""An operator for some namespaces: its rights end there, and what it may not watch does not keep it from the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver import rbac
from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.replicas import Replicas, replicas_of

LATER = "namespaced-later"


@pytest.fixture
def lone(control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path) -> Iterator[Replicas]:
    """One replica that is to watch a namespace more than there are."""
    with replicas_of(control_plane, kubelet, tmp_path, 1, ["namespaced"], watched=["namespaced", LATER]) as found:
        yield found


def test_a_namespace_that_does_not_exist_yet_is_left_out_and_then_served(lone: Replicas) -> None:
    (process,) = lone.processes
    process.start()
    lone.site.install()
    process.await_log("namespace left out")

    client, later = lone.site.client, lone.elsewhere(LATER)
    client.make_namespace(LATER)
    rbac.grant_namespace(client, LATER, lone.site.namespace, process.identity)
    assert process.await_end(within_s=40) == 0
    # As Kubernetes does with a container that has ended.
    process.start()

    later.install()
    assert lone.site.condition("Ready")["status"] == "True"


def test_the_rights_end_at_its_namespaces(control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path) -> None:
    with replicas_of(control_plane, kubelet, tmp_path, 1, ["bounded"]) as replicas:
        (process,) = replicas.processes
        process.start()
        replicas.site.install()
        mark = replicas.site.audit.mark()

        replicas.site.change(logging={"level": "DEBUG"})
        replicas.site.await_settled()

        written = replicas.site.audit.writes_of(process.identity, mark)
        assert {entry.namespace for entry in written} == {"bounded"}
        assert [entry for entry in replicas.site.audit.writes_of(process.identity) if entry.code == 403] == []
