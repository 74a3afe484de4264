"""Reads everything that a report holds; what cannot be read is noted with the right that is missing."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kubectl_switchboard import gather, names
from kubectl_switchboard.cluster import Cluster
from kubectl_switchboard.errors import ClusterError, NotFoundError
from kubectl_switchboard.gaps import Gaps
from kubectl_switchboard.kinds import CRD, DEPLOYMENT, LEASE, OWNED, OWNED_WITH_KEDA, POD, SECRET, SWITCHBOARD, Json
from kubectl_switchboard.redact_objects import secret_values
from kubectl_switchboard.resource import Resource

PODS_PER_ROLE = 5

HARMLESS_KEYS = frozenset(
    {"ca.crt", "tls.crt", "username", "user", "host", "hostname", "port", "dbname", "database", "sslmode"}
)
"""Keys of Secrets whose values are no secrets, and such ordinary words that a report without them tells nothing."""

T = TypeVar("T")


@dataclass
class Material:
    """What was read, with all its secrets.

    Attributes:
        objects: by path in the report.
        logs: by path in the report.
        secrets: values that must not leave the cluster.
        secrets_read: every Secret that the spec names could be read, or does not exist.
        left_out: sentences about what was not asked for.
        gaps: what could not be read.
    """

    objects: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    secrets_read: bool = True
    left_out: list[str] = field(default_factory=list)
    gaps: Gaps = field(default_factory=Gaps)

    def of_kind(self, kind: str) -> list[Json]:
        """The objects of a kind."""
        return [each for each in self.objects.values() if each.get("kind") == kind]


class Collector:
    """Collects the material of one report.

    Args:
        cluster: to read from.
        resource: the Switchboard.
        lines: of each log, at most.
        operator_namespace: where the operator runs; looked for when None.
    """

    def __init__(self, cluster: Cluster, resource: Resource, *, lines: int, operator_namespace: str | None) -> None:
        self._cluster = cluster
        self._resource = resource
        self._lines = lines
        self._operator_namespace = operator_namespace
        self.material = Material()

    def collect(self) -> Material:
        """Read everything."""
        self.material.objects["switchboard.json"] = self._resource.found
        self._owned()
        self._secrets()
        self._events()
        self._pod_logs(self._resource.namespace, self.material.of_kind(POD.kind), "logs", by_role=True)
        self._operator()
        self._versions()
        self.material.secrets.update(secret_values(self.material.objects.values()))
        return self.material

    def _try(self, what: str, right: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ClusterError as error:
            self.material.gaps.note(what, right, error)
            return None

    def _owned(self) -> None:
        namespace, labels = self._resource.namespace, gather.selector(self._resource)
        for kind in (*OWNED, *OWNED_WITH_KEDA):
            try:
                found = self._cluster.list(kind, namespace, labels=labels)
            except NotFoundError:
                # The cluster does not have the kind: KEDA is not installed.
                continue
            except ClusterError as error:
                self.material.gaps.note(f"{kind.kind} objects", f"list {kind.resource}", error)
                continue
            self._add(f"objects/{kind.plural}", found)

    def _add(self, folder: str, found: Iterable[Json]) -> None:
        for each in found:
            self.material.objects[f"{folder}/{each['metadata']['name']}.json"] = each

    def _secrets(self) -> None:
        for name in sorted(self._resource.secret_names):
            try:
                secret = self._cluster.get(SECRET, self._resource.namespace, name)
            except NotFoundError:
                self.material.left_out.append(f"The Secret {name} does not exist.")
                continue
            except ClusterError as error:
                self.material.gaps.note(f"Secret {name}", f"get secrets/{name}", error)
                self.material.secrets_read = False
                continue
            self._add("objects/secrets", [secret | {"kind": SECRET.kind}])
            self.material.secrets.update(_values(secret))

    def _events(self) -> None:
        events = self._try("Events", "list events", lambda: gather.events_of(self._cluster, self._resource))
        if events is not None:
            self.material.objects["events.json"] = {"kind": "EventList", "items": events}

    def _pod_logs(self, namespace: str, pods: Sequence[Json], folder: str, *, by_role: bool) -> None:
        roles: dict[str, list[Json]] = {}
        for pod in pods:
            labels = pod["metadata"].get("labels") or {}
            roles.setdefault(labels.get(names.ROLE_LABEL, "") if by_role else "", []).append(pod)
        for role, members in sorted(roles.items()):
            members.sort(key=_interest)
            for pod in members[:PODS_PER_ROLE]:
                self._logs_of(namespace, pod, f"{folder}/{role}" if role else folder)
            if len(members) > PODS_PER_ROLE:
                rest = ", ".join(each["metadata"]["name"] for each in members[PODS_PER_ROLE:])
                self.material.left_out.append(f"Logs of {rest}: {PODS_PER_ROLE} pods of a role are enough.")

    def _logs_of(self, namespace: str, pod: Json, folder: str) -> None:
        name = pod["metadata"]["name"]
        statuses = {each["name"]: each for each in (pod.get("status") or {}).get("containerStatuses") or []}
        for container in (pod.get("spec") or {}).get("containers") or []:
            asked = [False, True] if statuses.get(container["name"], {}).get("restartCount") else [False]
            for previous in asked:
                self._log(namespace, name, container["name"], folder, previous=previous)

    def _log(self, namespace: str, pod: str, container: str, folder: str, *, previous: bool) -> None:
        suffix = ".previous.log" if previous else ".log"
        log = self._try(
            f"log of pod {pod}{' before its restart' if previous else ''}",
            "get pods/log",
            lambda: self._cluster.log(namespace, pod, container, lines=self._lines, previous=previous),
        )
        if log is not None:
            self.material.logs[f"{folder}/{pod}.{container}{suffix}"] = log

    def _operator(self) -> None:
        labels = f"app.kubernetes.io/name={names.OPERATOR_NAME}"
        deployments = self._try(
            "the operator",
            "list deployments.apps in the operator's namespace (name it with --operator-namespace)",
            lambda: self._cluster.list(DEPLOYMENT, self._operator_namespace, labels=labels),
        )
        if deployments == []:
            self.material.left_out.append("No operator was found: name its namespace with --operator-namespace.")
        for deployment in deployments or []:
            self._operator_in(deployment["metadata"]["namespace"], labels, deployment)

    def _operator_in(self, namespace: str, labels: str, deployment: Json) -> None:
        folder = f"operator/{namespace}"
        self._add(folder, [deployment])
        read = self._cluster
        pods = self._try("the operator's pods", "list pods", lambda: read.list(POD, namespace, labels=labels)) or []
        self._add(f"{folder}/pods", pods)
        self._pod_logs(namespace, pods, f"{folder}/logs", by_role=False)
        lease = _lease_name(deployment)
        found = self._try("the Lease", f"get leases/{lease}", lambda: read.get(LEASE, namespace, lease))
        if found:
            self._add(f"{folder}/leases", [found])

    def _versions(self) -> None:
        version = self._try("the API server's version", "get /version", self._cluster.version)
        if version is not None:
            self.material.objects["kubernetes-version.json"] = version
        name = SWITCHBOARD.resource
        right = "get customresourcedefinitions.apiextensions.k8s.io"
        crd = self._try("the resource definition", right, lambda: self._cluster.get(CRD, None, name))
        if crd is not None:
            self.material.objects["crd.json"] = crd


def _lease_name(deployment: Json) -> str:
    """The Lease that an operator is told to use."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env") or []:
            if variable["name"] == "LEASE_NAME" and "value" in variable:
                return str(variable["value"])
    return names.OPERATOR_NAME


def _interest(pod: Json) -> tuple[bool, float]:
    """Pods that do not serve first, and of those the newest."""
    status = pod.get("status") or {}
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or [])
    made = str(pod["metadata"].get("creationTimestamp", ""))
    return ready, -float("".join(char for char in made if char.isdigit()) or 0)


def _values(secret: Json) -> set[str]:
    found: set[str] = set()
    for key, encoded in (secret.get("data") or {}).items():
        if key.lower() in HARMLESS_KEYS:
            continue
        found.add(encoded)
        try:
            found.add(base64.b64decode(encoded).decode())
        except (binascii.Error, UnicodeDecodeError):
            # Bytes that are no text can only appear in their base64.
            continue
    return found
