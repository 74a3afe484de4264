"""What scenarios share: the cluster, the operator, and two installations. All of it begins from nothing."""

import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster import docker, kind, parts
from cluster.console import say, step
from cluster.settings import KUBECONFIG
from e2e import evidence, releases
from e2e.installation import Installation
from e2e.kube import Kube
from e2e.lab import Lab, Operator, install_operator, operator_namespace
from e2e.setup import installed

HERE = Path(__file__).parent
LONGEST_S = 900
ORDER = (
    "test_install",
    "test_chart",
    "test_failed_migration",
    "test_plugin",
    "test_repair",
    "test_bad_input",
    "test_operator",
    "test_scaler",
    "test_upgrade",
    "test_eviction",
    "test_deletion",
    "test_keda",
)
"""The order of the files: what others build on comes first, what takes things away comes last."""

_LAB = pytest.StashKey[Lab]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--calls", type=int, default=200, help="calls of the campaign after the installation")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: part of make e2e-smoke, which CI runs")
    config.addinivalue_line("markers", "keda: needs KEDA; part of make e2e-keda alone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.timeout(LONGEST_S))
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down how things are as soon as something has failed, before anything is taken away."""
    report = yield
    lab = item.config.stash.get(_LAB, None)
    if report.failed and lab is not None:
        folder = evidence.collect(item.name, lab.open)
        report.sections.append(("What there was", f"Status, events, logs and history: {folder}"))
    return report


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The cluster, with nothing of an earlier run in it."""
    assert KUBECONFIG.exists(), "there is no cluster: run `make cluster`, or `make e2e`, which does"
    kube = Kube(parts.binary("kubectl"), KUBECONFIG)
    lab = Lab(kube, parts.binary("helm"), docker.environment())
    request.config.stash[_LAB] = lab
    shutil.rmtree(evidence.ROOT, ignore_errors=True)
    with step("taking away what an earlier run has left"):
        lab.clear()
    return lab


@pytest.fixture(scope="session")
def operator(lab: Lab) -> Iterator[Operator]:
    """The operator, installed with its chart."""
    with operator_namespace(lab) as (kube, history):
        with step("helm install switchboard-operator"):
            operator = install_operator(lab, kube, history)
        yield operator


@pytest.fixture(scope="session")
def first(lab: Lab, operator: Operator) -> Iterator[Installation]:  # noqa: ARG001 - it has to be there
    """The installation that most scenarios look at. Each of them leaves it ready."""
    with installed(lab, "e2e-first", api_replicas=3) as installation:
        yield installation


@pytest.fixture(scope="session")
def second(lab: Lab, operator: Operator) -> Iterator[Installation]:  # noqa: ARG001 - it has to be there
    """The installation that is put under load. What it stands on keeps away from the node that will be drained."""
    with ExitStack() as stack:
        with lab.cordoned(lab.spare_node):
            installation = stack.enter_context(installed(lab, "e2e-second", api_replicas=2))
        yield installation


@pytest.fixture(scope="session")
def calls(request: pytest.FixtureRequest) -> int:
    """How many calls the campaign after the installation makes."""
    found: int = request.config.getoption("--calls")
    return found


@pytest.fixture(scope="session")
def failing_release(lab: Lab) -> None:
    """The image of the next release that migrates; its others are not needed while that fails."""
    kind.load(releases.build(lab.docker, [releases.NEXT], ["api"]))


@pytest.fixture(scope="session")
def later_releases(lab: Lab) -> None:
    """All images of the next releases."""
    kind.load(releases.build(lab.docker))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """How long each scenario took, as it goes along."""
    if report.when == "call":
        say(f"    {report.duration:.0f} s")
