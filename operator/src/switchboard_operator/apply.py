"""Does what the planner wants: one API call per action, each safe to repeat."""

import base64
import secrets as randomness
from collections.abc import Coroutine
from datetime import UTC, datetime

import structlog

from switchboard_operator import names
from switchboard_operator.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    EnsureSecret,
    ExpireJob,
    HandOverReplicas,
    TakeOver,
    WriteStatus,
)
from switchboard_operator.api import CONFLICT, JSON_PATCH, MERGE_PATCH, NOT_FOUND, Api, ApiError
from switchboard_operator.kinds import DEPLOYMENT, EVENT, JOB, SECRET, SWITCHBOARD, key_of, kind_of
from switchboard_operator.resources.base import Manifest, Owner, digest
from switchboard_operator.snapshot import nested

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

_REFUSED = frozenset(range(400, 500)) - {429}
"""For good. 429 is an API server that is busy."""
_SECRET_BYTES = 32
_LONGEST_NOTE_BYTES = 1024
_POINTER_HASH = "/metadata/annotations/" + names.HASH_ANNOTATION.replace("~", "~0").replace("/", "~1")


class NameTakenError(Exception):
    """An object with a name that is needed belongs to somebody else; the message says what to do."""


class Applier:
    """Makes the API calls for one Switchboard.

    Args:
        api: the API server.
        owner: the Switchboard.
        instance: name of this process, for Events.
    """

    def __init__(self, api: Api, owner: Owner, instance: str) -> None:
        self._api = api
        self._owner = owner
        self._instance = instance

    async def perform(self, action: Action) -> None:
        """Do one thing.

        Raises:
            ApiError: the API server refused it; a status write on an outdated resource is refused with 409.
            NameTakenError: an object of that name is not ours.
            NotLeaderError: the lease is not held any more.
        """
        namespace = self._owner.namespace
        match action:
            case Apply(manifest=manifest, known=known):
                await self._apply(manifest, known=known)
            case TakeOver():
                await self._take_over(action)
            case HandOverReplicas(name=name, replicas=replicas):
                body = {
                    "apiVersion": DEPLOYMENT.api_version,
                    "kind": DEPLOYMENT.kind,
                    "metadata": {"name": name},
                    "spec": {"replicas": replicas},
                }
                await self._api.apply(DEPLOYMENT, namespace, body, names.SCALE_MANAGER)
            case EnsureSecret(manifest=manifest, key=key):
                await self._ensure_secret(manifest, key)
            case ExpireJob(name=name, seconds=seconds):
                body = {"spec": {"ttlSecondsAfterFinished": seconds}}
                await self._unless_gone(self._api.patch(JOB, namespace, name, body, MERGE_PATCH))
            case Delete(key=(kind, name), uid=uid):
                # A Job stays until its pods are gone, so that one sees that no migrator runs any more.
                propagation = "Foreground" if kind == JOB.kind else "Background"
                await self._api.delete(kind_of(kind), namespace, name, uid, propagation)
            case Emit():
                await self._emit(action)
            case WriteStatus():
                await self._write_status(action)

    async def _apply(self, manifest: Manifest, *, known: bool) -> None:
        kind, name = key_of(manifest)
        if not known:
            live = await self._api.get(kind_of(kind), self._owner.namespace, name)
            if live and not self._is_ours(live):
                msg = (
                    f"{kind} {name} exists already and does not belong to this Switchboard: delete or rename it, or "
                    "give the Switchboard another name."
                )
                raise NameTakenError(msg)
        await self._api.apply(kind_of(kind), self._owner.namespace, manifest, names.FIELD_MANAGER)

    def _is_ours(self, live: Manifest) -> bool:
        references = nested(live, "metadata", "ownerReferences") or []
        if references:
            return any(each.get("uid") == self._owner.uid for each in references)
        # A claim that outlived its Switchboard is taken up again by the next one of that name.
        found = nested(live, "metadata", "labels") or {}
        return bool(
            found.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY
            and found.get(names.INSTANCE_LABEL) == self._owner.name
        )

    async def _take_over(self, action: TakeOver) -> None:
        kind, name = action.key
        # The cleared hash makes the apply that follows certain, also when this process ends in between.
        body = [
            {"op": "replace", "path": "/metadata/managedFields", "value": action.managed_fields},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": action.resource_version},
            {"op": "add", "path": _POINTER_HASH, "value": ""},
        ]
        await self._api.patch(kind_of(kind), self._owner.namespace, name, body, JSON_PATCH)

    async def _ensure_secret(self, manifest: Manifest, key: str) -> None:
        # In base64 with its padding, as a sealing key has to be.
        value = base64.urlsafe_b64encode(randomness.token_bytes(_SECRET_BYTES))
        body = manifest | {"data": {key: base64.b64encode(value).decode()}}
        try:
            await self._api.create(SECRET, self._owner.namespace, body)
        except ApiError as error:
            if error.status != CONFLICT:
                raise

    async def _emit(self, event: Emit) -> None:
        owner = self._owner
        body = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            # The same event has the same name, so repeating it after an interruption changes nothing.
            "metadata": {"name": f"{owner.name}.{digest([owner.uid, event.key])}", "namespace": owner.namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": names.MANAGED_BY,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": event.reason,
            "type": event.type,
            "note": _shortened(event.message),
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": owner.name,
                "namespace": owner.namespace,
                "uid": owner.uid,
            },
        }
        try:
            await self._api.create(EVENT, owner.namespace, body)
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            # A quota, or a right that is missing: what is told must not hold up what is done.
            if error.status != CONFLICT:
                log.warning("event refused", switchboard=(owner.namespace, owner.name), reason=str(error))

    async def _write_status(self, action: WriteStatus) -> None:
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": action.resource_version},
            {"op": "add", "path": "/status", "value": action.state.dump()},
        ]
        await self._api.patch(SWITCHBOARD, self._owner.namespace, self._owner.name, body, JSON_PATCH, "status")

    async def _unless_gone(self, call: Coroutine[object, object, Manifest]) -> None:
        try:
            await call
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise


def _shortened(note: str) -> str:
    """The API server counts bytes, and refuses an Event with more."""
    return note.encode()[:_LONGEST_NOTE_BYTES].decode(errors="ignore")
