"""The specification of a ``Switchboard``: one model, from which the CRD is generated (``crd.py``).

A default that is written here becomes part of every resource that does not set the field. Changing one changes running
systems at the next operator upgrade, so defaults stay as they are; new behaviour gets a new field.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from switchboard_operator.schema import RECORDED, Quantity, SecretKeyRef, SecretRef, SpecPart, cel, rules

QUEUES = ("high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts")
"""Queues that worker pools consume; ``recordings`` belongs to the recorder."""

Queue = Literal["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"]

RESERVED_ENV = (
    "CREDENTIALS_KEYS",
    "DATABASE_URL",
    "INTERNAL_TOKEN",
    "METRICS_PORT",
    "MIGRATION_DATABASE_URL",
    "PUBLIC_URL",
    "RECORDINGS_URL",
    "REDIS_URL",
    "RQ_QUEUES",
    "RUN_MIGRATIONS",
    "SERVICE_ROLE",
    "SWITCHBOARD_PORT",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
)
"""Variables that the operator sets itself, or that no pod of it may carry."""

FORBIDDEN_ENV = ("MIGRATION_DATABASE_URL", "RUN_MIGRATIONS")
"""Of these, what no api, worker or recorder may get from a Secret either: only the migrate Job migrates."""


class Images(SpecPart):
    """Where the images come from."""

    repository: str = Field(
        "switchboard",
        min_length=1,
        max_length=400,
        description="Prefix of the images: <repository>-api:<version>, <repository>-worker:<version> and so on.",
    )
    api: str | None = Field(None, max_length=500, description="Whole reference that replaces the api's image.")
    worker: str | None = Field(None, max_length=500, description="Whole reference that replaces the workers' image.")
    recorder: str | None = Field(None, max_length=500, description="Whole reference that replaces the recorder's.")
    migrate: str | None = Field(None, max_length=500, description="Image of the migrate Job; the api's by default.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes fetch the images, as in a pod."
    )
    pull_secrets: list[SecretRef] = Field(
        default=[], max_length=16, description="Secrets with the credentials of a private registry."
    )


class Database(SpecPart):
    """PostgreSQL, with two roles."""

    secret_ref: SecretKeyRef = Field(
        description="URL of the application's role, which owns nothing; row-level security applies to it."
    )
    migration_secret_ref: SecretKeyRef = Field(description="URL of the owner's role; only the migrate Job sees it.")
    app_role: str = Field(
        "switchboard_app", min_length=1, max_length=63, description="Role that migrations grant access to."
    )


class Redis(SpecPart):
    """Redis or Valkey, with maxmemory-policy noeviction."""

    secret_ref: SecretKeyRef = Field(description="Its URL.")


class Carrier(SpecPart):
    """The carrier's account."""

    secret_ref: SecretRef = Field(description="Secret with the account's SID and token.")
    account_sid_key: str = Field("accountSid", min_length=1, max_length=253, description="Its key with the SID.")
    auth_token_key: str = Field(
        "authToken",
        min_length=1,
        max_length=253,
        description="Its key with the token, which also checks the signature of the carrier's callbacks.",
    )
    base_url: str | None = Field(None, max_length=500, description="Another API than Twilio's, the simulator's say.")
    media_hosts: list[Annotated[str, Field(max_length=253)]] = Field(
        default=[], max_length=16, description="Further hosts that recordings may be downloaded from."
    )
    calls_per_second: float = Field(1.0, gt=0, description="Create requests a second on the account.")


_NAMES_A_CLAIM = "has(self.claimName) || has(oldSelf.claimName)"
_ANOTHER_CLAIM = "make another claim, copy the recordings, and name it in claimName"


class Volume(SpecPart):
    """A PersistentVolumeClaim for recordings."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            # Kubernetes refuses both. A smaller size is no fault: a claim that has grown stays as large as it is, and
            # who reverts a change of several fields must not be kept from it.
            cel(
                f"{_NAMES_A_CLAIM} || (has(self.storageClassName) ? has(oldSelf.storageClassName) && "
                "self.storageClassName == oldSelf.storageClassName : !has(oldSelf.storageClassName))",
                f"the storage class of a claim cannot be changed: {_ANOTHER_CLAIM}",
            ),
            cel(
                f"{_NAMES_A_CLAIM} || self.accessModes == oldSelf.accessModes",
                f"the access modes of a claim cannot be changed: {_ANOTHER_CLAIM}",
            ),
        )
    )

    claim_name: str | None = Field(None, min_length=1, max_length=253, description="A claim that exists already.")
    size: Quantity = Field("20Gi", description="Of the claim that the operator makes; it grows, and never shrinks.")
    storage_class_name: str | None = Field(None, max_length=253, description="The cluster's default when not set.")
    access_modes: list[Literal["ReadWriteMany", "ReadWriteOnce"]] = Field(
        default=["ReadWriteMany"],
        min_length=1,
        max_length=1,
        description="The api reads what the recorder writes: ReadWriteOnce does only where both run on one node.",
    )
    delete_with_resource: bool = Field(
        default=False, description="Delete the claim and its recordings together with the Switchboard."
    )


class Storage(SpecPart):
    """Where recordings are kept."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.url) != has(self.volume)", "set exactly one of storage.url and storage.volume"),
        )
    )

    url: str | None = Field(None, pattern=r"^s3://.+", max_length=500, description="s3://bucket/prefix")
    endpoint_url: str | None = Field(None, max_length=500, description="Of an S3 server other than Amazon's.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the AWS_* variables.")
    volume: Volume | None = Field(None, description="A PersistentVolumeClaim instead of S3.")


class Resources(SpecPart):
    """Requests and limits of a container."""

    requests: dict[str, Quantity] = Field(
        default={}, max_length=8, description="What the scheduler and node autoscalers reserve for a pod."
    )
    limits: dict[str, Quantity] = Field(default={}, max_length=8, description="What a container may use at most.")


class Autoscaling(SpecPart):
    """Replicas follow the work that could run now."""

    model_config = ConfigDict(json_schema_extra=rules(cel("self.min <= self.max", "min must not exceed max")))

    min: int = Field(1, ge=0, le=1000, description="Replicas that always run; 0 lets an idle pool go to nothing.")
    max: int = Field(ge=1, le=1000, description="Replicas that run at most.")
    jobs_per_replica: int = Field(10, ge=1, le=100000, description="Runnable jobs that justify one replica.")
    scale_down_stabilization_seconds: int = Field(
        300, ge=0, le=3600, description="Replicas are taken away only when not needed for so long."
    )


class RecorderAutoscaling(Autoscaling):
    """As for a pool, except that recordings are always consumed."""

    min: int = Field(1, ge=1, le=1000, description="Replicas that always run; at least one.")


class Toleration(SpecPart):
    """As in a pod."""

    key: str | None = Field(None, max_length=317, description="Of the taint; every taint when not set.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Equal, when not set.")
    value: str | None = Field(None, max_length=63, description="Of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Of the taint; every effect when not set."
    )
    toleration_seconds: int | None = Field(None, description="For how long; for ever when not set.")


class Placement(SpecPart):
    """Where pods of a role may run and what they get."""

    node_selector: dict[str, str] = Field(default={}, max_length=16, description="Labels that nodes must have.")
    tolerations: list[Toleration] = Field(default=[], max_length=16, description="Taints that nodes may have.")
    priority_class_name: str | None = Field(None, max_length=253, description="Who is preempted on full nodes.")
    resources: Resources = Resources(
        requests={"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "128Mi"},
        limits={"memory": "512Mi", "ephemeral-storage": "1Gi"},
    )


class Api(Placement):
    """The api."""

    replicas: int = Field(2, ge=1, le=1000, description="How many; `kubectl scale sb` sets it too.")
    public_url: str = Field(
        pattern=r"^https?://[^/\s]+",
        max_length=500,
        description="Base of the carrier's callbacks, which it also signs; the carrier must reach it.",
    )


_FIXED_OR_SCALED = cel(
    "!(has(self.replicas) && has(self.autoscaling))", "set replicas or autoscaling, not both", ".replicas"
)


class WorkerPool(Placement):
    """Workers that consume the same queues."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _FIXED_OR_SCALED,
            cel("!(self.name in ['api', 'recorder', 'migrate'])", "this name is reserved", ".name"),
        )
    )

    name: str = Field(
        min_length=1,
        max_length=20,
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="Of the pool; part of the names of its objects.",
    )
    queues: list[Queue] = Field(
        min_length=1,
        max_length=len(QUEUES),
        description="Queues that the pool consumes, highest priority first.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    replicas: int | None = Field(
        None, ge=1, le=1000, description="A fixed number; one, when autoscaling is not set either."
    )
    autoscaling: Autoscaling | None = Field(
        None, description="Replicas that follow the work, instead of a fixed number."
    )


class Recorder(Placement):
    """Downloads and transcribes recordings; always at least one replica."""

    model_config = ConfigDict(json_schema_extra=rules(_FIXED_OR_SCALED))

    replicas: int | None = Field(
        None, ge=1, le=1000, description="A fixed number; one, when autoscaling is not set either."
    )
    autoscaling: RecorderAutoscaling | None = Field(
        None, description="Replicas that follow the recordings that wait, instead of a fixed number."
    )
    resources: Resources = Resources(
        requests={"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "1Gi"},
        limits={"memory": "1Gi", "ephemeral-storage": "4Gi"},
    )


class Migrations(SpecPart):
    """Limits of the migrate Job."""

    backoff_limit: int = Field(3, ge=0, le=20, description="How often a failed attempt is repeated.")
    active_deadline_seconds: int = Field(
        1800, ge=10, le=86400, description="How long one Job may take, all its attempts together."
    )
    lock_timeout_seconds: int = Field(60, ge=0, le=86400, description="How long to try for the migration lock.")
    statement_timeout_seconds: int = Field(
        120, ge=1, le=86400, description="How long one SQL statement of a migration may take."
    )
    resources: Resources = Resources(
        requests={"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "64Mi"},
        limits={"memory": "512Mi", "ephemeral-storage": "512Mi"},
    )


class Logging(SpecPart):
    """How the services log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least important lines logged.")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")


class EnvVar(SpecPart):
    """One more variable of api, workers and recorder."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                f"!(self.name in {list(RESERVED_ENV)})",
                "the operator sets this variable itself, or no pod may carry it",
                ".name",
            )
        )
    )

    name: str = Field(
        min_length=1, max_length=100, pattern=r"^[A-Z][A-Z0-9_]*$", description="One of the settings of the services."
    )
    value: str = Field(max_length=4096, description="Its value, in clear: what is secret goes into envFromSecrets.")


class NetworkPolicies(SpecPart):
    """Who may open connections to the pods."""

    enabled: bool = Field(
        default=False, description="Make one policy per role that lets in only what the role serves; egress stays open."
    )


_QUEUE_LITERAL = "[" + ", ".join(f"'{queue}'" for queue in QUEUES) + "]"


class SwitchboardSpec(SpecPart):
    """What a user wants."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                f"{_QUEUE_LITERAL}.all(q, self.workers.exists_one(p, q in p.queues))",
                f"every queue ({', '.join(QUEUES)}) must belong to exactly one pool of workers",
                ".workers",
            ),
        )
    )

    version: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="The release: tag of the images.",
    )
    images: Images = Images()
    database: Database
    redis: Redis
    carrier: Carrier
    storage: Storage
    api: Api
    workers: list[WorkerPool] = Field(
        min_length=1,
        max_length=16,
        description="Pools of workers. Together they consume every queue but recordings, each queue in one pool.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    recorder: Recorder = Recorder()
    migrations: Migrations = Migrations()
    logging: Logging = Logging()
    env: list[EnvVar] = Field(
        default=[],
        max_length=64,
        description="Further settings of api, workers and recorder.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    env_from_secrets: list[SecretRef] = Field(
        default=[], max_length=16, description="Secrets whose keys become variables of api, workers and recorder."
    )
    network_policies: NetworkPolicies = NetworkPolicies()
    paused: bool = Field(default=False, description="The operator looks and reports, and changes nothing.")

    @model_validator(mode="after")
    def _every_queue_has_one_pool(self, info: ValidationInfo) -> Self:
        """What the CRD's rule says too; a resource may be older than the rule."""
        if info.context == RECORDED:
            return self
        consumers: list[str] = [queue for pool in self.workers for queue in pool.queues]
        wrong = [queue for queue in QUEUES if consumers.count(queue) != 1]
        if wrong:
            msg = f"every queue must belong to exactly one pool of workers; look at {', '.join(wrong)}"
            raise ValueError(msg)
        return self

    @classmethod
    def recorded(cls, found: Mapping[str, Any]) -> Self:
        """One that the status records, by whatever release of the operator: it passed the rules of its time."""
        return cls.model_validate(found, context=RECORDED)

    def image(self, role: str) -> str:
        """Reference of a role's image.

        Args:
            role: ``api``, ``worker``, ``recorder`` or ``migrate``.
        """
        override: str | None = getattr(self.images, role)
        if override:
            return override
        if role == "migrate":
            return self.image("api")
        return f"{self.images.repository}-{role}:{self.version}"
