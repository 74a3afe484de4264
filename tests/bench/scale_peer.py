"""The peer: the same objects from one client that applies them and does nothing else."""

import copy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from scale_report import Peer
from scale_sites import AT_ONCE, Key

from apiserver.client import Client, Object
from apiserver.site import bare
from switchboard_operator import names
from switchboard_operator.kinds import DEPLOYMENT, JOB, OWNED, kind_of

_FORM = "application/apply-patch+yaml"
_TIMEOUT_S = 600.0


def measure(client: Client, model: Key, number: int, cpu_s: Callable[[], float]) -> Peer:
    """Apply the objects of a Switchboard so many times, each time in a namespace of its own.

    No order, no migrations, no status, no Events: the least that anybody has to do for the same pods.

    Args:
        client: of an administrator.
        model: the Switchboard whose objects are copied.
        number: of copies.
        cpu_s: processor time that the control plane has used so far, in seconds.

    Raises:
        TimeoutError: not all pods became available.
    """
    objects = _objects_of(client, model)
    namespaces = [f"peer-{index:03}" for index in range(number)]
    # One thread more than apply: it watches.
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        list(pool.map(client.make_namespace, namespaces))
        deployments = [each["metadata"]["name"] for each in objects if each["kind"] == DEPLOYMENT.kind]
        wanted = {(namespace, name) for namespace in namespaces for name in deployments}
        version = client.request("GET", _DEPLOYMENTS)["metadata"]["resourceVersion"]
        began, used_s = time.monotonic(), cpu_s()
        available = pool.submit(_await_available, client, version, wanted)
        list(pool.map(lambda namespace: _apply(client, namespace, objects), namespaces))
        applied = time.monotonic()
        ended = available.result()
        return Peer(number, len(objects), AT_ONCE, applied - began, ended - began, cpu_s() - used_s)


_DEPLOYMENTS = f"/apis/{DEPLOYMENT.api_version}/{DEPLOYMENT.plural}"


def _objects_of(client: Client, model: Key) -> list[Object]:
    namespace, name = model
    selector = f"labelSelector={names.INSTANCE_LABEL}={name}"
    found = []
    for kind in OWNED:
        if kind == JOB:
            continue
        for each in client.request("GET", f"{kind.path(namespace)}?{selector}")["items"]:
            mine = bare({"apiVersion": kind.api_version, "kind": kind.kind, **each})
            mine["metadata"].pop("ownerReferences")
            # Otherwise an operator would take them for its own.
            mine["metadata"]["labels"].pop(names.MANAGED_BY_LABEL)
            found.append(mine)
    return found


def _apply(client: Client, namespace: str, objects: list[Object]) -> None:
    for each in objects:
        found = copy.deepcopy(each)
        found["metadata"]["namespace"] = namespace
        path = kind_of(each["kind"]).path(namespace, each["metadata"]["name"])
        client.request("PATCH", f"{path}?fieldManager=peer&force=true", found, _FORM)


def _await_available(client: Client, version: str, wanted: set[Key]) -> float:
    """When the last one of these Deployments was available."""
    waiting = set(wanted)
    for _, found in client.watch(_DEPLOYMENTS, version, _TIMEOUT_S):
        status = found.get("status", {})
        if status.get("availableReplicas", 0) >= found["spec"]["replicas"]:
            waiting.discard((found["metadata"]["namespace"], found["metadata"]["name"]))
        if not waiting:
            return time.monotonic()
    msg = f"{len(waiting)} Deployments of the peer are not available after {_TIMEOUT_S:g} s"
    raise TimeoutError(msg)
