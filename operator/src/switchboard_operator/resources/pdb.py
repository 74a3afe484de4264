"""PodDisruptionBudgets: a drained node takes one pod of a kind at a time."""

from switchboard_operator.resources.base import Manifest, Owner, labels, manifest, selector_labels


def disruption_budget(owner: Owner, name: str, role: str, pool: str | None = None) -> Manifest:
    """The budget of one Deployment.

    ``AlwaysAllow``: a pod that is not ready may go, or a broken release would keep nodes from being drained.
    """
    body = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector_labels(owner, role, pool)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return manifest("policy/v1", "PodDisruptionBudget", name, owner, labels(owner, role, pool), spec=body)
