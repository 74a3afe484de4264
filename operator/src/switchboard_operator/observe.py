"""Reads everything about one Switchboard from the API server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from pydantic import ValidationError

from switchboard_operator import names, secrets
from switchboard_operator.api import NOT_FOUND, Api, ApiError
from switchboard_operator.diagnose import why_unready
from switchboard_operator.kept import Kept, objects_of, secret_named
from switchboard_operator.kinds import OWNED, OWNED_WITH_KEDA, POD, SCALED_OBJECT, SECRET, SWITCHBOARD, Kind, key_of
from switchboard_operator.resources.base import Manifest, Owner
from switchboard_operator.snapshot import Observed, PodView
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import State

Key = tuple[str, str]
"""Namespace and name of a Switchboard."""

Diagnose = Callable[[tuple[PodView, ...]], Awaitable[Mapping[str, str]]]

_KEDA_KNOWN_FOR_S = 60.0


def parse_spec(found: object) -> tuple[SwitchboardSpec | None, str]:
    """The spec, or why it cannot be used."""
    try:
        return SwitchboardSpec.model_validate(found), ""
    except ValidationError as error:
        faults = (f"spec.{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
        return None, f"The spec cannot be used, what ran before goes on. {'; '.join(faults)}."


def selector_of(name: str) -> str:
    """Label selector of everything that belongs to a Switchboard."""
    return f"{names.INSTANCE_LABEL}={name},{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"


class Observer:
    """Takes snapshots.

    Args:
        api: the API server.
        kept: what need not be read again.
        clock: monotonic, in seconds.
        diagnose: asks pods what they wait for.
    """

    def __init__(
        self, api: Api, kept: Kept, clock: Callable[[], float] = time.monotonic, diagnose: Diagnose = why_unready
    ) -> None:
        self._api = api
        self._kept = kept
        self._diagnose = diagnose
        self._clock = clock
        self._keda = False
        self._keda_asked: float | None = None

    async def observe(
        self, key: Key, recommendations: Mapping[str, int]
    ) -> tuple[SwitchboardSpec | None, Observed] | None:
        """A snapshot of a Switchboard; None when it is gone."""
        namespace, name = key
        resource = await self._api.get(SWITCHBOARD, namespace, name)
        if resource is None:
            return None
        metadata = resource["metadata"]
        spec, spec_error = parse_spec(resource.get("spec", {}))
        state = State.model_validate(resource.get("status") or {})
        keda = await self._keda_installed()
        kinds = (*OWNED, *(OWNED_WITH_KEDA if keda else ()))
        found_pods, found_secrets, objects = await asyncio.gather(
            # Pods are not watched, and the contract phase depends on them: they are always read.
            self._api.list(POD, namespace, selector_of(name)),
            self._secrets(namespace, _secret_names(name, spec, state)),
            self._objects(kinds, key),
        )
        pods = tuple(PodView.parse(pod) for pod in found_pods)
        observed = Observed(
            owner=Owner(name=name, namespace=namespace, uid=metadata["uid"]),
            generation=metadata["generation"],
            resource_version=metadata["resourceVersion"],
            annotations=metadata.get("annotations", {}),
            state=state,
            deleting="deletionTimestamp" in metadata,
            paused=resource.get("spec", {}).get("paused") is True,
            spec_error=spec_error,
            secrets=found_secrets,
            objects={key_of(each): each for each in objects},
            pods=pods,
            keda=keda,
            recommendations=recommendations,
            unready=await self._diagnose(pods),
        )
        return spec, observed

    async def _keda_installed(self) -> bool:
        now = self._clock()
        if self._keda_asked is None or now - self._keda_asked > _KEDA_KNOWN_FOR_S:
            self._keda = await self._api.serves(SCALED_OBJECT)
            self._keda_asked = now
        return self._keda

    async def _objects(self, kinds: Iterable[Kind], key: Key) -> list[Manifest]:
        lists = await asyncio.gather(*(self._list(kind, key) for kind in kinds))
        return [each for found in lists for each in found]

    async def _list(self, kind: Kind, key: Key) -> list[Manifest]:
        namespace, name = key
        about = objects_of(key, kind.kind)
        try:
            return await self._kept.read(about, lambda: self._api.list(kind, namespace, selector_of(name)))
        except ApiError as error:
            if error.status == NOT_FOUND:
                # The kind itself is gone: KEDA was removed.
                self._keda_asked = None
            raise

    async def _secrets(self, namespace: str, wanted: Iterable[str]) -> dict[str, Mapping[str, str] | None]:
        ordered = sorted(wanted)
        found = await asyncio.gather(*(self._secret(namespace, name) for name in ordered))
        return {name: _content(secret) for name, secret in zip(ordered, found, strict=True)}

    async def _secret(self, namespace: str, name: str) -> Manifest | None:
        about = secret_named(namespace, name)
        return await self._kept.read(about, lambda: self._api.get(SECRET, namespace, name))


def _content(secret: Manifest | None) -> Mapping[str, str] | None:
    return None if secret is None else secret.get("data") or {}


def _secret_names(name: str, spec: SwitchboardSpec | None, state: State) -> set[str]:
    found = secrets.made_names(name)
    if spec:
        found |= secrets.wanted_names(spec)
    if state.applied:
        found |= secrets.wanted_names(SwitchboardSpec.recorded(state.applied.spec))
    return found
