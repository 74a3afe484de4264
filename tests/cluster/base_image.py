"""Base images made from Debian's packages, where no container registry can be reached."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.commands import lock, run, succeeds
from cluster.console import step
from cluster.errors import ClusterError
from cluster.hashing import key
from cluster.settings import cache_root, image_source

SUITE = "bookworm"
PUBLIC_PYTHON = "python:3.11-slim-bookworm"
SECONDS_TO_PULL = 900.0


@dataclass(frozen=True)
class BaseImage:
    """A root file system out of Debian packages."""

    name: str
    packages: tuple[str, ...]
    # Not needed in a container, and half of its size.
    left_out: tuple[str, ...] = field(
        default=("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt/archives", "var/lib/apt/lists")
    )

    @property
    def reference(self) -> str:
        """The image's name and a tag that changes with its recipe."""
        return f"{self.name}:{key(SUITE, self.packages, self.left_out)}"


PRODUCT = BaseImage("switchboard-base", ("python3-minimal", "python3-venv", "ca-certificates", "tini"))
NODE = BaseImage(
    "switchboard-node-base",
    (
        *("systemd", "systemd-sysv", "dbus", "procps", "util-linux", "mount", "kmod", "hostname", "tini"),
        *("containerd", "runc", "containernetworking-plugins"),
        *("iproute2", "iptables", "nftables", "ebtables", "conntrack", "ethtool", "socat"),
        *("ca-certificates", "openssl", "curl", "jq"),
    ),
)


def product_base(env: Mapping[str, str]) -> str:
    """Return the image that the product's images are built upon, after making sure that the engine has it.

    Args:
        env: the environment that reaches the Docker engine.

    Returns:
        The public slim Python where a registry can be reached, else one made here from Debian's packages.
    """
    if pulled(PUBLIC_PYTHON, env, PRODUCT.reference):
        return PUBLIC_PYTHON
    return ensure(PRODUCT, env)


def exists(reference: str, env: Mapping[str, str]) -> bool:
    """Return whether the engine has an image."""
    return succeeds(["docker", "image", "inspect", reference], env=env)


def pulled(public: str, env: Mapping[str, str], stand_in: str | None) -> bool:
    """Return whether the engine has a public image or could pull it now.

    Args:
        public: the public image's reference.
        env: the environment that reaches the engine.
        stand_in: the image that is built where there is no registry, if any is; once it exists, no registry is asked.

    Raises:
        ClusterError: the public image is insisted on and cannot be pulled.
    """
    source = image_source(env)
    if source == "local":
        return False
    if exists(public, env):
        return True
    if source == "auto" and stand_in and exists(stand_in, env):
        return False
    try:
        with step(f"pulling {public}"):
            run(["docker", "pull", "--quiet", public], env=env, timeout=SECONDS_TO_PULL)
    except ClusterError as error:
        if source == "public":
            raise ClusterError(
                f"{error}\nMake a registry reachable, or unset SWITCHBOARD_IMAGE_SOURCE to build a stand-in here."
            ) from error
        return False
    return True


def ensure(image: BaseImage, env: Mapping[str, str]) -> str:
    """Build a base image unless the engine has it, and return its reference.

    Raises:
        ClusterError: it cannot be built here.
    """
    with lock(cache_root() / f"{image.name}.lock"):
        if not exists(image.reference, env):
            with step(f"building {image.reference} from Debian packages"):
                _build(image, env)
    return image.reference


def why_no_debootstrap(user: int, program: str | None) -> str | None:
    """Return the sentence that says why no base image can be made here, or None when it can."""
    if program is None:
        return (
            "No registry can be reached and debootstrap is not installed: install it (`apt-get install debootstrap`),"
            " or make a registry reachable."
        )
    if user != 0:
        return "No registry can be reached and only root can make base images with debootstrap: run this as root."
    return None


def _build(image: BaseImage, env: Mapping[str, str]) -> None:
    refusal = why_no_debootstrap(os.geteuid(), shutil.which("debootstrap"))
    if refusal:
        raise ClusterError(refusal)
    # In the cache folder: a temporary folder may forbid the device files that debootstrap makes.
    with tempfile.TemporaryDirectory(dir=cache_root(), prefix=f"{image.name}-") as folder:
        root = Path(folder) / "root"
        include = f"--include={','.join(image.packages)}"
        run(["debootstrap", "--variant=minbase", include, SUITE, root], env=env)
        for path in image.left_out:
            shutil.rmtree(root / path, ignore_errors=True)
        # An empty place for lists, so that apt works in a container that has the network for it.
        (root / "var/lib/apt/lists/partial").mkdir(parents=True)
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
            command = ["docker", "import", "-", image.reference]
            imported = subprocess.run(command, stdin=archive.stdout, stdout=subprocess.DEVNULL, env=env, check=False)
        if imported.returncode or archive.returncode:
            raise ClusterError(f"The Docker engine did not take {image.reference}; is its disk full?")
