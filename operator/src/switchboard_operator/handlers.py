"""kopf watches; these handlers only say which Switchboard to look at.

``on.event`` alone: it writes no annotations and adds no finalizers, so a Switchboard can be deleted when the operator
is gone, and no state lives anywhere but in status.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import kopf
from pydantic import ValidationError

from switchboard_operator import names, secrets
from switchboard_operator.kept import Kept, objects_of, secret_named
from switchboard_operator.kinds import OWNED, OWNED_WITH_KEDA, SECRET, SWITCHBOARD, Kind
from switchboard_operator.observe import Key
from switchboard_operator.spec import SwitchboardSpec


class Wakes(Protocol):
    """Takes keys of Switchboards to look at."""

    def add(self, key: Key) -> None:
        """Look at this one soon."""
        ...


class Index:
    """The Switchboards there are, and the Secrets that each of them names.

    Args:
        queue: told which Switchboard to look at.
        kept: told what has to be read again.
    """

    def __init__(self, queue: Wakes, kept: Kept) -> None:
        self._queue = queue
        self._kept = kept
        self._secrets: dict[Key, frozenset[str]] = {}

    def switchboard_changed(self, key: Key, spec: Mapping[str, Any]) -> None:
        """A Switchboard was made or has changed."""
        try:
            self._secrets[key] = frozenset(secrets.wanted_names(SwitchboardSpec.model_validate(dict(spec))))
        except ValidationError:
            # What ran before goes on, with the Secrets that it named.
            self._secrets.setdefault(key, frozenset())
        self._queue.add(key)

    def switchboard_gone(self, key: Key) -> None:
        """A Switchboard was deleted."""
        self._secrets.pop(key, None)
        for kind in (*OWNED, *OWNED_WITH_KEDA):
            self._kept.drop(objects_of(key, kind.kind))
        self._queue.add(key)

    def secret_changed(self, namespace: str, name: str) -> None:
        """A Secret was made, has changed or was deleted."""
        self._kept.drop(secret_named(namespace, name))
        for key, named in self._secrets.items():
            if key[0] == namespace and (name in named or name in secrets.made_names(key[1])):
                self._queue.add(key)

    def owned_changed(self, kind: Kind, namespace: str, metadata: Mapping[str, Any]) -> None:
        """An object that may belong to a Switchboard was made, has changed or was deleted."""
        key = owner_of(namespace, metadata)
        if key is None:
            return
        self._kept.drop(objects_of(key, kind.kind))
        if key in self._secrets:
            self._queue.add(key)

    def all(self) -> list[Key]:
        """Every Switchboard."""
        return list(self._secrets)

    def queue_all(self) -> None:
        """Look at every Switchboard: this process has just begun to lead."""
        for key in self.all():
            self._queue.add(key)


def owner_of(namespace: str, metadata: Mapping[str, Any]) -> Key | None:
    """The Switchboard that an object belongs to, by its owner, or by its labels where it has none."""
    for reference in metadata.get("ownerReferences") or []:
        if reference.get("kind") == names.KIND and reference.get("apiVersion") == names.API_VERSION:
            return namespace, str(reference["name"])
    labels = metadata.get("labels") or {}
    if labels.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY and names.INSTANCE_LABEL in labels:
        return namespace, str(labels[names.INSTANCE_LABEL])
    return None


def registry_for(index: Index) -> kopf.OperatorRegistry:
    """kopf's registry with the handlers of this operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf passes them on
        """Use the pod's service account, or a kubeconfig outside of a cluster."""
        found = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return found if isinstance(found, kopf.ConnectionInfo) else None

    @kopf.on.event(names.GROUP, names.VERSION, SWITCHBOARD.plural, registry=registry)
    async def switchboard(event: kopf.RawEvent, name: str, namespace: str | None, spec: kopf.Spec, **_: object) -> None:
        """Note a Switchboard."""
        key = (namespace or "", name)
        if event["type"] == "DELETED":
            index.switchboard_gone(key)
        else:
            index.switchboard_changed(key, spec)

    @kopf.on.event(SECRET.version, SECRET.plural, registry=registry)
    async def secret(name: str, namespace: str | None, **_: object) -> None:
        """Wake the Switchboards that name a Secret."""
        index.secret_changed(namespace or "", name)

    for kind in (*OWNED, *OWNED_WITH_KEDA):
        _watch(registry, index, kind)
    return registry


def _watch(registry: kopf.OperatorRegistry, index: Index, kind: Kind) -> None:
    @kopf.on.event(*_where(kind), registry=registry, id=f"owned-{kind.plural}")
    async def owned(meta: kopf.Meta, namespace: str | None, **_: object) -> None:
        """Wake the Switchboard that an object belongs to."""
        index.owned_changed(kind, namespace or "", meta)


def _where(kind: Kind) -> tuple[str, str] | tuple[str, str, str]:
    return (kind.group, kind.version, kind.plural) if kind.group else (kind.version, kind.plural)


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf copies every object twice to compare it with the last one; nobody here asks for the difference."""

    def build(self, **_: object) -> kopf.BodyEssence:
        """An object without anything that could differ."""
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        """There is no last one."""

    def store(self, **_: object) -> None:
        """Nothing is written into the object."""


def settings_for(*, namespaced: bool) -> kopf.OperatorSettings:
    """kopf's settings: it posts no Events of its own, scans for no peers and lets broken watches end soon.

    Args:
        namespaced: only some namespaces are watched, by name. kopf then does not ask for what needs rights on the whole
            cluster, custom resource definitions and namespaces: refused, it would ask again for a minute first.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.peering.standalone = True
    settings.scanning.disabled = namespaced
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 300
    settings.networking.request_timeout = 30
    # Helm's records of its releases are the largest Secrets of most clusters, and nobody names one.
    settings.watching.label_selectors[_where(SECRET)] = "owner!=helm"
    for kind in OWNED:
        # The API server sends what is ours, not every Deployment of the cluster. One that has lost this label is
        # sent once more, as if it were deleted.
        settings.watching.label_selectors[_where(kind)] = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
    return settings
