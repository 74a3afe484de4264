"""``python -m images``: build the container images."""

import argparse
import sys
from pathlib import Path

from images import engine, wheelhouse
from images.contents import IMAGES, ContentsError

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Build what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m images", description="Build Switchboard's container images.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"which: {', '.join(IMAGES)}; all by default")
    parser.add_argument("--version", help="tag and label; pyproject.toml's version by default")
    parser.add_argument(
        "--repository", default="switchboard", help="before -<image> in the name (default: switchboard)"
    )
    parser.add_argument("--base-image", help="slim image with Python 3.11; the Dockerfile's by default")
    parser.add_argument("--machine", help="architecture, such as amd64; the Docker engine's by default")
    parser.add_argument("--source", default="", help="URL of the source code, for the label")
    parser.add_argument("--wheelhouse", action="store_true", help="only fetch and build the wheels, into .tools/")
    options = parser.parse_args()
    if unknown := set(options.images) - set(IMAGES):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}")
    try:
        machine = options.machine or engine.machine()
        with engine.step("wheels"):
            wheelhouse.prepare(ROOT, machine)
        if not options.wheelhouse:
            version = options.version or engine.project_version(ROOT)
            made = engine.Build(ROOT, options.repository, version, machine, options.base_image, options.source)
            engine.build_all(made, options.images or IMAGES)
    except ContentsError as error:
        print(f"images: {error}", file=sys.stderr)  # noqa: T201 - what a person sees
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
