#!/usr/bin/env python3
"""Check the workflows of hosted continuous integration with the actionlint that `make parts` builds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from cluster import parts  # noqa: E402 - found on the path that was just set
from cluster.errors import ClusterError  # noqa: E402


def main() -> int:
    """Run it; returns its exit status, or 1 with a sentence where it is missing."""
    try:
        program = parts.binary("actionlint")
    except ClusterError as error:
        sys.stderr.write(f"workflows: {error}\n")
        return 1
    return subprocess.run([program], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
