"""The roll-out of a release that passed its gate: workers and recorder, then the api, then the contract phase. Pure."""

from datetime import datetime

from switchboard_operator import names, secrets
from switchboard_operator.actions import Emit, Progress
from switchboard_operator.gate import describe, failure_of, timestamp
from switchboard_operator.reasons import EventReason
from switchboard_operator.render import Pool, Renderer, pools, replicas_of
from switchboard_operator.resources import deployment
from switchboard_operator.resources.base import Manifest, Owner
from switchboard_operator.snapshot import Observed, PodView, nested
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import Applied, Contract, Rendering, State, with_history
from switchboard_operator.target import Target

SERVING_ROLES = frozenset({"api", "worker", "recorder"})


def renderer(observed: Observed, state: State, wanted: SwitchboardSpec | None) -> Renderer:
    """A renderer for a state."""
    existing = frozenset(name for kind, name in observed.objects if kind == "Deployment")
    return Renderer(observed.owner, state, wanted, keda=observed.keda, existing=existing)


def is_replaced(wanted: Manifest, live: Manifest | None) -> bool:
    """No pod of a Deployment is made from an older template; there may be fewer than there should be."""
    if live is None or _template(wanted) != _template(live):
        return False
    status = live.get("status", {})
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False
    return bool(status.get("replicas", 0) <= status.get("updatedReplicas", 0))


def is_rolled_out(wanted: Manifest, live: Manifest | None) -> bool:
    """All replicas of a Deployment are new and available, and no old one is left."""
    if live is None or not is_replaced(wanted, live):
        return False
    available: int = live.get("status", {}).get("availableReplicas", 0)
    replicas: int = live["spec"].get("replicas", 1)
    return available >= replicas


def _template(deployment: Manifest) -> str | None:
    found: str | None = nested(deployment, "metadata", "annotations", names.TEMPLATE_ANNOTATION)
    return found


def old_pods(observed: Observed, applied: Applied) -> list[PodView]:
    """Pods of any other release that may still use what the contract phase removes, terminating ones included."""
    return [
        pod
        for pod in observed.pods
        if pod.role in SERVING_ROLES and pod.release != applied.release and not pod.finished
    ]


def contract_job_name(owner: Owner, applied: Applied) -> str:
    """Name of the contract Job of a release."""
    return names.migrate_job_name(owner.name, applied.number, "contract", applied.contract.run)


def may_contract(state: State, observed: Observed) -> bool:
    """The contract Job may run: the roll-out is complete, and nobody uses the old schema any more."""
    applied = state.applied
    return (
        state.gate is None
        and applied is not None
        and applied.stage == "contract"
        and applied.contract.state == "Pending"
        and not old_pods(observed, applied)
    )


def adopt(state: State, applied: Applied, target: Target, observed: Observed) -> Progress | None:
    """Take over changes of the spec that need no migration; None when there are none."""
    update: dict[str, object] = {}
    previous = state.previous
    if not target.is_recorded(applied):
        update["spec"] = target.spec.dump()
        if not target.differs_only_in_scale(applied):
            if applied.stage != "workers":
                previous = Rendering(release=applied.release, revision=applied.revision, spec=applied.spec)
            update["stage"] = "workers"
    checksum = secrets.pods_checksum(target.spec, observed.secrets, observed.owner, applied.revision)
    if checksum != applied.secrets:
        update["secrets"] = checksum
    if not update:
        return None
    events: tuple[Emit, ...] = ()
    if "secrets" in update:
        events = (_secrets_changed(checksum),)
    changed = applied.model_copy(update=update)
    return Progress(state.model_copy(update={"applied": changed, "previous": previous}), events)


def adopt_secrets(state: State, applied: Applied, observed: Observed) -> Progress | None:
    """Roll pods of the recorded release for a changed Secret while its spec is frozen.

    A password that was changed must reach the pods also while a migration fails. When the owner's URL has changed as
    well it may be about another database, and then the pods wait for the gate like everything else.
    """
    spec = SwitchboardSpec.recorded(applied.spec)
    if secrets.missing(spec, observed.secrets, observed.owner, applied) or secrets.refused(spec, observed.secrets):
        return None
    if secrets.migration_checksum(spec, observed.secrets, observed.owner) != applied.migration_secret:
        return None
    checksum = secrets.pods_checksum(spec, observed.secrets, observed.owner, applied.revision)
    if checksum == applied.secrets:
        return None
    changed = applied.model_copy(update={"secrets": checksum})
    return Progress(state.model_copy(update={"applied": changed}), (_secrets_changed(checksum),))


def _secrets_changed(checksum: str) -> Emit:
    return Emit("SecretsChanged", "A Secret has changed: every pod is replaced once.", f"secrets.{checksum}")


def advance_rollout(
    state: State, applied: Applied, target: Target, observed: Observed, now: datetime
) -> Progress | None:
    """The next stage of a roll-out, when the present one is complete."""
    render = renderer(observed, state, target.spec)
    release = render.release(applied)
    if applied.stage == "workers":
        wanted = render.workers_of(release)
        if all(is_rolled_out(each, observed.deployment(each["metadata"]["name"])) for each in wanted):
            message = f"Workers and recorder of release {applied.version} run; the api follows."
            return _stage(state, applied, "api", message)
    elif applied.stage == "api":
        api = deployment.api_deployment(release, release.spec.api.replicas)
        if is_rolled_out(api, observed.deployment(api["metadata"]["name"])):
            message = f"The api of release {applied.version} runs."
            return _stage(state, applied, "contract", message)
    elif applied.stage == "contract":
        return _contract(state, applied, observed, now)
    return None


def scale(state: State, wanted: SwitchboardSpec | None, observed: Observed) -> Progress | None:
    """Record how many replicas the pools have that are scaled here; None where nothing changes.

    A pool begins with those that it has: until now KEDA or a fixed number has decided. While one of them does, nothing
    is recorded for it.
    """
    if state.applied is None:
        return None
    scaling = dict(state.scaling)
    told = []
    for pool in pools(observed.owner, wanted or SwitchboardSpec.recorded(state.applied.spec)):
        begun = scaling.pop(pool.name, None)
        live = observed.deployment(pool.deployment)
        if observed.keda or pool.autoscaling is None:
            continue
        if begun is not None:
            before = _within(pool, begun)
            after = _within(pool, observed.recommendations.get(pool.name, before))
        elif live is not None:
            # What is recommended now may still be about the time before.
            before = after = _within(pool, live["spec"].get("replicas", 1))
        else:
            continue
        scaling[pool.name] = after
        if before != after:
            told.append((pool.name, before, after))
    if scaling == state.scaling:
        return None
    events = tuple(
        Emit(
            "Scaled",
            f"Pool {name}: {before} to {after} replicas.",
            f"scaled.{name}.{before}.{after}.{observed.resource_version}",
        )
        for name, before, after in told
    )
    return Progress(state.model_copy(update={"scaling": scaling}), events)


def _within(pool: Pool, replicas: int) -> int:
    return replicas_of(pool, {pool.name: replicas})


def _stage(state: State, applied: Applied, stage: str, message: str) -> Progress:
    update: dict[str, object] = {"applied": applied.model_copy(update={"stage": stage})}
    if stage == "contract":
        update["previous"] = None
    event = Emit("RolledOut", message, f"{applied.number}.{applied.release}.{stage}")
    return Progress(state.model_copy(update=update), (event,))


def _contract(state: State, applied: Applied, observed: Observed, now: datetime) -> Progress | None:
    contract = applied.contract
    if contract.state == "Succeeded":
        return _with_contract(state, applied, contract, stage="done")
    job = observed.job(contract_job_name(observed.owner, applied))
    if contract.state == "Failed" or job is None:
        return None
    if job.succeeded:
        message = f"The database is what release {applied.version} needs and no more."
        event = Emit("Contracted", message, f"{applied.number}.contracted")
        return _with_contract(state, applied, Contract(state="Succeeded", run=contract.run), event, stage="done")
    failure = failure_of(job, observed)
    if failure.attempt == 0 or (failure == contract.failure and not job.failed):
        return None
    reason: EventReason = "ContractFailed" if job.failed else "ContractAttemptFailed"
    key = f"{applied.number}.c{contract.run}.{failure.attempt}.{reason}"
    event = Emit(reason, describe(failure), key, warning=True)
    changed = contract.model_copy(update={"failure": failure, "state": "Failed" if job.failed else "Pending"})
    if job.failed:
        state = _note(state, applied, f"Contract phase: {describe(failure)}", now)
    return _with_contract(state, applied, changed, event)


def _with_contract(
    state: State, applied: Applied, contract: Contract, *events: Emit, stage: str = "contract"
) -> Progress:
    changed = applied.model_copy(update={"contract": contract, "stage": stage})
    return Progress(state.model_copy(update={"applied": changed}), events)


def _note(state: State, applied: Applied, message: str, now: datetime) -> State:
    entry = next((each for each in state.history if each.number == applied.number), None)
    if entry is None:
        return state
    return with_history(state, entry.model_copy(update={"message": message, "finished_at": timestamp(now)}))
