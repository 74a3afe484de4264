"""The migration gate: no release rolls out before the database was migrated for it. A pure state machine.

Every change of version, images or database is a *transition* with a number that never repeats. It goes through two
steps, each a Job: ``check`` asks whether release and schema fit and whether something is to be applied, ``expand``
applies it. Outcomes are recorded in status first; a Job that is gone before its outcome was recorded is run again,
which is harmless, because migrating twice does nothing. The planner starts Jobs; this module only reads them.
"""

from datetime import datetime, timedelta

from switchboard_operator import names
from switchboard_operator.actions import Emit, Progress
from switchboard_operator.reasons import EventReason
from switchboard_operator.resources.base import REVISION, Owner
from switchboard_operator.snapshot import JobView, Observed, PodView
from switchboard_operator.state import (
    Applied,
    Contract,
    Failure,
    Gate,
    HistoryEntry,
    Outcome,
    Rendering,
    State,
    with_history,
)
from switchboard_operator.target import Target

CHECK_AGAIN_S = 60
"""A failed check changes nothing, so it is repeated by itself: a database that comes back is noticed."""


def timestamp(now: datetime) -> str:
    """As Kubernetes writes it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The opposite of ``timestamp``."""
    return datetime.fromisoformat(text)


def begin(state: State, target: Target, now: datetime) -> Progress:
    """A new transition."""
    number = state.transitions + 1
    old = state.gate
    if old:
        state = _close(state, old, "Superseded", f"Release {target.spec.version} is wanted instead.", now)
    gate = Gate(number=number, key=target.key, version=target.spec.version, started_at=timestamp(now))
    before = state.applied.version if state.applied else None
    entry = HistoryEntry(
        number=number, version=gate.version, from_version=before, outcome="Running", started_at=gate.started_at
    )
    state = with_history(state.model_copy(update={"transitions": number, "gate": gate}), entry)
    message = f"Transition {number} to release {gate.version}: asking whether the database fits."
    return Progress(state, (Emit("TransitionStarted", message, f"{number}.started"),))


def cancel(state: State, gate: Gate, now: datetime) -> Progress:
    """The spec was put back to the release that is applied: nothing of it has been replaced."""
    message = f"Transition {gate.number} to release {gate.version} was cancelled by reverting the spec."
    state = _close(state, gate, "Cancelled", message, now)
    state = state.model_copy(update={"gate": None})
    return Progress(state, (Emit("TransitionCancelled", message, f"{gate.number}.cancelled"),))


def retry(state: State, nonce: str, now: datetime) -> Progress:
    """Obey a retry annotation, once; it means nothing when nothing has failed."""
    state = state.model_copy(update={"retry_nonce": nonce})
    gate, applied = state.gate, state.applied
    if gate and gate.state != "Running":
        again = _again(gate).model_copy(update={"step": "check"})
        state = _reopen_history(state.model_copy(update={"gate": again}), again, now)
        message = f"Transition {gate.number} to release {gate.version} is tried again."
        return Progress(state, (Emit("MigrationRetried", message, f"{gate.number}.{again.run}.retried"),))
    if applied and applied.contract.state == "Failed":
        contract = Contract(run=applied.contract.run + 1)
        state = state.model_copy(update={"applied": applied.model_copy(update={"contract": contract})})
        message = f"The contract phase of release {applied.version} is tried again."
        return Progress(state, (Emit("MigrationRetried", message, f"{applied.number}.c{contract.run}.retried"),))
    return Progress(state)


def advance_gate(state: State, gate: Gate, target: Target | None, observed: Observed, now: datetime) -> Progress | None:
    """Record what became of the Job of a gate's current step; None when there is nothing new."""
    if gate.state != "Running":
        due = gate.retry_at is not None and now >= parse_timestamp(gate.retry_at)
        if due:
            # The failure stays known until there is another answer: asking makes no database well.
            again = _again(gate).model_copy(update={"failure": gate.failure})
            return Progress(state.model_copy(update={"gate": again}))
        return None
    name = job_name(observed.owner, gate)
    job = observed.job(name)
    if job is None:
        return None
    if job.succeeded:
        return open_gate(state, gate, target, now)
    failure = failure_of(job, observed)
    if not job.failed:
        return _still_running(state, gate, failure)
    if failure.exit_code == names.EXIT_PENDING and gate.step == "check":
        return _expand(state, gate)
    return _failed(state, gate, job, failure, now)


def job_name(owner: Owner, gate: Gate) -> str:
    """Name of the Job of a gate's current step."""
    return names.migrate_job_name(owner.name, gate.number, gate.step, gate.run)


def open_gate(state: State, gate: Gate, target: Target | None, now: datetime) -> Progress | None:
    """The database is ready: the release becomes the applied one, and its roll-out begins."""
    if target is None or target.waits or target.key != gate.key:
        # The release to record is not known just now; the Job's outcome waits for it.
        return None
    applied = Applied(
        number=gate.number,
        key=gate.key,
        version=gate.version,
        release=target.release,
        revision=REVISION,
        spec=target.spec.dump(),
        secrets=target.secrets,
        migration_secret=target.migration_secret,
    )
    message = f"The database is migrated for release {gate.version}."
    previous = _api_runs(state)
    state = _close(state, gate, "Succeeded", message, now)
    update = {"gate": None, "applied": applied, "previous": previous, "version": gate.version}
    return Progress(state.model_copy(update=update), (Emit("DatabaseMigrated", message, f"{gate.number}.open"),))


def failure_of(job: JobView, observed: Observed) -> Failure:
    """The latest failed attempt of a Job, as far as its pods still tell."""
    ended = [pod for pod in observed.pods_of_job(job.name) if pod.exit_code not in {None, 0}]
    last: PodView | None = ended[-1] if ended else None
    limit = _backoff_limit(job, observed) + 1
    what = f"pod/{last.name}" if last else f"job/{job.name}"
    return Failure(
        attempt=max(1, min(job.failures, limit)) if job.failures or job.failed else 0,
        max_attempts=limit,
        exit_code=last.exit_code if last else _exit_code_in(job.message),
        message=(last.message if last else "") or job.message,
        log_command=f"kubectl logs --namespace {observed.owner.namespace} {what}",
    )


def describe(failure: Failure) -> str:
    """A failed attempt in words."""
    code = f" with exit code {failure.exit_code}" if failure.exit_code is not None else ""
    lines = f": {failure.message}" if failure.message else ""
    return f"Attempt {failure.attempt} of {failure.max_attempts} failed{code}{lines}\nLog: {failure.log_command}"


def _expand(state: State, gate: Gate) -> Progress:
    gate = gate.model_copy(update={"step": "expand", "failure": None})
    message = f"Migrating the database for release {gate.version}."
    event = Emit("MigrationStarted", message, f"{gate.number}.{gate.run}.expand")
    return Progress(state.model_copy(update={"gate": gate}), (event,))


def _still_running(state: State, gate: Gate, failure: Failure) -> Progress | None:
    if failure.attempt == 0 or failure == gate.failure:
        return None
    state = state.model_copy(update={"gate": gate.model_copy(update={"failure": failure})})
    key = f"{gate.number}.{gate.run}.{gate.step}.{failure.attempt}"
    return Progress(state, (Emit("MigrationAttemptFailed", describe(failure), key, warning=True),))


def _failed(state: State, gate: Gate, job: JobView, failure: Failure, now: datetime) -> Progress:
    refused = failure.exit_code == names.EXIT_INCOMPATIBLE
    retry_at = None
    if gate.step == "check" and not refused:
        retry_at = timestamp(now + timedelta(seconds=CHECK_AGAIN_S))
    update = {"state": "Refused" if refused else "Failed", "failure": failure, "retry_at": retry_at}
    outcome: Outcome = "Refused" if refused else "Failed"
    closed = gate.model_copy(update=update)
    state = _close(state.model_copy(update={"gate": closed}), gate, outcome, describe(failure), now)
    reason: EventReason = "ReleaseRefused" if refused else "MigrationFailed"
    event = Emit(reason, describe(failure), f"{gate.number}.{gate.run}.{gate.step}.{job.uid}", warning=True)
    return Progress(state, (event,))


def _again(gate: Gate) -> Gate:
    """The next run; its Job gets a name of its own."""
    return gate.model_copy(update={"run": gate.run + 1, "state": "Running", "failure": None, "retry_at": None})


def _close(state: State, gate: Gate, outcome: Outcome, message: str, now: datetime) -> State:
    old = next((entry for entry in state.history if entry.number == gate.number), None)
    entry = HistoryEntry(
        number=gate.number,
        version=gate.version,
        from_version=old.from_version if old else None,
        outcome=outcome,
        started_at=gate.started_at,
        finished_at=timestamp(now),
        message=message,
    )
    return with_history(state, entry)


def _reopen_history(state: State, gate: Gate, now: datetime) -> State:
    state = _close(state, gate, "Running", "", now)
    entry = state.history[-1].model_copy(update={"finished_at": None})
    return with_history(state, entry)


def _api_runs(state: State) -> Rendering | None:
    """What the api is rendered from now: the release before, while the workers of a release are still rolling."""
    applied = state.applied
    if applied is None:
        return None
    if applied.stage == "workers":
        return state.previous
    return Rendering(release=applied.release, revision=applied.revision, spec=applied.spec)


def _backoff_limit(job: JobView, observed: Observed) -> int:
    found: int = observed.objects[("Job", job.name)].get("spec", {}).get("backoffLimit", 0)
    return found


def _exit_code_in(message: str) -> int | None:
    """The Job controller names the exit code that its failure policy matched, also when the pod is gone."""
    words = message.partition("exit code ")[2].split()
    return int(words[0]) if words and words[0].isdigit() else None
