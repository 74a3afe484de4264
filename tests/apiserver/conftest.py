"""One control plane a test process, one operator that watches a few namespaces, and a namespace for each test.

Without the binaries every test here is skipped, and says how to build them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apiserver import rbac
from apiserver.audit import Audit
from apiserver.binaries import MissingBinaryError, find_binary
from apiserver.client import Client
from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.operator_process import OperatorProcess
from apiserver.site import Site, small_spec
from switchboard_operator.crd import build_crd

HOME = "switchboard-system"
WATCHED = tuple(f"site-{number}" for number in range(1, 61))
"""Namespaces of the operator that most tests share; its rights end there."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts servers and waits for controllers may take longer than others on a busy machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def binaries() -> None:
    """Skip where the control plane was not built."""
    try:
        for name in ("etcd", "kube-apiserver", "kube-controller-manager"):
            find_binary(name)
    except MissingBinaryError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def control_plane(binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:  # noqa: ARG001
    """The session's control plane, which knows the CRD."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as found:
        with found.admin as client:
            client.install_crd(build_crd())
            client.make_namespace(HOME)
        yield found


@pytest.fixture(scope="session")
def client(control_plane: ControlPlane) -> Iterator[Client]:
    """An administrator."""
    with control_plane.admin as found:
        yield found


@pytest.fixture(scope="session")
def kubelet(control_plane: ControlPlane) -> Iterator[Kubelet]:
    """Runs the pods."""
    with control_plane.admin as own, Kubelet(own) as found:
        yield found


@pytest.fixture(scope="session")
def audit(control_plane: ControlPlane, client: Client) -> Audit:
    """The API server's log of writes."""
    return Audit(control_plane.audit_log, client)


@pytest.fixture(scope="session")
def shared_operator(
    control_plane: ControlPlane, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator with the rights of a namespaced install."""
    token = rbac.make_account(client, HOME, "operator-shared")
    rbac.grant_lease(client, HOME, "operator-shared")
    for namespace in WATCHED:
        client.make_namespace(namespace)
        rbac.grant_namespace(client, namespace, HOME, "operator-shared")
    kubeconfig = control_plane.kubeconfig("operator-shared", token)
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess("operator-shared", kubeconfig, HOME, WATCHED, log) as found:
        yield found


_namespaces = iter(WATCHED)


class Sites:
    """Gives out namespaces; those that need an installed Switchboard are made ready together, while others wait."""

    def __init__(self, make: Callable[[], Site], installed: int) -> None:
        self._make = make
        self._begun = [make() for _ in range(installed)]
        for site in self._begun:
            site.add_secrets()
            site.create(small_spec())

    def empty(self) -> Site:
        """A namespace with nothing in it."""
        return self._make()

    def installed(self) -> Site:
        """A namespace with release 1.0.0 at rest."""
        site = self._begun.pop()
        site.await_settled("1.0.0")
        return site


@pytest.fixture(scope="module")
def sites(
    request: pytest.FixtureRequest,
    client: Client,
    kubelet: Kubelet,
    audit: Audit,
    shared_operator: OperatorProcess,
) -> Sites:
    """Namespaces of one module, served by the shared operator."""
    assert not shared_operator.has_ended()
    wanted = [
        item
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and "installed" in item.fixturenames
    ]
    return Sites(lambda: Site(client, kubelet, audit, next(_namespaces)), len(wanted))


@pytest.fixture
def site(sites: Sites, kubelet: Kubelet) -> Iterator[Site]:
    """An empty namespace of this test alone."""
    found = sites.empty()
    yield found
    _check(found, kubelet)


@pytest.fixture
def installed(sites: Sites, kubelet: Kubelet) -> Iterator[Site]:
    """A namespace of this test alone, in which release 1.0.0 is installed and at rest."""
    found = sites.installed()
    yield found
    _check(found, kubelet)


def _check(site: Site, kubelet: Kubelet) -> None:
    assert kubelet.failed is None
    assert site.script.too_early == [], "pods started before the database was ready for them"
