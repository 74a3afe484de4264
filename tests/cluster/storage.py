"""Volumes that pods on different nodes can share, behind the default StorageClass."""

import json
from pathlib import Path

from cluster.kubectl import apply, kubectl, read
from cluster.settings import cache_root

NAMESPACE = "local-path-storage"
# One folder of this machine, mounted into every node.
ON_THE_NODES = "/switchboard-shared"
SETTINGS = json.dumps({"sharedFileSystemPath": ON_THE_NODES})


def on_this_machine() -> Path:
    """Return the folder below which every volume of the cluster lies."""
    return cache_root() / "volumes"


def share() -> None:
    """Let the provisioner put volumes into the shared folder, which allows ReadWriteMany, if it does not yet.

    kind's public node image brings the same provisioner, set up for a folder of each node's own.
    """
    data = read("configmap", "local-path-config", "--namespace", NAMESPACE)["data"]
    if data["config.json"] == SETTINGS:
        return
    apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "local-path-config", "namespace": NAMESPACE},
            "data": {**data, "config.json": SETTINGS},
        }
    )
    kubectl("rollout", "restart", "deployment/local-path-provisioner", "--namespace", NAMESPACE)
