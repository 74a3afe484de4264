"""The image that kind's nodes run: the public one, or one built here where no registry can be reached."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import base_image, parts
from cluster.commands import lock, run, succeeds
from cluster.console import step
from cluster.errors import ClusterError
from cluster.hashing import key
from cluster.settings import KUBERNETES, PACKAGE, PUBLIC_NODES, cache_root, kubernetes_minor

NAME = "switchboard-node"
FILES = PACKAGE / "node"
# A name that no registry serves: a pod that would be pulled instead of found fails at once.
REPOSITORY = "local/k8s"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
SERVICES = ("kube-proxy", "coredns", "local-path-provisioner")
MACHINE = ("kubeadm", "kubelet", "kubectl")
PROGRAMS = (*CONTROL_PLANE, *SERVICES, *MACHINE)
PAUSE = f"{REPOSITORY}/pause:1"
SERVICE = f"{REPOSITORY}/node:1"


@dataclass(frozen=True)
class NodeImage:
    """What the nodes run.

    Attributes:
        reference: the image's name.
        own: it was built here, and brings no network between the pods.
    """

    reference: str
    own: bool


def choose(env: Mapping[str, str]) -> NodeImage:
    """Return the node image, after making sure that the engine has it: pulled if that is possible, else built.

    Args:
        env: the environment that reaches the Docker engine.

    Raises:
        ClusterError: it can be neither pulled nor built here.
    """
    minor = kubernetes_minor(env)
    refusal = why_no_own(minor)
    if base_image.pulled(PUBLIC_NODES[minor], env, None if refusal else _reference()):
        return NodeImage(PUBLIC_NODES[minor], own=False)
    if refusal:
        raise ClusterError(refusal)
    return NodeImage(ensure(env), own=True)


def why_no_own(minor: str) -> str | None:
    """Return the sentence that says why no node image of a Kubernetes minor is built here, or None when one is."""
    own = KUBERNETES.removeprefix("v").rpartition(".")[0]
    if minor == own:
        return None
    return f"Kubernetes {minor} needs kind's public node image and no registry can be reached; {own} can be built here."


def control_plane_tags() -> dict[str, str]:
    """Return the images of the control plane, by the program that each is for."""
    versions = dict.fromkeys(CONTROL_PLANE, KUBERNETES) | {"etcd": parts.PARTS["etcd"].version}
    return {name: f"{REPOSITORY}/{name}:{version}" for name, version in versions.items()}


def service_tags() -> dict[str, tuple[str, ...]]:
    """Return the images that every node needs, by the stage of ``services.Dockerfile`` that makes them."""
    return {
        "node": (SERVICE, f"{REPOSITORY}/kube-proxy:{KUBERNETES}"),
        "coredns": (f"{REPOSITORY}/coredns:{parts.PARTS['coredns'].version}",),
        "pause": (PAUSE,),
    }


def own_reference(program_keys: Iterable[str]) -> str:
    """Return the name of the image built here, which changes with everything that goes into it."""
    tags = [control_plane_tags(), service_tags()]
    return f"{NAME}:{key(sorted(program_keys), base_image.NODE.reference, KUBERNETES, tags, files=[FILES])}"


def ensure(env: Mapping[str, str]) -> str:
    """Build the node image unless the engine has it, with the programs that go into it, and return its name.

    Raises:
        ClusterError: it cannot be built here.
    """
    reference = _reference()
    with lock(cache_root() / f"{NAME}.lock"):
        if not base_image.exists(reference, env):
            parts.ensure_all(PROGRAMS)
            base = base_image.ensure(base_image.NODE, env)
            with step(f"building {reference}"), tempfile.TemporaryDirectory(dir=cache_root(), prefix=NAME) as folder:
                _build(Path(folder), base, reference, env)
            _remove_others(reference, env)
    return reference


def _reference() -> str:
    go = parts.go_version()
    return own_reference(parts.PARTS[name].key(go) for name in PROGRAMS)


def _build(folder: Path, base: str, reference: str, env: Mapping[str, str]) -> None:
    images = folder / "images"
    images.mkdir()
    _control_plane(folder / "control-plane", images / "control-plane.tar", env)
    _services(folder / "services", images / "services.tar", base, env)
    context = _context(folder / "node", MACHINE)
    for file in FILES.iterdir():
        shutil.copy(file, context)
    images.rename(context / "images")
    _docker_build("node", context, [reference], env, BASE_IMAGE=base, KUBERNETES=KUBERNETES)


def _remove_others(reference: str, env: Mapping[str, str]) -> None:
    """Free the space of node images that were built from something else; one that a cluster runs on stays."""
    listed = run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", NAME], env=env).split()
    for other in set(listed) - {reference}:
        succeeds(["docker", "image", "rm", other], env=env)


def _control_plane(context: Path, archive: Path, env: Mapping[str, str]) -> None:
    tags = list(control_plane_tags().values())
    _docker_build("control-plane", _context(context, CONTROL_PLANE), tags, env)
    run(["docker", "save", "--output", archive, *tags], env=env)


def _services(context: Path, archive: Path, base: str, env: Mapping[str, str]) -> None:
    _context(context, SERVICES)
    for stage, tags in service_tags().items():
        _docker_build("services", context, tags, env, stage=stage, BASE_IMAGE=base)
    run(["docker", "save", "--output", archive, *(tag for tags in service_tags().values() for tag in tags)], env=env)


def _context(folder: Path, programs: Iterable[str]) -> Path:
    """Make the folder of a build, with programs below ``bin/``."""
    (folder / "bin").mkdir(parents=True)
    for name in programs:
        (folder / "bin" / name).hardlink_to(parts.binary(name))
    return folder


def _docker_build(
    dockerfile: str, context: Path, tags: Iterable[str], env: Mapping[str, str], *, stage: str = "", **arguments: str
) -> None:
    command: list[str | Path] = ["docker", "build", "--file", FILES / f"{dockerfile}.Dockerfile"]
    for tag in tags:
        command += ["--tag", tag]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    if stage:
        command += ["--target", stage]
    run([*command, context], env=env)
