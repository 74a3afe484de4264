"""kubectl against the test cluster."""

import json
import os
from pathlib import Path
from typing import Any

from cluster import parts
from cluster.commands import run
from cluster.settings import KUBECONFIG

SECONDS = 120.0


def kubectl(*arguments: str | Path, stdin: str | None = None, timeout: float = SECONDS) -> str:
    """Run kubectl against the test cluster and return what it printed.

    Args:
        arguments: after ``kubectl``.
        stdin: what it reads.
        timeout: seconds.

    Raises:
        ClusterError: it failed; the text holds what it said.
    """
    env = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}
    return run([parts.binary("kubectl"), *arguments], env=env, stdin=stdin, timeout=timeout)


def read(*arguments: str) -> dict[str, Any]:
    """Return an object or a list of objects: ``kubectl get … --output json``."""
    found: dict[str, Any] = json.loads(kubectl("get", *arguments, "--output", "json"))
    return found


def apply(manifest: dict[str, Any]) -> None:
    """Create an object or change it to what is given."""
    kubectl("apply", "--server-side", "--force-conflicts", "--filename", "-", stdin=json.dumps(manifest))
