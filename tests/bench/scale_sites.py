"""The Switchboards of the scale bench, and waiting for all of them."""

import base64
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from apiserver.client import Client, Object
from apiserver.site import SECRETS, condition_of, is_settled
from switchboard_operator import names
from switchboard_operator.kinds import SWITCHBOARD
from unit.operator.samples import spec_dict

VERSION = "1.0.0"
PATH = f"/apis/{SWITCHBOARD.api_version}/{SWITCHBOARD.plural}"
PER_NAMESPACE = 10
AT_ONCE = 8
_WATCH_S = 5.0
"""So often at least there is a line of progress."""

Key = tuple[str, str]
"""Namespace and name of a Switchboard."""


@dataclass
class Progress:
    """When Switchboards came to be what they should.

    Attributes:
        ready: seconds after the begin, by Switchboard.
        settled: the same for the end of everything, the contract phase included.
    """

    ready: dict[Key, float] = field(default_factory=dict)
    settled: dict[Key, float] = field(default_factory=dict)


def keys_of(number: int) -> list[Key]:
    """Ten Switchboards a namespace; no name is the begin of another one."""
    return [(f"tenant-{index // PER_NAMESPACE:03}", f"sb-{index % PER_NAMESPACE:02}") for index in range(number)]


def create_all(client: Client, keys: list[Key]) -> None:
    """Make namespaces, and in them Switchboards with three Secrets each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(client.make_namespace, sorted({namespace for namespace, _ in keys})))
        list(pool.map(lambda key: _create(client, key), keys))


def await_all(
    client: Client, keys: Iterable[Key], timeout_s: float, tell: Callable[[Progress, float], None]
) -> Progress:
    """Wait by a watch until all Switchboards are at rest with the newest spec.

    Args:
        client: of an administrator.
        keys: to wait for.
        timeout_s: seconds.
        tell: called every few seconds.

    Raises:
        TimeoutError: not all came to rest; the message shows one of them.
    """
    began, waiting, progress = time.monotonic(), set(keys), Progress()
    shown: Object = {}
    version = ""
    while True:
        changes: Iterable[tuple[str, Object]]
        if version:
            changes = client.watch(PATH, version, _WATCH_S)
        else:
            listed = client.request("GET", PATH)
            version = listed["metadata"]["resourceVersion"]
            changes = (("ADDED", found) for found in listed["items"])
        for change, found in changes:
            if change == "ERROR":
                # That version is too old to watch from.
                version = ""
                break
            version = max(version, found["metadata"]["resourceVersion"], key=int)
            if _note(progress, found, time.monotonic() - began) and _key(found) in waiting:
                waiting.discard(_key(found))
            elif _key(found) in waiting:
                shown = found
        tell(progress, time.monotonic() - began)
        if not waiting:
            return progress
        if time.monotonic() - began > timeout_s:
            msg = f"{len(waiting)} Switchboards are not at rest after {timeout_s:g} s; one of them: {_shown(shown)}"
            raise TimeoutError(msg)


def _note(progress: Progress, found: Object, at_s: float) -> bool:
    """Note how far a Switchboard is; returns whether it is at rest."""
    if condition_of(found, "Ready").get("status") == "True":
        progress.ready.setdefault(_key(found), at_s)
    settled = is_settled(found, VERSION)
    if settled:
        progress.settled.setdefault(_key(found), at_s)
    return settled


def _create(client: Client, key: Key) -> None:
    namespace, name = key
    for suffix, values in SECRETS.items():
        data = {each: base64.b64encode(value.encode()).decode() for each, value in values.items()}
        metadata = {"name": f"{name}-{suffix}", "namespace": namespace}
        client.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    metadata = {"name": name, "namespace": namespace}
    spec = _spec(name)
    client.create({"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec})


def _spec(name: str) -> Object:
    """The sample: api with 2 pods, two pools with 2 pods and 1, a recorder; with the Secrets of its own."""
    spec = spec_dict(VERSION)
    for part in (spec["database"], spec["redis"], spec["carrier"]):
        for reference in part.values():
            reference["name"] = f"{name}-{reference['name']}"
    return spec


def _key(found: Object) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _shown(found: Object) -> str:
    conditions = found.get("status", {}).get("conditions", [])
    told = [f"{each['type']}={each['status']} {each['reason']}: {each['message']}" for each in conditions]
    return f"{_key(found) if found else 'none was seen'}: {told}"
