"""The cluster that scenarios run in: namespaces with their histories, helm, images, and the nodes themselves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.console import say
from e2e import evidence
from e2e.history import KINDS, History
from e2e.kube import Json, Kube, program
from e2e.manifests import namespace

CHECKOUT = Path(__file__).parents[2]
OPERATOR_CHART = CHECKOUT / "charts" / "switchboard-operator"
CHART = CHECKOUT / "charts" / "switchboard"
OPERATOR_NAMESPACE = "switchboard-system"
OPERATOR_RELEASE = "switchboard-operator"
OWN_NAMESPACES = "switchboard.dev/e2e=true"
DEFINITION = "switchboards.switchboard.dev"
_OPERATOR_KINDS = ("leases", "pods", "events")
_HELM_S = 600.0
_DELETE_S = 240.0


@dataclass
class Lab:
    """The cluster, and everything that is watched in it.

    Attributes:
        kube: the cluster.
        helm_binary: helm.
        docker: environment in which ``docker`` reaches the nodes.
        open: what is being watched, for evidence of a failure.
    """

    kube: Kube
    helm_binary: Path
    docker: Mapping[str, str]
    open: list[tuple[Kube, History]] = field(default_factory=list)

    @contextmanager
    def namespace(self, name: str, kinds: Sequence[str] = KINDS) -> Iterator[tuple[Kube, History]]:
        """A new namespace, watched from before there is anything in it, and deleted at the end."""
        kube = self.kube.within(name)
        with History(kube, tuple(kinds)) as history:
            self.kube.apply(namespace(name))
            opened = (kube, history)
            self.open.append(opened)
            try:
                yield opened
            except Exception:
                # Whoever sets something up in here has failed: once it is deleted nobody can look.
                say(f"what there was: {evidence.collect(f'setup-of-{name}', [opened])}")
                raise
            finally:
                self.open.remove(opened)
                self.kube.run("delete", "namespace", name, "--ignore-not-found", "--wait=false")

    def helm(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run helm and return what it printed.

        Raises:
            ProgramError: it failed.
        """
        return program([self.helm_binary, *arguments], self.kube.environment, stdin=stdin, timeout=_HELM_S)

    def clear(self) -> None:
        """Take away what an earlier run has left, also one that was stopped: the suite begins from nothing."""
        self.kube.run("uncordon", self.spare_node)
        self.helm("uninstall", OPERATOR_RELEASE, "--namespace", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait")
        leftovers = self.kube.run("get", "namespaces", "-l", OWN_NAMESPACES, "-o", "name").split()
        if leftovers:
            self.kube.run("delete", *leftovers, timeout=_DELETE_S)
        self.kube.run("delete", "customresourcedefinition", DEFINITION, "--ignore-not-found", timeout=_DELETE_S)

    @property
    def spare_node(self) -> str:
        """A node that scenarios may empty."""
        nodes = self.kube.run("get", "nodes", "-l", "!node-role.kubernetes.io/control-plane", "-o", "name").split()
        return nodes[-1].removeprefix("node/")

    @contextmanager
    def cordoned(self, node: str) -> Iterator[None]:
        """A node that takes no new pods."""
        self.kube.run("cordon", node)
        try:
            yield
        finally:
            self.kube.run("uncordon", node)

    def signal(self, pod: Json, name: str) -> None:
        """Send a signal to every process of a pod's container, from outside, where not even PID 1 can refuse it.

        Args:
            pod: with one container.
            name: of the signal, such as ``KILL``.
        """
        container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        inside = ["ctr", "--namespace", "k8s.io", "tasks", "kill", "--all", "--signal", f"SIG{name}", container]
        program(["docker", "exec", pod["spec"]["nodeName"], *inside], self.docker, timeout=30)


@dataclass
class Operator:
    """The operator as it was installed.

    Attributes:
        kube: its namespace.
        history: of its pods, its Lease and its Events.
    """

    kube: Kube
    history: History

    def leader(self) -> str:
        """Name of the pod that holds the Lease."""
        found: str = self.history.wait(lambda: _holder(self.history), "somebody to hold the Lease", 40)
        return found

    def scale(self, replicas: int) -> None:
        """Have so many replicas, and wait until they are there, and no others."""
        self.kube.run("scale", f"deployment/{OPERATOR_RELEASE}", f"--replicas={replicas}")
        self.await_replicas(replicas)

    def await_replicas(self, replicas: int = 2) -> None:
        """Wait until so many replicas are ready, and there are no others."""
        self.history.wait(
            lambda: [_is_ready(pod) for pod in self.history.live("pods")] == [True] * replicas,
            f"{replicas} operators to be ready",
            120,
        )


def install_operator(lab: Lab, kube: Kube, history: History) -> Operator:
    """Install the operator's chart as people do."""
    lab.helm("install", OPERATOR_RELEASE, OPERATOR_CHART, "--namespace", kube.namespace, "--wait", "--timeout", "5m")
    return Operator(kube, history)


@contextmanager
def operator_namespace(lab: Lab) -> Iterator[tuple[Kube, History]]:
    """The operator's own namespace."""
    with lab.namespace(OPERATOR_NAMESPACE, _OPERATOR_KINDS) as opened:
        yield opened


def _holder(history: History) -> str:
    """Who holds the Lease; empty while nobody does."""
    for lease in history.live("leases"):
        if holder := lease["spec"].get("holderIdentity"):
            return str(holder)
    return ""


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    is_leaving = "deletionTimestamp" in pod["metadata"]
    return not is_leaving and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
