"""What the status of a ``Switchboard`` records: the truth about releases, gate, roll-out and history.

Everything that the planner must remember is here, never in the existence of a Job or in the operator's memory, so a
new operator goes on where the old one was stopped.

A newer operator may have written words that this one does not know. They count as not written, and never as a reason to
go on: a gate is asked again from its beginning, a roll-out begins again with all its pods to be seen.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticUseDefault

from switchboard_operator.schema import Part

HISTORY_LENGTH = 20

StepName = Literal["check", "expand"]
GateState = Literal["Running", "Failed", "Refused"]
ContractState = Literal["Pending", "Succeeded", "Failed"]
Stage = Literal["workers", "api", "contract", "done"]
Outcome = Literal["Running", "Succeeded", "Failed", "Refused", "Cancelled", "Superseded"]
ConditionType = Literal["Ready", "DatabaseMigrated", "Available", "Progressing", "Degraded"]

_LONGEST_TEXT = 32768


def _cut(value: object) -> object:
    """Never a reason to stop: whoever tells something does not know how long it may be."""
    too_long = isinstance(value, str) and len(value) > _LONGEST_TEXT
    return f"{cast('str', value)[: _LONGEST_TEXT - 1]}…" if too_long else value


Text = Annotated[str, Field(max_length=_LONGEST_TEXT), BeforeValidator(_cut)]


def _known_word(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    try:
        return parse(value)
    except ValidationError:
        raise PydanticUseDefault from None


def _known_stage(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    """Not the default: at "workers" an api without a release before would be taken away."""
    try:
        return parse(value)
    except ValidationError:
        return "api"


def _known_items(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    """The items of a list without those that have an unknown word."""
    try:
        return parse(value)
    except ValidationError as error:
        places = {item["loc"][0] for item in error.errors() if item["loc"]}
        kept = [item for place, item in enumerate(cast("list[object]", value)) if place not in places]
        return parse(kept)


def _known_gate(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    """A gate that stands anywhere but where this operator knows is asked again from its beginning."""
    try:
        return parse(value)
    except ValidationError:
        begun = {key: part for key, part in cast("dict[str, object]", value).items() if key not in {"step", "state"}}
        return parse(begun)


class Failure(Part):
    """The latest failed attempt of a migrate Job."""

    attempt: int = Field(description="Attempts that have failed.")
    max_attempts: int = Field(description="Attempts that the Job makes in all.")
    exit_code: int | None = Field(None, description="Of the migration; not set where no pod tells it.")
    message: Text = Field("", description="Last lines of its log.")
    log_command: Text = Field("", description="Command that shows the whole log.")


class Gate(Part):
    """A release that may not roll out yet."""

    number: int = Field(description="The transition's number; it never repeats.")
    key: str = Field(description="Hash of images, command and configuration of the migration.")
    version: str = Field(description="The release that is wanted.")
    step: StepName = Field("check", description="Asking whether the database fits, or migrating it.")
    run: int = Field(1, description="Counts the Jobs of this transition, retries included.")
    state: GateState = Field("Running", description="Refused: release and schema do not fit; nothing was touched.")
    failure: Failure | None = None
    started_at: str = Field(description="When the transition began.")
    retry_at: str | None = Field(None, description="When a failed check is repeated by itself.")


class Contract(Part):
    """The destructive half of a migration, after the last pod of the release before is gone."""

    state: Annotated[ContractState, WrapValidator(_known_word)] = Field("Pending", description="What became of it.")
    run: int = Field(1, description="Counts its Jobs, retries included.")
    failure: Failure | None = None


class Rendering(Part):
    """What the objects of a release are rendered from."""

    release: str = Field(description="Hash of the images; a label of every pod.")
    revision: int = Field(description="Of the operator's templates, so that an operator upgrade restarts nothing.")
    spec: dict[str, Any] = Field(description="The spec as it was then.")


class Applied(Rendering):
    """The release that passed its gate."""

    number: int = Field(description="Of the transition that brought it.")
    key: str = Field(description="What passed the gate, as a hash.")
    version: str = Field(description="Its version.")
    secrets: str = Field(description="Checksum of the Secrets that the pods see.")
    migration_secret: str = Field(description="Checksum of the owner's URL that was migrated.")
    stage: Annotated[Stage, WrapValidator(_known_stage)] = Field("workers", description="How far its roll-out is.")
    contract: Contract = Contract()


class HistoryEntry(Part):
    """One transition."""

    number: int = Field(description="Of the transition.")
    version: str = Field(description="The release that was wanted.")
    from_version: str | None = Field(None, description="The release that ran; not set at the first install.")
    outcome: Outcome = Field(description="What became of it.")
    started_at: str = Field(description="When it began.")
    finished_at: str | None = Field(None, description="When its outcome was known.")
    message: Text = Field("", description="More about the outcome.")


class Condition(Part):
    """As everywhere in Kubernetes."""

    type: ConditionType = Field(description="What it is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, in one word.")
    message: Text = Field(description="Why, for people, and what to do.")
    last_transition_time: str = Field(description="When its status changed last.")
    observed_generation: int = Field(description="Generation of the resource that it is about.")


class RoleStatus(Part):
    """Replicas of a role, all pools together."""

    replicas: int = Field(0, description="Pods that exist.")
    updated: int = Field(0, description="Of these, made from the newest template.")
    available: int = Field(0, description="Of these, ready to serve.")


class LastError(Part):
    """The latest problem, also when it is over."""

    reason: str = Field(description="In one word.")
    message: Text = Field(description="For people.")
    at: str = Field(description="When it was seen first.")


class State(Part):
    """The whole status."""

    observed_generation: int = Field(0, description="Generation of the resource that the operator has looked at.")
    version: str | None = Field(None, description="The release that passed its gate.")
    selector: str | None = Field(None, description="Of the api's pods, for the scale subresource.")
    conditions: Annotated[list[Condition], WrapValidator(_known_items)] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    roles: dict[str, RoleStatus] = Field(default={}, description="Replicas per role.")
    transitions: int = Field(0, description="How many transitions there have been.")
    gate: Annotated[Gate | None, WrapValidator(_known_gate)] = None
    applied: Applied | None = None
    previous: Rendering | None = Field(None, description="What the api is rendered from until the workers are done.")
    retry_nonce: str | None = Field(None, description="The latest retry annotation that was obeyed.")
    scaling: dict[str, int] = Field(default={}, description="Replicas per pool, where the operator scales by itself.")
    history: Annotated[list[HistoryEntry], WrapValidator(_known_items)] = Field(
        default=[], max_length=HISTORY_LENGTH, description="The latest transitions, the oldest first."
    )
    last_error: LastError | None = None


def with_history(state: State, entry: HistoryEntry) -> State:
    """Add or replace the entry of a transition; the oldest ones go."""
    kept = [old for old in state.history if old.number != entry.number]
    return state.model_copy(update={"history": [*kept, entry][-HISTORY_LENGTH:]})
