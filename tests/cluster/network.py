"""The pods' network of nodes built here: a bridge on each node, and routes between them. No network image is needed."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.commands import run
from cluster.errors import ClusterError
from cluster.kubectl import apply, kubectl, read

CONFIGURATION = "/etc/cni/net.d/10-bridge.conflist"
SECONDS_FOR_RANGES = 60.0


@dataclass(frozen=True)
class Node:
    """One node's place in the network: its own address, and the range from which its pods get theirs."""

    name: str
    address: str
    pods: str


def connect(env: Mapping[str, str]) -> None:
    """Give every node its bridge and its routes, and let CoreDNS answer for the cluster alone.

    Args:
        env: the environment that reaches the Docker engine in which the nodes run.

    Raises:
        ClusterError: the nodes get no ranges, or do not take their configuration.
    """
    nodes = _await_nodes()
    for node in nodes:
        script = "\n".join([f"cat > {CONFIGURATION}", *(" ".join(route) for route in routes(node, nodes))])
        bridge = json.dumps(bridge_configuration(node.pods))
        run(["docker", "exec", "--interactive", node.name, "sh", "-euc", script], env=env, stdin=bridge)
    _answer_for_the_cluster_alone()


def bridge_configuration(pods: str) -> dict[str, Any]:
    """Return the CNI configuration that gives a node's pods addresses out of a range."""
    ranges = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    # No masquerading between pods: each sees the address of the one that calls it.
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "bridge", "plugins": [{**bridge, "ipam": ranges}, ports]}


def routes(node: Node, nodes: list[Node]) -> list[list[str]]:
    """Return the commands that lead from one node to the pods of the others."""
    return [["ip", "route", "replace", other.pods, "via", other.address] for other in nodes if other != node]


def cluster_names_only(corefile: str) -> str:
    """Return a Corefile that forwards nothing.

    The nodes need Docker's resolver to find each other, and CoreDNS inherits it; in its own network namespace that
    address is CoreDNS itself, and it would forward to itself for ever.
    """
    without_forward = re.sub(r"\n *forward [^{\n]*(\{[^}]*\})?", "", corefile)
    return re.sub(r"\n *loop *(?=\n)", "", without_forward)


def nodes_of(listing: dict[str, Any]) -> list[Node] | None:
    """Return the nodes of a listing, or None while one has no range for its pods or no address."""
    nodes = []
    for item in listing["items"]:
        addresses = {entry["type"]: entry["address"] for entry in item["status"].get("addresses", [])}
        if "podCIDR" not in item["spec"] or "InternalIP" not in addresses:
            return None
        nodes.append(Node(item["metadata"]["name"], addresses["InternalIP"], item["spec"]["podCIDR"]))
    return nodes


def _await_nodes() -> list[Node]:
    deadline = time.monotonic() + SECONDS_FOR_RANGES
    while (nodes := nodes_of(read("nodes"))) is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"The nodes got no ranges for their pods within {SECONDS_FOR_RANGES:g} s.")
        time.sleep(0.3)
    return nodes


def _answer_for_the_cluster_alone() -> None:
    before = read("configmap", "coredns", "--namespace", "kube-system")["data"]["Corefile"]
    after = cluster_names_only(before)
    if after == before:
        return
    apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "coredns", "namespace": "kube-system"},
            "data": {"Corefile": after},
        }
    )
    kubectl("rollout", "restart", "deployment/coredns", "--namespace", "kube-system")
