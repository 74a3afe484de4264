"""The claim for recordings."""

from switchboard_operator.resources.base import Manifest, Owner, labels, manifest
from switchboard_operator.spec import SwitchboardSpec


def claim_name(owner: Owner, spec: SwitchboardSpec) -> str | None:
    """Name of the claim that pods mount; None where recordings go to S3."""
    volume = spec.storage.volume
    if volume is None:
        return None
    return volume.claim_name or f"{owner.name}-recordings"


def is_for_one_node(spec: SwitchboardSpec) -> bool:
    """Whether the pods of one node alone can mount the claim that the operator makes."""
    volume = spec.storage.volume
    return volume is not None and volume.claim_name is None and "ReadWriteOnce" in volume.access_modes


def recordings_claim(owner: Owner, spec: SwitchboardSpec) -> Manifest | None:
    """The claim; None where there is nothing to make.

    It has no owner, and so outlives the Switchboard, unless the user wants it otherwise.
    """
    volume = spec.storage.volume
    if volume is None or volume.claim_name:
        return None
    body: dict[str, object] = {
        "accessModes": list(volume.access_modes),
        "resources": {"requests": {"storage": volume.size}},
    }
    if volume.storage_class_name is not None:
        body["storageClassName"] = volume.storage_class_name
    return manifest(
        "v1",
        "PersistentVolumeClaim",
        f"{owner.name}-recordings",
        owner,
        labels(owner, "recorder"),
        owned=volume.delete_with_resource,
        spec=body,
    )
