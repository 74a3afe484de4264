"""``python -m cluster``: what the Makefile calls."""

import argparse
import sys
from collections.abc import Sequence

from cluster import base_image, docker, kind, node_image, parts
from cluster.console import answer, say
from cluster.errors import ClusterError


def main(words: Sequence[str]) -> int:
    """Run one command.

    Args:
        words: the command line, without the program's name.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(words)
    try:
        _run(arguments)
    except ClusterError as error:
        say(f"cluster: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description="A real Kubernetes for the tests.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("parts", help="build the programs that the tests need, or those of some groups")
    build.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(parts.GROUPS))
    commands.add_parser("docker", help="find or start a Docker engine, and print how a shell reaches it")
    commands.add_parser("base-image", help="make sure of the base of the product's images, and print its name")
    commands.add_parser("up", help="make sure that a healthy cluster runs")
    load = commands.add_parser("load", help="copy images to every node")
    load.add_argument("images", nargs="+", metavar="IMAGE")
    down = commands.add_parser("down", help="delete the cluster")
    down.add_argument("--all", action="store_true", help="stop the private Docker engine too")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "parts":
            _parts(arguments.groups)
        case "docker":
            answer(f"export DOCKER_HOST={docker.endpoint(docker.ensure())}")
        case "base-image":
            answer(base_image.product_base(docker.ensure()))
        case "up":
            kind.up()
        case "load":
            kind.load(arguments.images)
        case "down":
            kind.down()
            if arguments.all:
                docker.stop()


def _parts(groups: Sequence[str]) -> None:
    parts.ensure(groups or parts.USUAL_GROUPS)
    if not groups or "node" in groups:
        say(f"node image: {node_image.choose(docker.ensure()).reference}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
