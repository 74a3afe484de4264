"""``python -m e2e.ready``: put this release's images into the cluster."""

import sys

from cluster import kind
from cluster.errors import ClusterError
from e2e.releases import REPOSITORY, THIS

IMAGES = ("api", "worker", "recorder", "operator", "simulator", "trial")


def main() -> int:
    """Load them; returns the exit status."""
    try:
        kind.load([f"{REPOSITORY}-{image}:{THIS}" for image in IMAGES])
    except ClusterError as error:
        sys.stderr.write(f"e2e: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
