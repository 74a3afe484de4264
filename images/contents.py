"""What each image contains. Pure: which packages of ours, and which wheels of others go into which layer."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = "3.11"
"""Minor version of Python in the base image."""

SHARED = "shared"
"""The layer that all images but the operator's have in common."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    SHARED: ("switchboard-core", "switchboard-cli"),
    "api": ("switchboard-api",),
    "worker": ("switchboard-worker",),
    "recorder": ("switchboard-recorder",),
    "simulator": ("switchboard-simulator",),
    "trial": ("switchboard-cli[demo]",),
    "operator": ("switchboard-operator",),
}
"""Layers of third-party packages, and the packages of ours that need them."""

IMAGES = tuple(group for group in GROUPS if group != SHARED)

# glibc of the base image. A wheel built for an older one runs on it too.
_NEWEST_GLIBC, _OLDEST_GLIBC = 36, 5
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class ContentsError(Exception):
    """The images cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Locked:
    """One package at the version that the lock file names.

    Attributes:
        name: canonical name.
        line: the requirement with its hashes and without its marker, for ``pip download --require-hashes``.
    """

    name: str
    line: str


def locked_packages(exported: str, machine: str) -> list[Locked]:
    """Read what ``uv export`` wrote, and keep what an image needs.

    Markers are decided for the image, not for the Python that runs this.

    Args:
        exported: requirements with hashes; ours are among them as ``-e`` lines and left out.
        machine: the image's architecture, as Docker calls it.
    """
    logical = re.sub(r"\\\n", " ", exported).splitlines()
    packages = []
    for line in filter(None, (line.strip() for line in logical)):
        if line.startswith(("#", "-e ", "./")):
            continue
        written, *hashes = line.split(" --hash=")
        requirement = Requirement(written.strip())
        if requirement.marker is None or requirement.marker.evaluate(_environment(machine)):
            requirement.marker = None
            whole = " ".join([str(requirement), *(f"--hash={each.strip()}" for each in hashes)])
            packages.append(Locked(canonicalize_name(requirement.name), whole))
    return packages


def layered(needed: Mapping[str, Iterable[Locked]]) -> dict[str, list[Locked]]:
    """Take out of every layer what the shared one has already; the operator's stands alone.

    Args:
        needed: what the packages of each group need, the shared group among them.
    """
    shared = {package.name for package in needed[SHARED]}
    return {
        group: [package for package in packages if group in {SHARED, "operator"} or package.name not in shared]
        for group, packages in needed.items()
    }


def platform_tags(machine: str) -> list[str]:
    """The platform tags that run on the base image, best first.

    Args:
        machine: architecture as Docker calls it.

    Raises:
        ContentsError: there are no images for that architecture.
    """
    arch = _architecture(machine)
    tags = [f"manylinux_2_{minor}_{arch}" for minor in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)]
    return [*tags, f"manylinux2014_{arch}", f"manylinux2010_{arch}", f"manylinux1_{arch}", f"linux_{arch}"]


def _environment(machine: str) -> dict[str, str]:
    """What markers are decided for. The rest (release of the system, for example) no wheel may depend on."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": _architecture(machine),
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        # The lowest patch release: what only an older one needs, such as a backport, does no harm in a newer one.
        "python_full_version": f"{PYTHON}.0",
        "python_version": PYTHON,
        "sys_platform": "linux",
    }


def _architecture(machine: str) -> str:
    if machine not in _MACHINES:
        raise ContentsError(f"There are no images for {machine}: build for {' or '.join(_MACHINES)}.")
    return _MACHINES[machine]
