"""What the status of a ``Switchboard`` records: the truth about releases, gate, roll-out and history.

Everything that the planner must remember is here, never in the existence of a Job or in the operator's memory, so a
new operator goes on where the old one was stopped.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from switchboard_operator.spec import Part

HISTORY_LENGTH = 20

StepName = Literal["check", "expand"]
GateState = Literal["Running", "Failed", "Refused"]
ContractState = Literal["Pending", "Succeeded", "Failed"]
Stage = Literal["workers", "api", "contract", "done"]
Outcome = Literal["Running", "Succeeded", "Failed", "Refused", "Cancelled", "Superseded"]
ConditionType = Literal["Ready", "DatabaseMigrated", "Available", "Progressing", "Degraded"]

Text = Annotated[str, Field(max_length=32768)]


class Failure(Part):
    """The latest failed attempt of a migrate Job."""

    attempt: int = Field(description="Attempts that have failed.")
    max_attempts: int
    exit_code: int | None = None
    message: Text = Field("", description="Last lines of its log.")
    log_command: Text = ""


class Gate(Part):
    """A release that may not roll out yet."""

    number: int = Field(description="The transition's number; it never repeats.")
    key: str = Field(description="Hash of images, command and configuration of the migration.")
    version: str
    step: StepName = "check"
    run: int = Field(1, description="Counts the Jobs of this transition, retries included.")
    state: GateState = "Running"
    failure: Failure | None = None
    started_at: str
    retry_at: str | None = Field(None, description="When a failed check is repeated by itself.")


class Contract(Part):
    """The destructive half of a migration, after the last pod of the release before is gone."""

    state: ContractState = "Pending"
    run: int = 1
    failure: Failure | None = None


class Rendering(Part):
    """What the objects of a release are rendered from."""

    release: str = Field(description="Hash of the images; a label of every pod.")
    revision: int = Field(description="Of the operator's templates, so that an operator upgrade restarts nothing.")
    spec: dict[str, Any]


class Applied(Rendering):
    """The release that passed its gate."""

    number: int
    key: str
    version: str
    secrets: str = Field(description="Checksum of the Secrets that the pods see.")
    migration_secret: str = Field(description="Checksum of the owner's URL that was migrated.")
    stage: Stage = "workers"
    contract: Contract = Contract()


class HistoryEntry(Part):
    """One transition."""

    number: int
    version: str
    from_version: str | None = None
    outcome: Outcome
    started_at: str
    finished_at: str | None = None
    message: Text = ""


class Condition(Part):
    """As everywhere in Kubernetes."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: Text
    last_transition_time: str
    observed_generation: int


class RoleStatus(Part):
    """Replicas of a role, all pools together."""

    replicas: int = 0
    updated: int = 0
    available: int = 0


class LastError(Part):
    """The latest problem, also when it is over."""

    reason: str
    message: Text
    at: str


class State(Part):
    """The whole status."""

    observed_generation: int = 0
    version: str | None = Field(None, description="The release that passed its gate.")
    selector: str | None = Field(None, description="Of the api's pods, for the scale subresource.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    roles: dict[str, RoleStatus] = Field(default={}, description="Replicas per role.")
    transitions: int = Field(0, description="How many transitions there have been.")
    gate: Gate | None = None
    applied: Applied | None = None
    previous: Rendering | None = Field(None, description="What the api is rendered from until the workers are done.")
    retry_nonce: str | None = Field(None, description="The latest retry annotation that was obeyed.")
    scaling: dict[str, int] = Field(default={}, description="Replicas per pool, where the operator scales by itself.")
    history: list[HistoryEntry] = Field(default=[], max_length=HISTORY_LENGTH)
    last_error: LastError | None = None


def with_history(state: State, entry: HistoryEntry) -> State:
    """Add or replace the entry of a transition; the oldest ones go."""
    kept = [old for old in state.history if old.number != entry.number]
    return state.model_copy(update={"history": [*kept, entry][-HISTORY_LENGTH:]})
