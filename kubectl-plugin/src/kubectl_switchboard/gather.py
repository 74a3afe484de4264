"""Reads what belongs to a Switchboard; what cannot be read is noted, and only the resource itself is needed."""

import base64
import binascii
from collections.abc import Callable

from kubectl_switchboard import names, overview
from kubectl_switchboard.cluster import Cluster
from kubectl_switchboard.errors import ClusterError, NotFoundError, PluginError
from kubectl_switchboard.gaps import Gaps
from kubectl_switchboard.kinds import DEPLOYMENT, EVENT, JOB, POD, SECRET, SWITCHBOARD, Json, Kind
from kubectl_switchboard.overview import Overview
from kubectl_switchboard.resource import Resource


def find(cluster: Cluster, name: str) -> Resource:
    """One Switchboard of the namespace.

    Raises:
        PluginError: there is none of that name; the message says which there are.
    """
    try:
        return Resource(cluster.get(SWITCHBOARD, cluster.namespace, name))
    except NotFoundError as error:
        # Also raised where the kind is missing; listing then says so.
        others = [Resource(each).name for each in cluster.list(SWITCHBOARD, cluster.namespace)]
        there = f"There are: {', '.join(others)}." if others else "There is none; try -A."
        msg = f"There is no Switchboard {name} in namespace {cluster.namespace}. {there}"
        raise PluginError(msg) from error


def find_only(cluster: Cluster, name: str | None) -> Resource:
    """The Switchboard of that name, or the only one of the namespace.

    Raises:
        PluginError: there is none, or there are several and none was named.
    """
    if name:
        return find(cluster, name)
    found = find_all(cluster, cluster.namespace)
    if len(found) == 1:
        return found[0]
    if not found:
        msg = f"There is no Switchboard in namespace {cluster.namespace}: choose another one with -n."
        raise PluginError(msg)
    choices = ", ".join(each.name for each in found)
    msg = f"There are several Switchboards in namespace {cluster.namespace}: name one of {choices}."
    raise PluginError(msg)


def find_all(cluster: Cluster, namespace: str | None) -> list[Resource]:
    """All Switchboards of a namespace, or of the cluster."""
    found = [Resource(each) for each in cluster.list(SWITCHBOARD, namespace)]
    return sorted(found, key=lambda each: (each.namespace, each.name))


def selector(resource: Resource) -> str:
    """Labels of what belongs to a Switchboard."""
    return f"{names.INSTANCE_LABEL}={resource.name},{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"


def look_at(cluster: Cluster, resource: Resource) -> Overview:
    """Everything about one Switchboard."""
    gaps = Gaps()
    deployments = _objects(gaps, "Deployments", "list deployments.apps", lambda: _owned(cluster, resource, DEPLOYMENT))
    pods = _objects(gaps, "pods", "list pods", lambda: _owned(cluster, resource, POD))
    events = _objects(gaps, "Events", "list events", lambda: events_of(cluster, resource))
    return overview.build(
        resource,
        deployments=deployments,
        pods=pods,
        events=events,
        runnable=_runnable(cluster, resource, pods, gaps),
        gaps=gaps.found,
    )


def events_of(cluster: Cluster, resource: Resource) -> list[Json]:
    """Events about a Switchboard, and warnings about what belongs to it."""
    own = f"involvedObject.kind={names.KIND},involvedObject.name={resource.name}"
    found = cluster.list(EVENT, resource.namespace, fields=own)
    exact = [pool.deployment for pool in resource.pools]
    prefixes = (*(f"{name}-" for name in exact), f"{resource.name}-migrate-")
    for event in cluster.list(EVENT, resource.namespace, fields="type=Warning"):
        about = event.get("involvedObject") or {}
        name = str(about.get("name", ""))
        # What became of a migrate Job the operator tells itself, and exit code 3 of a check is no failure at all.
        if about.get("kind") not in {names.KIND, JOB.kind} and (name in exact or name.startswith(prefixes)):
            found.append(event)
    return found


def _owned(cluster: Cluster, resource: Resource, kind: Kind) -> list[Json]:
    return cluster.list(kind, resource.namespace, labels=selector(resource))


def _objects(gaps: Gaps, what: str, right: str, read: Callable[[], list[Json]]) -> list[Json]:
    try:
        return read()
    except ClusterError as error:
        gaps.note(what, right, error)
        return []


def _runnable(cluster: Cluster, resource: Resource, pods: list[Json], gaps: Gaps) -> dict[str, int]:
    """Runnable work per pool, asked at an api pod with the internal token; empty where that is not possible."""
    pod = next((each["metadata"]["name"] for each in pods if _serves(each)), None)
    if pod is None:
        return {}
    # Loads the models of all kinds there are, which only this needs.
    from kubectl_switchboard import runnable

    secret = names.internal_secret_name(resource.name)
    right = f"get secrets/{secret}"
    try:
        token = _token(cluster.get(SECRET, resource.namespace, secret))
        right = "create pods/portforward"
        return runnable.ask(cluster, resource, pod, token)
    except ClusterError as error:
        gaps.note("runnable work", right, error)
        return {}


def _serves(pod: Json) -> bool:
    labels, status = pod["metadata"].get("labels") or {}, pod.get("status") or {}
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or [])
    return labels.get(names.ROLE_LABEL) == "api" and ready and "deletionTimestamp" not in pod["metadata"]


def _token(secret: Json) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(names.TOKEN_KEY, "")).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        msg = f"The Secret {secret['metadata']['name']} holds no token."
        raise ClusterError(msg) from error
