"""Building with the Docker engine, by BuildKit or by the classic builder, whichever there is."""

import os
import subprocess
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from images.contents import ContentsError

_LINES_SHOWN = 40


@dataclass(frozen=True)
class Build:
    """What all images of one build have in common.

    Attributes:
        root: the checkout.
        repository: first part of each image's name.
        version: tag and label.
        machine: architecture as Docker calls it.
        base_image: what they are built on; None for the Dockerfile's default.
        source: URL of the source code, possibly empty.
    """

    root: Path
    repository: str
    version: str
    machine: str
    base_image: str | None
    source: str

    def reference(self, image: str) -> str:
        """Name and tag of an image."""
        return f"{self.repository}-{image}:{self.version}"

    def command(self, image: str, revision: str, created: str) -> list[str]:
        """The command that builds one image."""
        arguments = {
            "TARGETARCH": self.machine,
            "VERSION": self.version,
            "REVISION": revision,
            "CREATED": created,
            "SOURCE": self.source,
            **({"BASE_IMAGE": self.base_image} if self.base_image else {}),
        }
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        return ["docker", "build", "--target", image, "--tag", self.reference(image), *given, "."]


def machine() -> str:
    """Architecture of the Docker engine.

    Raises:
        ContentsError: it does not answer.
    """
    return _docker(["version", "--format", "{{.Server.Arch}}"]).strip()


def project_version(root: Path) -> str:
    """The version that the project has in its pyproject.toml."""
    with (root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def build_all(build: Build, images: Sequence[str]) -> None:
    """Build images one after the other and say how large they are.

    Raises:
        ContentsError: one could not be built; carries the end of what the builder said.
    """
    revision, created = _revision(build.root), _created(build.root)
    for image in images:
        with step(build.reference(image)):
            _docker(build.command(image, revision, created)[1:], cwd=build.root)
    for image in images:
        size = int(_docker(["image", "inspect", "--format", "{{.Size}}", build.reference(image)]))
        _say(f"{build.reference(image):40} {size / 1e6:6.0f} MB")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    began = time.monotonic()
    _say(f"{what} …")
    yield
    _say(f"{what} took {time.monotonic() - began:.1f} s")


def _revision(root: Path) -> str:
    """The commit, marked when files differ from it; ``unknown`` outside a repository."""
    return _git(root, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40") or "unknown"


def _created(root: Path) -> str:
    """When the sources were made, rather than the image: the same sources give the same labels."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.isoformat(timespec="seconds")


def _git(root: Path, *arguments: str) -> str:
    try:
        ended = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def _docker(arguments: Sequence[str], cwd: Path | None = None) -> str:
    try:
        ended = subprocess.run(["docker", *arguments], cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        raise ContentsError("docker is needed to build images and is not on the PATH: install Docker.") from None
    if ended.returncode != 0:
        said = [*ended.stdout.splitlines(), *ended.stderr.splitlines()][-_LINES_SHOWN:]
        raise ContentsError("\n".join([f"`docker {arguments[0]}` failed:", *said]))
    return ended.stdout


def _say(line: str) -> None:
    print(f"images: {line}", flush=True)  # noqa: T201 - what a person watches
