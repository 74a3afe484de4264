"""What the planner wants done. ``apply.py`` does it, one API call each, in order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from switchboard_operator.kinds import ObjectKey
from switchboard_operator.reasons import ConditionReason, EventReason
from switchboard_operator.resources.base import Manifest
from switchboard_operator.state import State


@dataclass(frozen=True)
class Apply:
    """Server-side apply of an object; ``known`` says that the snapshot held it, so that it is surely ours."""

    manifest: Manifest
    known: bool = True


@dataclass(frozen=True)
class TakeOver:
    """Make fields that somebody else added ours, so that the next apply removes them.

    Attributes:
        key: the object.
        resource_version: that was seen; another one is refused.
        managed_fields: what to write, with the foreign fields in our own entry.
    """

    key: ObjectKey
    resource_version: str
    managed_fields: list[dict[str, Any]]


@dataclass(frozen=True)
class HandOverReplicas:
    """Keep the replicas of a Deployment as they are while an autoscaler takes them over from us."""

    name: str
    replicas: int


@dataclass(frozen=True)
class EnsureSecret:
    """Make a Secret of the operator's own with a random value under ``key``, unless it is there."""

    manifest: Manifest
    key: str


@dataclass(frozen=True)
class ExpireJob:
    """Let Kubernetes delete a finished Job whose outcome was recorded, in ``seconds``."""

    name: str
    seconds: int


@dataclass(frozen=True)
class Delete:
    """Delete exactly the object that was seen."""

    key: ObjectKey
    uid: str


@dataclass(frozen=True)
class Emit:
    """An Event on the Switchboard.

    Attributes:
        reason: one word.
        message: for people.
        key: what happened, uniquely: the same key is never told twice.
        warning: something is to be done.
    """

    reason: EventReason | ConditionReason
    message: str
    key: str
    warning: bool = False

    @property
    def type(self) -> Literal["Normal", "Warning"]:
        """As Kubernetes calls it."""
        return "Warning" if self.warning else "Normal"


@dataclass(frozen=True)
class WriteStatus:
    """Write the status, unless the resource has changed since it was read."""

    state: State
    resource_version: str


@dataclass(frozen=True)
class Requeue:
    """Look again after ``seconds``, whatever the watches say."""

    seconds: float


Action = Apply | TakeOver | HandOverReplicas | EnsureSecret | ExpireJob | Delete | Emit | WriteStatus | Requeue


@dataclass(frozen=True)
class Progress:
    """A step of the state machine: the new state, and what to tell about it."""

    state: State
    events: tuple[Emit, ...] = ()


@dataclass(frozen=True)
class Drift:
    """How an object differs from what it should be.

    Attributes:
        paths: fields with another value, or missing.
        foreign: fields that somebody else added, per manager.
    """

    paths: tuple[str, ...] = ()
    foreign: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.paths or self.foreign)
