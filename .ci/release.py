#!/usr/bin/env python3
"""What a release needs from the sources: one version everywhere, and notes. Standard library only.

``.ci/release.py check v1.2.0`` fails with a sentence for each thing that does not fit the tag. ``.ci/release.py notes
v1.2.0`` prints the changelog's section of that release.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = ("pyproject.toml", "*/pyproject.toml", "services/*/pyproject.toml")
# A tag of images and a version of charts: semantic versioning without build metadata, which image tags cannot hold.
TAG = re.compile(r"^v(?P<version>\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)$")


class ReleaseError(Exception):
    """Nothing can be released so; the message says what to do."""


def version_of(tag: str) -> str:
    """The version that a tag names.

    Raises:
        ReleaseError: the tag is not of the form ``v1.2.3``.
    """
    match = TAG.match(tag)
    if match is None:
        raise ReleaseError(f"The tag {tag} names no version: tag releases as v1.2.3 or v1.2.3-rc.1.")
    return match["version"]


def notes(changelog: str, version: str) -> str:
    """The section of a release in the changelog, without its heading.

    Raises:
        ReleaseError: there is none, or it is empty.
    """
    sections = re.split(r"^## \[", changelog, flags=re.MULTILINE)[1:]
    found = next((each for each in sections if each.startswith(f"{version}]")), "")
    text = found.partition("\n")[2].strip()
    if not text:
        raise ReleaseError(f"CHANGELOG.md says nothing about {version}: write a section `## [{version}] - <date>`.")
    return text


def wrong_versions(root: Path, version: str) -> Iterator[str]:
    """A sentence for each package and chart that has another version."""
    for path in sorted(path for pattern in PROJECTS for path in root.glob(pattern)):
        found = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"]
        if found != version:
            yield f"{path.relative_to(root)} has version {found}: set it to {version}."
    for path in sorted(root.glob("charts/*/Chart.yaml")):
        text = path.read_text(encoding="utf-8")
        for key in ("version", "appVersion"):
            match = re.search(rf"^{key}: *[\"']?([^\"'\s]+)", text, re.MULTILINE)
            if match is None or match[1] != version:
                yield f"{path.relative_to(root)} has {key} {match[1] if match else 'unset'}: set it to {version}."


def main(arguments: list[str]) -> int:
    """Check a tag, or print its notes; returns the exit status."""
    if len(arguments) != 2 or arguments[0] not in {"check", "notes"}:
        sys.stderr.write("release: use `release.py check TAG` or `release.py notes TAG`.\n")
        return 2
    try:
        version = version_of(arguments[1])
        text = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    if arguments[0] == "notes":
        sys.stdout.write(f"{text}\n")
        return 0
    wrong = list(wrong_versions(ROOT, version))
    sys.stderr.writelines(f"release: {sentence}\n" for sentence in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
