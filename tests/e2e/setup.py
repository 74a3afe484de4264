"""``helm install`` of a Switchboard for trials, small enough for a whole cluster on two cores."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cluster.console import step
from e2e.history import KINDS
from e2e.installation import Installation
from e2e.kube import Json
from e2e.lab import CHART, CHECKOUT, Lab
from e2e.releases import THIS

NAME = "main"
EXAMPLE = CHECKOUT / "examples" / "values-trial.yaml"
SMALL = {
    "requests": {"cpu": "10m", "memory": "96Mi", "ephemeral-storage": "16Mi"},
    "limits": {"memory": "512Mi"},
}
CALLS_POOL, BULK_POOL = "calls", "bulk"
BULK_QUEUES = ["low", "receipts", "receipts_sync", "maintenance", "broadcasts"]


def values(*, api_replicas: int) -> Json:
    """Values beside those of the example.

    Args:
        api_replicas: of the api; every other Deployment has one.
    """
    return {
        "spec": {
            "version": THIS,
            "api": {"replicas": api_replicas, "resources": SMALL},
            "workers": workers(),
            "recorder": {"replicas": 1, "autoscaling": None, "resources": SMALL},
            "migrations": {"backoffLimit": 1, "resources": SMALL},
            # Turning speech into text is the recorder's own tests' matter, and most of the work that it would do here.
            "env": [{"name": "TRANSCRIPTION_ENGINE", "value": "none"}],
        },
        "trial": {"resources": SMALL},
    }


def workers(**bulk: object) -> list[Json]:
    """Both pools; the keywords change the one for bulk work."""
    return [
        {"name": CALLS_POOL, "queues": ["high", "default"], "replicas": 1, "resources": SMALL},
        {"name": BULK_POOL, "queues": BULK_QUEUES, "resources": SMALL, **(bulk or {"replicas": 1})},
    ]


def helm_install(lab: Lab, namespace: str, chosen: Mapping[str, Any], *options: str, command: str = "install") -> str:
    """Install or upgrade the chart with the example's values and some more; returns what helm printed.

    Args:
        lab: the cluster.
        namespace: of the release.
        chosen: values.
        options: further ones of helm's.
        command: ``install`` or ``upgrade``.
    """
    files = ("--values", EXAMPLE, "--values", "-")
    return lab.helm(command, NAME, CHART, "--namespace", namespace, *files, *options, stdin=json.dumps(chosen))


@contextmanager
def installed(lab: Lab, namespace: str, *, api_replicas: int, kinds: Sequence[str] = KINDS) -> Iterator[Installation]:
    """A namespace with a Switchboard that serves.

    Args:
        lab: the cluster, with the operator in it.
        namespace: to make.
        api_replicas: of the api.
        kinds: that are watched.
    """
    with lab.namespace(namespace, kinds) as (kube, history):
        with step(f"helm install switchboard in {namespace}"):
            helm_install(lab, namespace, values(api_replicas=api_replicas), "--wait", "--timeout", "8m")
        installation = Installation(kube, history, NAME)
        installation.await_release(THIS, 60)
        installation.await_rest()
        yield installation
