"""Later releases than this one, made from its images: see ``later_releases/``."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from e2e.kube import program
from switchboard_core.migrate import CODE_SEQ

FOLDER = Path(__file__).with_name("later_releases")
ROLES = ("api", "worker", "recorder")
REPOSITORY = "switchboard"

THIS = version("switchboard-core")
NEXT = f"{THIS}-next"
"""Its expand migration fails while a business is called ``Obstacle``; this release runs on its schema."""
BREAKING = f"{THIS}-breaking"
"""Its contract migration leaves no older release able to run."""

SEQUENCES = {THIS: CODE_SEQ, NEXT: CODE_SEQ + 1, BREAKING: CODE_SEQ + 2}
"""The newest expand migration of each."""

_SOURCES = {NEXT: ("next", THIS), BREAKING: ("breaking", NEXT)}
_BUILD_S = 300.0


def build(
    environment: Mapping[str, str], versions: Sequence[str] = (NEXT, BREAKING), roles: Sequence[str] = ROLES
) -> list[str]:
    """Build later releases; returns the names of their images.

    Args:
        environment: in which ``docker`` reaches the engine that has this release's images.
        versions: which, each after the one that it is made from.
        roles: images of these.
    """
    made = []
    for release in versions:
        folder, before = _SOURCES[release]
        for role in roles:
            image = f"{REPOSITORY}-{role}:{release}"
            arguments = {"BASE": f"{REPOSITORY}-{role}:{before}", "FOLDER": folder, "VERSION": release}
            options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
            command = ["docker", "build", "--quiet", *options, "--tag", image, str(FOLDER)]
            program(command, environment, timeout=_BUILD_S)
            made.append(image)
    return made
