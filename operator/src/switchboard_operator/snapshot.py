"""A typed snapshot of what the API server says about one Switchboard; pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from switchboard_operator import names
from switchboard_operator.kinds import ObjectKey
from switchboard_operator.resources.base import Manifest, Owner
from switchboard_operator.state import State

JOB_NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_WAITING_REASONS = _PULL_REASONS | {"CreateContainerConfigError", "CreateContainerError", "CrashLoopBackOff"}
_LAST_LINES = 10
_LONGEST_LOG = 2000
_LONGEST_REASON = 500


@dataclass(frozen=True)
class PodView:
    """A pod, as far as the planner cares.

    Attributes:
        name: of the pod.
        role: its label.
        release: its label, None for migrate pods.
        job: the Job that it belongs to.
        finished: it has run to its end, well or not.
        exit_code: of its container, when it has ended.
        message: last lines of its log, when it failed.
        waiting: why its container does not start, as ``reason: message``.
        unschedulable: why no node takes it.
        restarts: of its container.
        started: when it was made, as the API server wrote it.
        ip: of the pod.
        unready: its container runs, and is not ready.
        begun: when its container was started, empty while it does not run.
    """

    name: str
    role: str | None = None
    release: str | None = None
    job: str | None = None
    finished: bool = False
    exit_code: int | None = None
    message: str = ""
    waiting: str = ""
    unschedulable: str = ""
    restarts: int = 0
    started: str = ""
    ip: str = ""
    unready: bool = False
    begun: str = ""

    @classmethod
    def parse(cls, pod: Manifest) -> Self:
        """Read a pod."""
        metadata, status = pod["metadata"], pod.get("status", {})
        found = metadata.get("labels", {})
        statuses = status.get("containerStatuses") or [{}]
        container = statuses[0]
        state = container.get("state", {})
        # A container in a crash loop is waiting; why it failed stands in its last state.
        ended = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
        waiting = state.get("waiting", {})
        reason = waiting.get("reason", "")
        conditions: list[dict[str, str]] = status.get("conditions", [])
        scheduled = next((each for each in conditions if each["type"] == "PodScheduled"), {})
        return cls(
            name=metadata["name"],
            role=found.get(names.ROLE_LABEL),
            release=found.get(names.RELEASE_LABEL),
            job=next((found[label] for label in JOB_NAME_LABELS if label in found), None),
            finished=status.get("phase") in {"Succeeded", "Failed"},
            exit_code=ended.get("exitCode"),
            message=tail(ended.get("message", "")),
            waiting=_reason(reason, waiting.get("message", "")) if reason in _WAITING_REASONS else "",
            unschedulable=scheduled.get("message", "")[:_LONGEST_REASON]
            if scheduled.get("reason") == "Unschedulable"
            else "",
            restarts=container.get("restartCount", 0),
            started=metadata.get("creationTimestamp", ""),
            ip=status.get("podIP", ""),
            unready="running" in state and not container.get("ready", False),
            begun=state.get("running", {}).get("startedAt", ""),
        )

    @property
    def cannot_pull(self) -> bool:
        """Its image cannot be had."""
        return self.waiting.partition(":")[0] in _PULL_REASONS


def _reason(reason: str, message: str) -> str:
    return f"{reason}: {message}".rstrip(": ")[:_LONGEST_REASON]


def tail(text: str) -> str:
    """The last lines of a log, short enough for a status; a JSON result is reduced to its reason."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if lines and lines[-1].startswith("{"):
        try:
            reason = json.loads(lines[-1]).get("reason")
        except (ValueError, AttributeError):
            reason = None
        if reason:
            lines[-1] = str(reason)
    return "\n".join(lines[-_LAST_LINES:])[-_LONGEST_LOG:]


@dataclass(frozen=True)
class JobView:
    """A Job, as far as the planner cares."""

    name: str
    uid: str
    succeeded: bool
    failed: bool
    failures: int
    reason: str
    message: str
    expires: bool
    deleting: bool

    @classmethod
    def parse(cls, job: Manifest) -> Self:
        """Read a Job."""
        metadata, status = job["metadata"], job.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
        failed = conditions.get("Failed", {})
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            succeeded="Complete" in conditions,
            failed="Failed" in conditions,
            failures=status.get("failed", 0),
            reason=failed.get("reason", ""),
            message=failed.get("message", ""),
            expires=job.get("spec", {}).get("ttlSecondsAfterFinished") is not None,
            deleting="deletionTimestamp" in metadata,
        )

    @property
    def finished(self) -> bool:
        """No pod of it runs, and none will."""
        return self.succeeded or self.failed


@dataclass(frozen=True)
class Observed:
    """What the API server said about one Switchboard at one moment.

    Attributes:
        owner: the resource.
        generation: of its spec.
        resource_version: of the whole resource.
        annotations: of the resource.
        state: its status.
        deleting: it is about to go; the garbage collector does the rest.
        paused: its spec says so, also one that cannot be used otherwise.
        spec_error: why its spec cannot be used, empty when it can.
        secrets: content of the Secrets that the spec names (values in base64), None for one that is missing.
        objects: everything that is owned, except pods.
        pods: of the Switchboard.
        keda: KEDA is installed.
        recommendations: replicas that the built-in autoscaler wants now, per pool.
        unready: what pods say that they wait for, by name.
    """

    owner: Owner
    generation: int
    resource_version: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    state: State = field(default_factory=State)
    deleting: bool = False
    paused: bool = False
    spec_error: str = ""
    secrets: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    objects: Mapping[ObjectKey, Manifest] = field(default_factory=dict)
    pods: tuple[PodView, ...] = ()
    keda: bool = False
    recommendations: Mapping[str, int] = field(default_factory=dict)
    unready: Mapping[str, str] = field(default_factory=dict)

    def job(self, name: str) -> JobView | None:
        """One Job of this Switchboard; one that an earlier Switchboard of the same name left behind tells nothing."""
        found = self.objects.get(("Job", name))
        return JobView.parse(found) if found and self.owns(found) else None

    def owns(self, live: Manifest) -> bool:
        """Whether an object belongs to this very Switchboard, not only to one of its name."""
        references = nested(live, "metadata", "ownerReferences") or []
        return any(each.get("uid") == self.owner.uid for each in references)

    def jobs(self) -> list[JobView]:
        """All Jobs."""
        return [JobView.parse(each) for (kind, _), each in self.objects.items() if kind == "Job"]

    def deployment(self, name: str) -> Manifest | None:
        """One Deployment."""
        return self.objects.get(("Deployment", name))

    def pods_of_job(self, name: str) -> list[PodView]:
        """Pods of one Job, oldest first."""
        return sorted((pod for pod in self.pods if pod.job == name), key=lambda pod: (pod.started, pod.name))


def nested(found: Mapping[str, Any], *path: str) -> Any:  # noqa: ANN401 - any JSON value
    """A value deep inside an object; None when a part of the path is missing."""
    value: Any = found
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value
