"""The ServiceAccount of all pods; it has no rights and no token."""

from switchboard_operator.resources.base import Manifest, Owner, labels, manifest


def service_account(owner: Owner) -> Manifest:
    """The ServiceAccount."""
    return manifest("v1", "ServiceAccount", owner.name, owner, labels(owner), automountServiceAccountToken=False)
