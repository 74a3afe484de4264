"""The programs that the tests need, built from pinned Go modules and kept by the hash of what they are built from."""

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.commands import lock, run
from cluster.console import say
from cluster.errors import ClusterError
from cluster.hashing import key
from cluster.settings import KUBERNETES, PACKAGE, cache_root

STRIPPED = "-s -w"
UNITTEST = "github.com/helm-unittest/helm-unittest"
STAMP = "k8s.io/component-base/version"
KUBERNETES_FLAGS = (
    f"{STRIPPED} -X {STAMP}.gitVersion={KUBERNETES}"
    f" -X {STAMP}.gitMajor={KUBERNETES.split('.')[0].lstrip('v')} -X {STAMP}.gitMinor={KUBERNETES.split('.')[1]}"
)


class MissingPartError(ClusterError):
    """A program has not been built yet, or cannot be built here."""


@dataclass(frozen=True)
class Part:
    """One program.

    Attributes:
        name: what it is called in the tests.
        group: what is built together: ``python -m cluster parts GROUP``.
        package: the Go package of its ``main``.
        version: of the module that holds the package; with a ``tree`` it is the tree that pins it.
        tree: the folder below ``go/`` whose go.mod and go.sum pin every dependency. Without one the module's own count,
            as far as the module can be installed by itself.
        flags: for the linker.
    """

    name: str
    group: str
    package: str
    version: str
    tree: str | None = None
    flags: str = STRIPPED

    @property
    def sources(self) -> Path | None:
        """The folder of its tree."""
        return PACKAGE / "go" / self.tree if self.tree else None

    def key(self, go: str) -> str:
        """Return the hash of everything that goes into the program.

        Args:
            go: what ``go_version`` says.
        """
        files = [self.sources] if self.sources else []
        return key(self.package, self.version, self.flags, go, files=files)


def _kubernetes(name: str, group: str) -> Part:
    return Part(name, group, f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, "kubernetes", KUBERNETES_FLAGS)


PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part("etcd", "apiserver", "go.etcd.io/etcd/server/v3", "v3.6.4", "kubernetes"),
        _kubernetes("kube-apiserver", "apiserver"),
        _kubernetes("kube-controller-manager", "apiserver"),
        _kubernetes("kubectl", "apiserver"),
        Part("helm", "tools", "helm.sh/helm/v3/cmd/helm", "v3.19.0"),
        Part("helm-unittest", "tools", f"{UNITTEST}/cmd/helm-unittest", "v1.1.2", "helm-unittest"),
        Part("kubeconform", "tools", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0"),
        Part("actionlint", "tools", "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12"),
        Part("docker-compose", "tools", "github.com/docker/compose/v2/cmd", "v2.40.3", "compose"),
        Part("kind", "kind", "sigs.k8s.io/kind", "v0.33.0"),
        _kubernetes("kubelet", "node"),
        _kubernetes("kubeadm", "node"),
        _kubernetes("kube-proxy", "node"),
        _kubernetes("kube-scheduler", "node"),
        Part("coredns", "node", "github.com/coredns/coredns", "v1.12.4"),
        Part("local-path-provisioner", "node", "github.com/rancher/local-path-provisioner", "v0.0.30"),
        Part("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "v0.7.0"),
        Part("keda-operator", "keda", "github.com/kedacore/keda/v2/cmd/operator", "v2.20.2", "keda"),
        Part("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter", "v2.20.2", "keda"),
    )
}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(part.group for part in PARTS.values()))
# What `make parts` builds everywhere; the group "node" is needed only where no registry can be reached.
USUAL_GROUPS = ("apiserver", "tools", "kind")


def plan(groups: Sequence[str]) -> list[Part]:
    """Return the parts of some groups in the order in which they are built.

    Raises:
        ClusterError: there is no such group.
    """
    for group in groups:
        if group not in GROUPS:
            raise ClusterError(f"There is no group of parts named {group!r}; there are: {', '.join(GROUPS)}.")
    return [part for part in PARTS.values() if part.group in groups]


def binary(name: str) -> Path:
    """Return the path of a program that has been built.

    Args:
        name: as in ``PARTS``.

    Raises:
        MissingPartError: it has not been built; the sentence says which command does.
    """
    part = PARTS[name]
    built = _place(part)
    if not built.exists():
        raise MissingPartError(f"{name} {part.version} is not built yet: run `{_command_for(part)}`.")
    return built


def ensure(groups: Sequence[str]) -> list[Path]:
    """Build the parts of some groups that are not there yet, with a line for each, and return their paths.

    Raises:
        ClusterError: one cannot be built.
    """
    return [ensure_part(part) for part in plan(groups)]


def ensure_all(names: Iterable[str]) -> list[Path]:
    """Build some parts by name, as ``ensure`` does."""
    return [ensure_part(PARTS[name]) for name in names]


def ensure_part(part: Part) -> Path:
    """Build one part unless it is there, say which of both, and return its path.

    Raises:
        ClusterError: it cannot be built.
    """
    built = _place(part)
    with lock(cache_root() / "parts.lock"):
        if built.exists():
            say(f"{part.name} {part.version}: cached")
            return built
        say(f"{part.name} {part.version}: building …")
        began = time.monotonic()
        _build(part, built)
        say(f"{part.name} {part.version}: built in {time.monotonic() - began:.0f} s")
    return built


@functools.cache
def go_version() -> str:
    """Return Go's version and the system and processor that it builds for.

    Raises:
        MissingPartError: Go is not installed.
    """
    if not shutil.which("go"):
        raise MissingPartError("Go is not installed, and the test programs are built with it: install Go 1.26.")
    return " ".join(run(["go", "env", "GOVERSION", "GOOS", "GOARCH"], cwd=Path("/")).split())


def build_command(part: Part, target: Path) -> list[str]:
    """Return the command that builds a part into a folder that holds nothing else."""
    if part.tree:
        return ["go", "build", "-ldflags", part.flags, "-o", str(target / part.name), part.package]
    return ["go", "install", "-ldflags", part.flags, f"{part.package}@{part.version}"]


def _place(part: Part) -> Path:
    return cache_root() / "parts" / f"{part.name}-{part.key(go_version())}" / part.name


def _command_for(part: Part) -> str:
    return "make parts" if part.group in USUAL_GROUPS else f"make parts ARGS={part.group}"


def _build(part: Part, built: Path) -> None:
    built.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent.parent, prefix=".building-") as folder:
        target = Path(folder) / part.name
        target.mkdir()
        env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOBIN": str(target), "GOWORK": "off"}
        try:
            run(build_command(part, target), env=env, cwd=part.sources or Path(folder), timeout=3600)
        except ClusterError as error:
            raise ClusterError(
                f"{error}\n{part.name} {part.version} cannot be built: Go needs its module proxy, or a module cache"
                " that holds everything already."
            ) from error
        # `go install` names a program after its package's folder, which can be plain "cmd".
        (only,) = target.iterdir()
        only.rename(target / part.name)
        target.rename(built.parent)
