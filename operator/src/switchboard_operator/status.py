"""Conditions: what a person, ``kubectl wait`` and GitOps tools read. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from switchboard_operator import names
from switchboard_operator.actions import Emit
from switchboard_operator.gate import describe, parse_timestamp, timestamp
from switchboard_operator.problems import Problem, find_problems
from switchboard_operator.reasons import ConditionReason, DegradedReason
from switchboard_operator.render import pools
from switchboard_operator.resources.base import Manifest, selector_labels
from switchboard_operator.rollout import is_replaced, is_rolled_out, old_pods, renderer
from switchboard_operator.snapshot import Observed
from switchboard_operator.state import Condition, ConditionType, Gate, LastError, RoleStatus, State
from switchboard_operator.target import Target

_TOLD = ("Ready", "Available", "Degraded")
WAKES_WITHIN = timedelta(minutes=5)
"""For so long a pool that comes up from zero may be without pods; a node may have to be added for it."""


@dataclass(frozen=True)
class Verdict:
    """Status, reason and message of a condition."""

    status: bool | None
    reason: ConditionReason
    message: str


@dataclass(frozen=True)
class Fleet:
    """What runs, compared with what should.

    Attributes:
        waiting: sentences about Deployments that are not rolled out.
        unavailable: sentences about Deployments without any pod that serves.
    """

    waiting: tuple[str, ...]
    unavailable: tuple[str, ...]


def fleet_of(state: State, target: Target | None, observed: Observed, now: datetime) -> Fleet:
    """Look at every Deployment that should exist.

    During a roll-out all replicas must be there; later, pods that an autoscaler just asked for are no roll-out.
    """
    rolling = state.applied is not None and state.applied.stage in {"workers", "api"}
    complete = is_rolled_out if rolling else is_replaced
    sleepers = set() if rolling or target is None else _sleepers(target, observed)
    wanted = [
        each
        for each in renderer(observed, state, target.spec if target else None).objects()
        if each["kind"] == "Deployment"
    ]
    waiting, unavailable = [], []
    api = names.api_name(observed.owner.name)
    if state.applied and api not in {each["metadata"]["name"] for each in wanted}:
        # At the first install it comes after the workers.
        unavailable.append(api)
    for each in wanted:
        name = each["metadata"]["name"]
        live = observed.deployment(name)
        if not complete(each, live):
            waiting.append(f"{name} {_share(live)}")
        if live is None or (_lacks_pods(live) and not (name in sleepers and _has_just_woken(live, now))):
            unavailable.append(name)
    return Fleet(tuple(waiting), tuple(unavailable))


def _sleepers(target: Target, observed: Observed) -> set[str]:
    """Deployments that have no pods at all while there is no work for them."""
    found = pools(observed.owner, target.spec)
    return {pool.deployment for pool in found if pool.autoscaling and pool.autoscaling.min == 0}


def _lacks_pods(live: Manifest) -> bool:
    return bool(live["spec"].get("replicas", 1)) and not live.get("status", {}).get("availableReplicas", 0)


def _has_just_woken(live: Manifest, now: datetime) -> bool:
    conditions = live.get("status", {}).get("conditions", [])
    since = next((each["lastTransitionTime"] for each in conditions if each["type"] == "Available"), None)
    return since is None or now - parse_timestamp(since) < WAKES_WITHIN


def report(state: State, target: Target | None, observed: Observed, now: datetime, *, paused: bool) -> State:
    """The state with conditions, replicas and last error as they are now."""
    fleet = fleet_of(state, target, observed, now)
    available = _available(state, fleet)
    problems = find_problems(state, target, observed, now, available=available.status is True)
    degraded = _degraded(problems)
    progressing = _progressing(state, observed, fleet, paused=paused)
    verdicts: dict[ConditionType, Verdict] = {
        "Ready": _ready(state, target, fleet, available, degraded, progressing),
        "DatabaseMigrated": _migrated(state, target, observed),
        "Available": available,
        "Progressing": progressing,
        "Degraded": degraded,
    }
    selector = selector_labels(observed.owner, "api")
    return state.model_copy(
        update={
            "observed_generation": observed.generation,
            "selector": ",".join(f"{key}={value}" for key, value in selector.items()),
            "conditions": [_condition(state, kind, verdict, observed, now) for kind, verdict in verdicts.items()],
            "roles": _roles(observed),
            "last_error": _last_error(state, degraded, now) if problems else state.last_error,
        }
    )


def changes(before: State, after: State) -> list[Emit]:
    """Events about conditions that have changed; told once, however often the write is repeated."""
    events = []
    old = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        last = old.get(condition.type)
        if condition.type not in _TOLD or not _is_news(last, condition):
            continue
        before_that = f"{last.reason}.{last.last_transition_time}" if last else "new"
        key = f"{condition.type}.{condition.status}.{condition.reason}.{before_that}.{after.transitions}"
        bad = condition.type == "Degraded" and condition.status == "True"
        words = f"{condition.type}={condition.status}: {condition.message}"
        # A string in the status, where an operator of another version may have written it; this one is ours.
        events.append(Emit(cast("ConditionReason", condition.reason), words, key, warning=bad))
    return events


def _is_news(last: Condition | None, condition: Condition) -> bool:
    if last is None:
        return condition.type == "Degraded" and condition.status == "True"
    another_problem = condition.type == "Degraded" and last.reason != condition.reason
    return last.status != condition.status or another_problem


def _condition(state: State, kind: ConditionType, verdict: Verdict, observed: Observed, now: datetime) -> Condition:
    status = "Unknown" if verdict.status is None else str(verdict.status)
    old = next((each for each in state.conditions if each.type == kind), None)
    since = old.last_transition_time if old and old.status == status else timestamp(now)
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": verdict.reason,
            "message": verdict.message,
            "last_transition_time": since,
            "observed_generation": observed.generation,
        }
    )


def _last_error(state: State, verdict: Verdict, now: datetime) -> LastError:
    """The one that is known, as long as it is the same."""
    old = state.last_error
    error = LastError(reason=verdict.reason, message=verdict.message, at=timestamp(now))
    return old if old and (old.reason, old.message) == (error.reason, error.message) else error


def _ready(
    state: State, target: Target | None, fleet: Fleet, available: Verdict, degraded: Verdict, progressing: Verdict
) -> Verdict:
    applied = state.applied
    is_current = target is not None and applied is not None and target.is_applied(applied)
    settled = is_current and state.gate is None and not fleet.waiting and available.status is True
    if settled and applied and applied.stage in {"contract", "done"} and progressing.reason != "Paused":
        return Verdict(status=True, reason="Ready", message=f"Release {applied.version} serves.")
    # The most telling reason first: what is broken, then what is under way, then what is missing.
    for verdict in (degraded, progressing):
        if verdict.status is True:
            return Verdict(status=False, reason=verdict.reason, message=verdict.message)
    if progressing.reason in {"Paused", "Blocked"}:
        return Verdict(status=False, reason=progressing.reason, message=progressing.message)
    return Verdict(status=False, reason=available.reason, message=available.message)


def _migrated(state: State, target: Target | None, observed: Observed) -> Verdict:
    gate, applied = state.gate, state.applied
    if gate:
        return _gate_verdict(gate)
    if applied:
        message = f"The database is migrated for release {applied.version}."
        return Verdict(status=True, reason="UpToDate", message=message)
    if target and target.missing:
        return Verdict(status=False, reason="SecretMissing", message=" ".join(target.missing))
    if target and target.refused:
        return Verdict(status=False, reason="SecretRefused", message=" ".join(target.refused))
    if observed.spec_error:
        return Verdict(status=False, reason="InvalidSpec", message=observed.spec_error)
    return Verdict(status=None, reason="Pending", message="The migration has not begun yet.")


def _gate_verdict(gate: Gate) -> Verdict:
    failure = describe(gate.failure) if gate.failure else ""
    if gate.state == "Refused":
        message = f"Release {gate.version} does not fit the database, and nothing was touched. {failure}"
        return Verdict(status=False, reason="ReleaseRefused", message=message)
    if gate.state == "Failed":
        reason: ConditionReason = "CheckFailed" if gate.step == "check" else "MigrationFailed"
        return Verdict(status=False, reason=reason, message=failure)
    if failure:
        return Verdict(status=False, reason="MigrationRetrying", message=failure)
    if gate.step == "check":
        message = f"Asking whether the database fits release {gate.version}."
        return Verdict(status=False, reason="Checking", message=message)
    return Verdict(status=False, reason="Migrating", message=f"Migrating the database for release {gate.version}.")


def _available(state: State, fleet: Fleet) -> Verdict:
    if state.applied is None:
        message = "Nothing runs before the database is migrated."
        return Verdict(status=False, reason="NotInstalled", message=message)
    if fleet.unavailable:
        message = f"No pod serves in {', '.join(fleet.unavailable)}."
        return Verdict(status=False, reason="PodsUnavailable", message=message)
    return Verdict(status=True, reason="PodsAvailable", message="Every role has pods that serve.")


def _progressing(state: State, observed: Observed, fleet: Fleet, *, paused: bool) -> Verdict:
    gate, applied = state.gate, state.applied
    if paused:
        message = "spec.paused is set: nothing is changed until it is false again."
        return Verdict(status=False, reason="Paused", message=message)
    if gate and gate.state != "Running":
        meanwhile = "the release before goes on serving" if applied else "nothing runs yet"
        message = f"Release {gate.version} is held back; {meanwhile}."
        return Verdict(status=False, reason="Blocked", message=message)
    if gate:
        verdict = _gate_verdict(gate)
        return Verdict(status=True, reason=verdict.reason, message=verdict.message)
    if fleet.waiting:
        return Verdict(status=True, reason="RollingOut", message=f"Waiting for {', '.join(fleet.waiting)}.")
    if applied and applied.stage in {"workers", "api"}:
        return Verdict(status=True, reason="RollingOut", message=f"Release {applied.version} is rolled out.")
    if applied and applied.stage == "contract" and applied.contract.state == "Pending":
        left = old_pods(observed, applied)
        if left:
            message = f"The contract phase waits for old pods: {', '.join(sorted(pod.name for pod in left)[:5])}."
            return Verdict(status=True, reason="WaitingForOldPods", message=message)
        message = f"Running the contract phase of release {applied.version}."
        return Verdict(status=True, reason="Contracting", message=message)
    if applied is None:
        return Verdict(status=False, reason="Pending", message="Nothing is under way.")
    return Verdict(status=False, reason="Settled", message="Everything is as the spec wants it.")


def _degraded(problems: list[Problem]) -> Verdict:
    if not problems:
        return Verdict(status=False, reason="AsExpected", message="No problem is known.")
    message = "\n".join(dict.fromkeys(problem.message for problem in problems))
    return Verdict(status=True, reason=problems[0].reason, message=message)


def _roles(observed: Observed) -> dict[str, RoleStatus]:
    found: dict[str, RoleStatus] = {}
    for (kind, _), live in sorted(observed.objects.items()):
        role = live["metadata"].get("labels", {}).get(names.ROLE_LABEL)
        if kind != "Deployment" or role is None:
            continue
        status, old = live.get("status", {}), found.get(role, RoleStatus())
        found[role] = RoleStatus(
            replicas=old.replicas + status.get("replicas", 0),
            updated=old.updated + status.get("updatedReplicas", 0),
            available=old.available + status.get("availableReplicas", 0),
        )
    return found


def _share(live: Manifest | None) -> str:
    if live is None:
        return "(not created yet)"
    status = live.get("status", {})
    wanted = live["spec"].get("replicas", 1)
    return f"({min(status.get('updatedReplicas', 0), status.get('availableReplicas', 0))} of {wanted} ready)"


def with_error(state: State, reason: DegradedReason, message: str, observed: Observed, now: datetime) -> State:
    """The state after the API server refused something: degraded, and not ready."""
    verdict = Verdict(status=True, reason=reason, message=message)
    unready = Verdict(status=False, reason=reason, message=message)
    kept = [each for each in state.conditions if each.type not in {"Ready", "Degraded"}]
    told = [
        _condition(state, "Ready", unready, observed, now),
        *kept,
        _condition(state, "Degraded", verdict, observed, now),
    ]
    return state.model_copy(
        update={
            "observed_generation": observed.generation,
            "conditions": told,
            "last_error": _last_error(state, verdict, now),
        }
    )
