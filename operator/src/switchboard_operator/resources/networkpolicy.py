"""NetworkPolicies: who may open connections to the pods. Where they may connect to is the cluster's business."""

from switchboard_operator.resources.base import Manifest, Owner, labels, manifest, selector_labels
from switchboard_operator.resources.pods import API_PORT, METRICS_PORT


def network_policies(owner: Owner) -> list[Manifest]:
    """The api takes requests, workers and recorder take probes and scrapes, migrate Jobs take nothing."""
    ports = {"api": [API_PORT], "worker": [METRICS_PORT], "recorder": [METRICS_PORT], "migrate": []}
    return [_policy(owner, role, allowed) for role, allowed in ports.items()]


def _policy(owner: Owner, role: str, allowed: list[int]) -> Manifest:
    body: dict[str, object] = {
        "podSelector": {"matchLabels": selector_labels(owner, role)},
        "policyTypes": ["Ingress"],
    }
    if allowed:
        body["ingress"] = [{"ports": [{"port": port, "protocol": "TCP"} for port in allowed]}]
    name = f"{owner.name}-{role}"
    return manifest("networking.k8s.io/v1", "NetworkPolicy", name, owner, labels(owner, role), spec=body)
