"""A ``Switchboard`` resource, read: spec and status as far as people are told about them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from kubectl_switchboard import names
from kubectl_switchboard.kinds import Json


@dataclass(frozen=True)
class Condition:
    """One condition of the status."""

    type: str
    status: str
    reason: str
    message: str
    since: datetime | None


@dataclass(frozen=True)
class Failure:
    """The latest failed attempt of a migrate Job; ``message`` has the last lines of its log."""

    attempt: int
    max_attempts: int
    exit_code: int | None
    message: str
    log_command: str

    @classmethod
    def read(cls, found: Json | None) -> Self | None:
        """From a status; None when nothing has failed."""
        if not found:
            return None
        return cls(
            attempt=found.get("attempt", 0),
            max_attempts=found.get("maxAttempts", 0),
            exit_code=found.get("exitCode"),
            message=found.get("message", ""),
            log_command=found.get("logCommand", ""),
        )


@dataclass(frozen=True)
class Gate:
    """A release that may not roll out yet."""

    number: int
    version: str
    step: str
    run: int
    state: str
    failure: Failure | None
    started_at: datetime | None
    retry_at: datetime | None


@dataclass(frozen=True)
class Contract:
    """The destructive half of the migration of the release that runs."""

    state: str
    run: int
    failure: Failure | None


@dataclass(frozen=True)
class Pool:
    """Deployments that the spec wants; ``low`` and ``high`` bound its replicas, and are equal where they are fixed."""

    role: str
    name: str
    deployment: str
    queues: tuple[str, ...]
    low: int
    high: int


@dataclass(frozen=True)
class LastError:
    """The latest problem, also when it is over."""

    reason: str
    message: str
    at: datetime | None


class Resource:
    """Reads one resource; fields that a newer or older operator leaves out are empty, never an error.

    Args:
        found: as the API server sent it.
    """

    def __init__(self, found: Json) -> None:
        self.found = found
        self.metadata: Json = found.get("metadata") or {}
        self.spec: Json = found.get("spec") or {}
        self.status: Json = found.get("status") or {}
        self.name = str(self.metadata.get("name", ""))
        self.namespace = str(self.metadata.get("namespace", ""))

    @property
    def generation(self) -> int:
        """Of the spec."""
        return int(self.metadata.get("generation", 0))

    @property
    def is_observed(self) -> bool:
        """The operator has looked at the newest spec."""
        return int(self.status.get("observedGeneration", 0)) >= self.generation and bool(self.conditions)

    @property
    def is_deleting(self) -> bool:
        """It is being deleted."""
        return "deletionTimestamp" in self.metadata

    @property
    def is_paused(self) -> bool:
        """The operator is told to change nothing."""
        return bool(self.spec.get("paused", False))

    @property
    def is_ready(self) -> bool:
        """The newest spec runs."""
        ready = self.condition("Ready")
        return self.is_observed and not self.is_deleting and ready is not None and ready.status == "True"

    @property
    def wanted(self) -> str:
        """The release of the spec."""
        return str(self.spec.get("version", ""))

    @property
    def applied(self) -> str | None:
        """The release that passed its gate."""
        found = self._applied.get("version")
        return str(found) if found else None

    @property
    def applied_number(self) -> int:
        """The transition that brought the applied release; 0 when there is none."""
        return int(self._applied.get("number", 0))

    @property
    def stage(self) -> str | None:
        """How far the applied release is rolled out."""
        found = self._applied.get("stage")
        return str(found) if found else None

    @property
    def retry_nonce(self) -> str | None:
        """The latest retry that was obeyed."""
        return self.status.get("retryNonce")

    @property
    def conditions(self) -> list[Condition]:
        """All conditions."""
        return [
            Condition(
                type=each.get("type", ""),
                status=each.get("status", "Unknown"),
                reason=each.get("reason", ""),
                message=each.get("message", ""),
                since=moment(each.get("lastTransitionTime")),
            )
            for each in self.status.get("conditions") or []
        ]

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type."""
        return next((each for each in self.conditions if each.type == kind), None)

    @property
    def gate(self) -> Gate | None:
        """The gate, while a release has to pass it."""
        found = self.status.get("gate")
        if not found:
            return None
        return Gate(
            number=found.get("number", 0),
            version=found.get("version", ""),
            step=found.get("step", ""),
            run=found.get("run", 1),
            state=found.get("state", ""),
            failure=Failure.read(found.get("failure")),
            started_at=moment(found.get("startedAt")),
            retry_at=moment(found.get("retryAt")),
        )

    @property
    def contract(self) -> Contract | None:
        """The contract phase of the applied release."""
        found = self._applied.get("contract")
        if not found:
            return None
        return Contract(found.get("state", "Pending"), found.get("run", 1), Failure.read(found.get("failure")))

    @property
    def last_error(self) -> LastError | None:
        """The latest problem."""
        found = self.status.get("lastError")
        if not found:
            return None
        return LastError(found.get("reason", ""), found.get("message", ""), moment(found.get("at")))

    def outcome(self, number: int) -> str | None:
        """What the history says about a transition."""
        for entry in self.status.get("history") or []:
            if entry.get("number") == number:
                return str(entry.get("outcome"))
        return None

    @property
    def pools(self) -> list[Pool]:
        """The api, the pools of workers and the recorder, as the spec wants them."""
        replicas = int((self.spec.get("api") or {}).get("replicas", 2))
        found = [Pool("api", "", names.api_name(self.name), (), replicas, replicas)]
        for pool in self.spec.get("workers") or []:
            name = str(pool.get("name", ""))
            low, high = _limits(pool)
            deployment = names.worker_name(self.name, name)
            found.append(Pool("worker", name, deployment, tuple(pool.get("queues") or ()), low, high))
        low, high = _limits(self.spec.get("recorder") or {})
        deployment = names.recorder_name(self.name)
        return [*found, Pool("recorder", "", deployment, names.RECORDER_QUEUES, low, high)]

    @property
    def secret_names(self) -> set[str]:
        """Every Secret that the spec names or a release that may still run, and those that the operator makes."""
        made = {names.internal_secret_name(self.name), names.credentials_secret_name(self.name)}
        before = (self._applied, self.status.get("previous") or {})
        specs = (self.spec, *(each.get("spec") or {} for each in before))
        return {name for spec in specs for name, _ in _secret_keys(spec)} | made

    def keys_of_secret(self, name: str) -> list[str]:
        """The keys that the spec wants in a Secret."""
        return sorted({key for found, key in _secret_keys(self.spec) if found == name and key})

    @property
    def _applied(self) -> Json:
        found: Json = self.status.get("applied") or {}
        return found


def moment(text: str | None) -> datetime | None:
    """A timestamp of Kubernetes."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _secret_keys(spec: Json) -> list[tuple[str, str]]:
    """Secrets and keys that a spec names; an empty key means all of them."""
    database, carrier = spec.get("database") or {}, spec.get("carrier") or {}
    account = carrier.get("secretRef") or {}
    references = [
        database.get("secretRef"),
        database.get("migrationSecretRef"),
        (spec.get("redis") or {}).get("secretRef"),
        account | {"key": carrier.get("accountSidKey", "accountSid")} if account else None,
        account | {"key": carrier.get("authTokenKey", "authToken")} if account else None,
        (spec.get("storage") or {}).get("secretRef"),
        *(spec.get("envFromSecrets") or []),
    ]
    return [(str(each["name"]), str(each.get("key", ""))) for each in references if each]


def _limits(pool: Mapping[str, Any]) -> tuple[int, int]:
    scaling = pool.get("autoscaling")
    if scaling:
        return int(scaling.get("min", 1)), int(scaling.get("max", 1))
    fixed = int(pool.get("replicas") or 1)
    return fixed, fixed
