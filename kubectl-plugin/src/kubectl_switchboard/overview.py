"""One Switchboard with all that runs for it: the facts of the screen, for people and for machines. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from kubectl_switchboard import names
from kubectl_switchboard.advice import Advice, advise
from kubectl_switchboard.gaps import Gap
from kubectl_switchboard.kinds import Json
from kubectl_switchboard.resource import Pool, Resource, moment

EVENTS_SHOWN = 8


@dataclass(frozen=True)
class Row:
    """One Deployment.

    Attributes:
        role: ``api``, ``worker`` or ``recorder``.
        pool: of workers; empty for api and recorder.
        queues: that it consumes.
        low: fewest replicas; None where the spec does not have it any more.
        high: most replicas; equal to ``low`` where they are fixed.
        wanted: replicas that it should have now; None where the Deployment does not exist.
        ready: pods that serve.
        updated: pods of the newest template.
        old: pods of another template, which are still to be replaced.
        version: of the pods that it makes.
        restarts: of its pods' containers.
        runnable: work that could run now; None where it is not known.
    """

    role: str
    pool: str
    queues: tuple[str, ...]
    low: int | None
    high: int | None
    wanted: int | None = None
    ready: int = 0
    updated: int = 0
    old: int = 0
    version: str = ""
    restarts: int = 0
    runnable: int | None = None

    @property
    def is_complete(self) -> bool:
        """Every pod that should be there serves and is new."""
        return self.wanted is not None and min(self.ready, self.updated) >= self.wanted and not self.old


@dataclass(frozen=True)
class Happening:
    """An Event."""

    at: datetime | None
    warning: bool
    reason: str
    about: str
    message: str
    count: int


@dataclass(frozen=True)
class Overview:
    """Everything that the screen shows."""

    resource: Resource
    rows: tuple[Row, ...]
    events: tuple[Happening, ...]
    advice: Advice
    gaps: tuple[Gap, ...]

    @property
    def reason(self) -> str:
        """One word for how it is."""
        resource = self.resource
        if resource.is_deleting:
            return "Deleting"
        if not resource.is_observed:
            return "NotObserved"
        ready = resource.condition("Ready")
        return ready.reason if ready else "Unknown"

    def as_json(self) -> Json:
        """For machines; fields are only ever added to it."""
        resource = self.resource
        found = {
            "name": resource.name,
            "namespace": resource.namespace,
            "ready": resource.is_ready,
            "reason": self.reason,
            "paused": resource.is_paused,
            "observed": resource.is_observed,
            "release": {"wanted": resource.wanted, "applied": resource.applied, "stage": resource.stage},
            "advice": asdict(self.advice),
            "pools": [asdict(row) for row in self.rows],
            "gate": asdict(resource.gate) if resource.gate else None,
            "contract": asdict(resource.contract) if resource.contract else None,
            "conditions": [asdict(condition) for condition in resource.conditions],
            "lastError": asdict(resource.last_error) if resource.last_error else None,
            "events": [asdict(event) for event in self.events],
            "unreadable": [asdict(gap) for gap in self.gaps],
        }
        plain: Json = _plain(found)
        return plain


def build(
    resource: Resource,
    *,
    deployments: Sequence[Json] = (),
    pods: Sequence[Json] = (),
    events: Sequence[Json] = (),
    runnable: Mapping[str, int] | None = None,
    gaps: Sequence[Gap] = (),
) -> Overview:
    """Put together what was read.

    Args:
        resource: the Switchboard.
        deployments: that belong to it.
        pods: that belong to it.
        events: about it, and about its pods and Jobs.
        runnable: work per pool (``recorder`` for the recorder), as far as it is known.
        gaps: what could not be read.
    """
    return Overview(
        resource=resource,
        rows=tuple(_rows(resource, deployments, pods, runnable or {})),
        events=tuple(_happenings(events)),
        advice=advise(resource),
        gaps=tuple(gaps),
    )


def _rows(
    resource: Resource, deployments: Sequence[Json], pods: Sequence[Json], runnable: Mapping[str, int]
) -> list[Row]:
    live = {each["metadata"]["name"]: each for each in deployments}
    found = []
    for pool in resource.pools:
        name = names.RECORDER_POOL if pool.role == "recorder" else pool.name
        found.append(_row(pool, live.pop(pool.deployment, None), pods, runnable.get(name)))
    for deployment in live.values():
        labels = deployment["metadata"].get("labels") or {}
        role, name = labels.get(names.ROLE_LABEL, ""), labels.get(names.POOL_LABEL, "")
        leaving = Pool(role, name, deployment["metadata"]["name"], (), 0, 0)
        found.append(replace(_row(leaving, deployment, pods, None), low=None, high=None))
    return found


def _row(pool: Pool, live: Json | None, pods: Sequence[Json], runnable: int | None) -> Row:
    start = Row(pool.role, pool.name, pool.queues, pool.low, pool.high, runnable=runnable)
    if live is None:
        return start
    status, spec = live.get("status") or {}, live.get("spec") or {}
    template = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    updated = int(status.get("updatedReplicas", 0))
    restarts = sum(_restarts(pod) for pod in pods if _belongs(pod, pool))
    return replace(
        start,
        wanted=int(spec.get("replicas", 1)),
        ready=int(status.get("readyReplicas", 0)),
        updated=updated,
        old=max(0, int(status.get("replicas", 0)) - updated),
        version=str(template.get(names.VERSION_LABEL, "")),
        restarts=restarts,
    )


def _belongs(pod: Json, pool: Pool) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get(names.ROLE_LABEL) == pool.role and labels.get(names.POOL_LABEL, "") == pool.name


def _restarts(pod: Json) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return sum(int(each.get("restartCount", 0)) for each in statuses)


def _happenings(events: Sequence[Json]) -> list[Happening]:
    found = []
    for event in events:
        about = event.get("involvedObject") or {}
        series = event.get("series") or {}
        at = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
        found.append(
            Happening(
                at=moment(at or event["metadata"].get("creationTimestamp")),
                warning=event.get("type") == "Warning",
                reason=event.get("reason") or "",
                about="" if about.get("kind") == names.KIND else f"{about.get('kind', '')} {about.get('name', '')}",
                message=event.get("message") or "",
                count=int(series.get("count") or event.get("count") or 1),
            )
        )
    known = [each for each in found if each.at]
    return sorted(known, key=lambda each: each.at.timestamp() if each.at else 0.0, reverse=True)[:EVENTS_SHOWN]


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of the dataclasses above
    if isinstance(value, Mapping):
        return {_camel(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
