"""A control plane without nodes for the tests of the charts, and Helm.

Without the binaries these tests are skipped, and say how to build them.
"""

import itertools
from collections.abc import Iterator

import pytest

from apiserver.binaries import MissingBinaryError, find_binary
from apiserver.client import Client
from apiserver.control_plane import ControlPlane
from charts.releases import RESTRICTED, Helm, await_crd, await_no_crd
from cluster import parts

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that knows nothing of Switchboards yet."""
    try:
        find_binary("etcd")
        find_binary("kube-apiserver")
        parts.binary("helm")
    except (MissingBinaryError, parts.MissingPartError) as error:
        pytest.skip(str(error))
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), controllers=False) as found:
        yield found


@pytest.fixture(scope="session")
def client(control_plane: ControlPlane) -> Iterator[Client]:
    """An administrator."""
    with control_plane.admin as found:
        yield found


@pytest.fixture(scope="session")
def helm(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm as an administrator."""
    return Helm(control_plane.admin_kubeconfig(), tmp_path_factory.mktemp("helm"))


@pytest.fixture
def namespace(client: Client) -> str:
    """A namespace that enforces Pod Security *restricted*."""
    name = f"calls-{next(_numbers)}"
    client.make_namespace(name, RESTRICTED)
    return name


@pytest.fixture(scope="module")
def operator(client: Client, helm: Helm) -> Iterator[str]:
    """The operator's chart, installed; its namespace."""
    name = f"system-{next(_numbers)}"
    client.make_namespace(name, RESTRICTED)
    helm.install_operator(name)
    await_crd(client)
    yield name
    helm("uninstall", "op", "--namespace", name)
    # Kept by Helm; the next module installs its own.
    await_no_crd(client)
