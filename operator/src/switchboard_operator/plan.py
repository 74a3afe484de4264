"""The planner: what to do next, given what was observed. Pure.

Level-based: it looks at how things are, never at what happened. Either it takes one step of the state machine, and then
nothing but the status is written, or the state machine rests, and objects are brought to what the status records. So
what a transition needs is on record before anything is done for it, and being stopped between any two API calls only
means that the next run finds the rest.
"""

from collections.abc import Iterator
from datetime import datetime

from switchboard_operator import drift, gate, names, rollout, secrets, status
from switchboard_operator.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    EnsureSecret,
    ExpireJob,
    HandOverReplicas,
    Progress,
    Requeue,
    TakeOver,
    WriteStatus,
)
from switchboard_operator.gate import parse_timestamp
from switchboard_operator.kinds import key_of
from switchboard_operator.render import pools
from switchboard_operator.resources.base import REVISION, Manifest, Release
from switchboard_operator.resources.job import migrate_job
from switchboard_operator.snapshot import Observed
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import State
from switchboard_operator.target import Target

RESYNC_S = 600.0
"""Watches tell about everything sooner; this is for what a watch might lose."""
LOOK_AGAIN_S = 5.0
"""Pods are not watched, so while something is under way they are looked at this often."""
ONE_AT_A_TIME_S = 1.0
"""How soon to look whether another migrate Job is gone."""
JOB_KEPT_S = 3600
"""A recorded Job and its log remain for an hour."""
_NOT_PRUNED = frozenset({"Job", "PersistentVolumeClaim"})
"""Jobs have their own rules; recordings go with the Switchboard, never because the spec names another storage."""


def plan(spec: SwitchboardSpec | None, observed: Observed, now: datetime) -> list[Action]:
    """Decide what to do.

    Args:
        spec: of the resource; None when it cannot be used (``observed.spec_error`` says why).
        observed: the snapshot.
        now: the time, with its zone.

    Returns:
        API calls in the order in which they are to be made. Any prefix of them leaves things so that the next plan
        leads to the same end.
    """
    if observed.deleting:
        return []
    target = Target.of(spec, observed) if spec else None
    if not observed.paused:
        step = advance(target, observed, now)
        if step:
            return _record(step, target, observed, now)
    actions: list[Action] = [] if observed.paused else [*_objects(target, observed), *_jobs(target, observed)]
    after = status.report(observed.state, target, observed, now, paused=observed.paused)
    if after != observed.state:
        actions += status.changes(observed.state, after)
        actions.append(WriteStatus(after, observed.resource_version))
    return [*actions, Requeue(_look_again_in(after, target, observed, now))]


def advance(target: Target | None, observed: Observed, now: datetime) -> Progress | None:
    """One step of the state machine; None when it rests."""
    state = observed.state
    nonce = observed.annotations.get(names.RETRY_ANNOTATION)
    if nonce and nonce != state.retry_nonce:
        return gate.retry(state, nonce, now)
    if step := rollout.scale(state, target.spec if target else None, observed):
        return step
    if (state.gate or state.applied) and any(_unmade(observed)):
        # They are made first: pods see them, so going on without one would roll them now, and again when it is there.
        return None
    if target is None or target.waits:
        return _advance_blindly(target, observed, now)
    applied, closed = state.applied, state.gate
    if closed and closed.key != target.key:
        if applied and applied.key == target.key:
            return gate.cancel(state, closed, now)
        return gate.begin(state, target, now)
    if closed:
        step = gate.advance_gate(state, closed, target, observed, now)
        return step or (rollout.adopt_secrets(state, applied, observed) if applied else None)
    if applied is None or applied.key != target.key:
        return gate.begin(state, target, now)
    return rollout.adopt(state, applied, target, observed) or rollout.advance_rollout(
        state, applied, target, observed, now
    )


def _advance_blindly(target: Target | None, observed: Observed, now: datetime) -> Progress | None:
    """Nothing new begins without a usable spec and its Secrets, but what became of a Job is recorded all the same."""
    state = observed.state
    if state.gate:
        return gate.advance_gate(state, state.gate, target, observed, now)
    if state.applied:
        return rollout.adopt_secrets(state, state.applied, observed)
    return None


def _record(step: Progress, target: Target | None, observed: Observed, now: datetime) -> list[Action]:
    after = status.report(step.state, target, observed, now, paused=False)
    return [
        *step.events,
        *status.changes(observed.state, after),
        WriteStatus(after, observed.resource_version),
        Requeue(0.0),
    ]


def _objects(target: Target | None, observed: Observed) -> Iterator[Action]:
    for secret in _unmade(observed):
        if secret.key == names.CREDENTIALS_KEY:
            yield _keys_made(observed)
        yield secret
    renderer = rollout.renderer(observed, observed.state, target.spec if target else None)
    wanted = {key_of(each): each for each in renderer.objects()}
    for key, manifest in wanted.items():
        live = observed.objects.get(key)
        if live is None:
            yield Apply(manifest, known=False)
        else:
            yield from _repair(manifest, live)
    for key, live in observed.objects.items():
        if key not in wanted and key[0] not in _NOT_PRUNED and observed.owns(live) and not _is_going(live):
            yield Delete(key, live["metadata"]["uid"])


def _unmade(observed: Observed) -> Iterator[EnsureSecret]:
    """Secrets that the operator makes once. Only a token that is gone is made again: nothing is sealed with it."""
    owner, found = observed.owner, observed.secrets
    if found.get(names.internal_secret_name(owner.name)) is None:
        yield EnsureSecret(secrets.internal_secret(owner), names.TOKEN_KEY)
    lost = secrets.are_entrusted(observed.state.applied)
    if found.get(names.credentials_secret_name(owner.name)) is None and not lost:
        yield EnsureSecret(secrets.credentials_secret(owner), names.CREDENTIALS_KEY)


def _keys_made(observed: Observed) -> Emit:
    name = names.credentials_secret_name(observed.owner.name)
    message = (
        f"The Secret {name} is made, with a new key that seals what businesses entrust to Switchboard. Back it up with "
        "the database: what was sealed with a key that is lost cannot be read."
    )
    return Emit("CredentialsKeyMade", message, "credentials.made")


def _repair(manifest: Manifest, live: Manifest) -> Iterator[Action]:
    """Bring one object to what it should be; nothing when it is."""
    kind, name = key_of(manifest)
    replicas_elsewhere = kind == "Deployment" and "replicas" not in manifest["spec"]
    if replicas_elsewhere and drift.owns_replicas(live):
        yield HandOverReplicas(name, live["spec"].get("replicas", 1))
    if drift.is_outdated(manifest, live):
        yield Apply(drift.changeable(manifest, live) if kind == "PersistentVolumeClaim" else manifest)
        return
    if kind == "PersistentVolumeClaim":
        # Volumes are enlarged by people and by storage classes; nobody makes one smaller.
        return
    found = drift.compare(manifest, live)
    if not found:
        return
    yield _drift_event(kind, name, found.paths, dict(found.foreign), live)
    if found.foreign:
        yield TakeOver((kind, name), live["metadata"]["resourceVersion"], drift.taken_over(live))
    yield Apply(manifest)


def _drift_event(
    kind: str, name: str, paths: tuple[str, ...], foreign: dict[str, tuple[str, ...]], live: Manifest
) -> Emit:
    key = f"drift.{kind}.{name}.{live['metadata']['resourceVersion']}"
    if kind == "Deployment" and paths == ("spec.replicas",) and not foreign:
        message = (
            f"The replicas of {name} were changed to {live['spec'].get('replicas')} and put back. Set them in the "
            "Switchboard: spec.api.replicas, or replicas or autoscaling (min, max) of the pool or the recorder."
        )
        return Emit("ScaleCorrected", message, key, warning=True)
    fields = [*paths, *(f"{path} (by {client})" for client, added in foreign.items() for path in added)]
    shown = ", ".join(fields[:5]) + (f" and {len(fields) - 5} more" if len(fields) > 5 else "")
    return Emit("DriftRepaired", f"{kind} {name} was changed by hand and put back: {shown}.", key, warning=True)


def _jobs(target: Target | None, observed: Observed) -> Iterator[Action]:
    """Start the Job that the state machine waits for; stop or expire the others."""
    current = _current_job(observed)
    wanted = _wanted_job(target, observed)
    others_run = False
    for job in observed.jobs():
        # One of that name that is not ours is in the way; its outcome is another Switchboard's.
        in_the_way = job.name == current and observed.job(job.name) is None
        if job.name == current and not in_the_way:
            continue
        if in_the_way or not job.finished:
            others_run = True
            if not job.deleting:
                yield Delete(("Job", job.name), job.uid)
        elif not job.expires and not job.deleting:
            yield ExpireJob(job.name, JOB_KEPT_S)
    # One migrator at a time: the lock in PostgreSQL would see to it, but nobody should have to wait for it.
    if wanted and observed.objects.get(key_of(wanted)) is None and not others_run:
        yield Apply(wanted, known=False)


def _current_job(observed: Observed) -> str | None:
    """Name of the Job whose outcome, or whose log, still matters."""
    state = observed.state
    if state.gate:
        return gate.job_name(observed.owner, state.gate)
    if state.applied and state.applied.stage == "contract" and state.applied.contract.state != "Succeeded":
        return rollout.contract_job_name(observed.owner, state.applied)
    return None


def _wanted_job(target: Target | None, observed: Observed) -> Manifest | None:
    state = observed.state
    if state.gate:
        if state.gate.state != "Running" or target is None or target.waits or target.key != state.gate.key:
            return None
        release = Release(owner=observed.owner, spec=target.spec, release=target.release, secrets="", revision=REVISION)
        return migrate_job(release, transition=state.gate.number, step=state.gate.step, run=state.gate.run)
    if state.applied and target and not target.waits and rollout.may_contract(state, observed):
        release = rollout.renderer(observed, state, target.spec).release(state.applied)
        run = state.applied.contract.run
        return migrate_job(release, transition=state.applied.number, step="contract", run=run)
    return None


def _is_going(live: Manifest) -> bool:
    return "deletionTimestamp" in live["metadata"]


def _look_again_in(state: State, target: Target | None, observed: Observed, now: datetime) -> float:
    if observed.paused:
        return RESYNC_S
    closed = state.gate
    if any(not job.finished and job.name != _current_job(observed) for job in observed.jobs()):
        return ONE_AT_A_TIME_S
    if closed and closed.retry_at:
        return max(ONE_AT_A_TIME_S, (parse_timestamp(closed.retry_at) - now).total_seconds())
    if closed and closed.state == "Running":
        return LOOK_AGAIN_S
    conditions = {condition.type: condition.status for condition in state.conditions}
    if conditions.get("Progressing") == "True" or conditions.get("Available") != "True":
        return LOOK_AGAIN_S
    if conditions.get("Degraded") == "True" or (target and target.waits):
        return LOOK_AGAIN_S * 3
    return RESYNC_S


def watched_pools(spec: SwitchboardSpec, observed: Observed) -> list[str]:
    """Pools whose work the operator has to ask for, also where their number is fixed: alerts go by the answers.

    KEDA asks for those that it scales.
    """
    if observed.paused:
        return []
    return [pool.name for pool in pools(observed.owner, spec) if not (observed.keda and pool.autoscaling)]
