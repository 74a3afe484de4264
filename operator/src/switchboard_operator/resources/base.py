"""What every object has in common: owner, labels, and the hash that tells what was applied last."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from switchboard_operator import names
from switchboard_operator.spec import SwitchboardSpec

Manifest = dict[str, Any]

REVISION = 2
"""Of the pod templates. Running releases keep the revision that they were rolled out with, so that an operator upgrade
restarts nothing: a change of a template needs a new revision beside the old one, and a test compares each with a
recorded copy."""
ENV_FROM_SECRETS = 2
"""The first revision whose pods get variables from Secrets: the sealing keys, envFromSecrets, the storage's."""


@dataclass(frozen=True)
class Owner:
    """The ``Switchboard`` that objects belong to."""

    name: str
    namespace: str
    uid: str


@dataclass(frozen=True)
class Release:
    """Everything that objects are rendered from.

    Attributes:
        owner: the resource.
        spec: of the release, which is not always the newest one.
        release: hash of the images.
        secrets: checksum of the Secrets that pods see.
        revision: of the pod templates.
    """

    owner: Owner
    spec: SwitchboardSpec
    release: str
    secrets: str
    revision: int = REVISION


def digest(value: object, length: int = 16) -> str:
    """A short hash of any JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def version_label(version: str) -> str:
    """A version as a label's value, which is shorter than an image's tag may be and ends in a letter or digit."""
    return version[:63].strip("-_.")


def selector_labels(owner: Owner, role: str, pool: str | None = None) -> dict[str, str]:
    """Labels that select the pods of a role or pool; they never change."""
    found = {
        "app.kubernetes.io/name": "switchboard",
        names.INSTANCE_LABEL: owner.name,
        names.ROLE_LABEL: role,
    }
    return found | {names.POOL_LABEL: pool} if pool else found


def labels(owner: Owner, role: str | None = None, pool: str | None = None) -> dict[str, str]:
    """Labels of an object; of one that serves several roles when ``role`` is None."""
    found = {
        "app.kubernetes.io/name": "switchboard",
        names.INSTANCE_LABEL: owner.name,
        "app.kubernetes.io/part-of": "switchboard",
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
    }
    if role:
        found |= {"app.kubernetes.io/component": role, names.ROLE_LABEL: role}
    return found | {names.POOL_LABEL: pool} if pool else found


def owner_reference(owner: Owner) -> dict[str, Any]:
    """Makes the garbage collector delete an object with its Switchboard, also when the operator is gone."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        # Blocking would need the right to change finalizers of the Switchboard, and delays nothing that matters.
        "blockOwnerDeletion": False,
    }


def manifest(
    api_version: str,
    kind: str,
    name: str,
    owner: Owner,
    object_labels: Mapping[str, str],
    *,
    owned: bool = True,
    **body: object,
) -> Manifest:
    """An object with owner, labels and the hash of all of it."""
    metadata: dict[str, Any] = {"name": name, "namespace": owner.namespace, "labels": dict(object_labels)}
    if owned:
        metadata["ownerReferences"] = [owner_reference(owner)]
    found: Manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    metadata["annotations"] = {names.HASH_ANNOTATION: digest(found)}
    return found
