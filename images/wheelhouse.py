"""The wheels that images are built from: fetched once for each lock file, ours built from the sources."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from images.contents import GROUPS, PYTHON, ContentsError, Locked, layered, locked_packages, platform_tags

# uv cannot download wheels for another platform; pip can, and uv brings it.
_PIP = "pip==26.1"
_PAGES = "services/api/src/switchboard_api/web_dist/index.html"


def prepare(root: Path, machine: str) -> Path:
    """Make the wheelhouse agree with the lock file and the sources.

    Nothing is fetched when the lock file asks for what is there already.

    Args:
        root: the checkout.
        machine: architecture of the images as Docker calls it, such as ``amd64``.

    Returns:
        The wheelhouse: a folder for each layer, and one for the wheels of ours.

    Raises:
        ContentsError: a program failed or is missing.
    """
    folder = root / ".tools" / "wheelhouse" / f"linux-{machine}"
    folder.mkdir(parents=True, exist_ok=True)
    uv = _uv(root)
    needed = {group: _exported(root, uv, group, machine) for group in GROUPS}
    for group, packages in layered(needed).items():
        _fetch(root, uv, folder / group, packages, platform_tags(machine))
    _build_own(root, uv, folder / "own")
    return folder


def _exported(root: Path, uv: Path, group: str, machine: str) -> list[Locked]:
    """What the packages of a group need, each once."""
    found: dict[str, Locked] = {}
    for package in GROUPS[group]:
        requirement = Requirement(package)
        extras = [part for extra in sorted(requirement.extras) for part in ("--extra", extra)]
        command: list[str | Path] = [uv, "export", "--quiet", "--frozen", "--no-dev", "--no-header", "--no-annotate"]
        exported = _run(root, [*command, "--package", requirement.name, *extras])
        found |= {locked.name: locked for locked in locked_packages(exported, machine)}
    return sorted(found.values(), key=lambda locked: locked.name)


def _fetch(root: Path, uv: Path, folder: Path, packages: Sequence[Locked], tags: Sequence[str]) -> None:
    """Have exactly the wheels of one layer in a folder; its list beside it is written last: then it is whole."""
    wanted = "".join(f"{package.line}\n" for package in packages)
    listed = folder.with_suffix(".txt")
    if listed.exists() and listed.read_text(encoding="utf-8") == wanted:
        return
    listed.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if packages:
        requirements = folder.with_suffix(".wanted")
        requirements.write_text(wanted, encoding="utf-8")
        platforms = [part for tag in tags for part in ("--platform", tag)]
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary=:all:"]
        target = ["--implementation", "cp", "--python-version", PYTHON, *platforms]
        files: list[str | Path] = ["--requirement", requirements, "--dest", folder]
        _run(root, [uv, "tool", "run", "--quiet", "--from", _PIP, "pip", "download", *options, *target, *files])
        requirements.rename(listed)
    else:
        listed.write_text(wanted, encoding="utf-8")


def _build_own(root: Path, uv: Path, folder: Path) -> None:
    """Build wheels of our own packages; unchanged sources give unchanged files, so later layers stay in the cache."""
    if not (root / _PAGES).exists():
        raise ContentsError("The pages that the api serves are not built: run `make web`, then try again.")
    constraints = root / "images" / "build-constraints.txt"
    options = ["--quiet", "--wheel", "--all-packages", "--clear", "--no-create-gitignore"]
    pinned: list[str | Path] = ["--build-constraints", constraints, "--require-hashes"]
    _run(root, [uv, "build", *options, *pinned, "--out-dir", folder])


def _uv(root: Path) -> Path:
    own = root / ".tools" / "uv-venv" / "bin" / "uv"
    found = own if own.exists() else shutil.which("uv")
    if found is None:
        raise ContentsError("uv is needed to build images: run `make setup`, which fetches it.")
    return Path(found)


def _run(root: Path, command: Sequence[str | Path]) -> str:
    words = [str(word) for word in command]
    temporary = root / ".tools" / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    # uv keeps lock files in TMPDIR; in a shared /tmp another user's would be in the way.
    env = {**os.environ, "TMPDIR": str(temporary)}
    ended = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise ContentsError(f"`{' '.join(words[:3])}` failed:\n{ended.stderr.strip()}")
    return ended.stdout
