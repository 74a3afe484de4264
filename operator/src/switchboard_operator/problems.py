"""What is wrong with a Switchboard, and what to do about it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from switchboard_operator.gate import describe, parse_timestamp
from switchboard_operator.reasons import DegradedReason
from switchboard_operator.snapshot import Observed, PodView
from switchboard_operator.state import State
from switchboard_operator.target import Target

_RESTARTS_THAT_MATTER = 2
_RESTART_IS_OVER = timedelta(minutes=10)
"""A container that has run for so long is in no crash loop any more; the kubelet thinks so, too."""
_PODS_NAMED = 3
"""Of those that have the same problem: mostly for the same reason, and each with its last words."""


@dataclass(frozen=True)
class Problem:
    """One problem, the most important ones first."""

    reason: DegradedReason
    message: str


def find_problems(
    state: State, target: Target | None, observed: Observed, now: datetime, *, available: bool
) -> list[Problem]:
    """Everything that is wrong.

    Args:
        state: the status.
        target: what is wanted; None when the spec cannot be used.
        observed: the snapshot.
        now: the time, with its zone.
        available: every role has pods that serve.
    """
    found: list[Problem] = []
    if observed.spec_error:
        found.append(Problem("InvalidSpec", observed.spec_error))
    if target:
        found += [Problem("SecretMissing", sentence) for sentence in target.missing]
        found += [Problem("SecretRefused", sentence) for sentence in target.refused]
    found += _migration(state)
    found += _pods(observed, now, available=available)
    if not available:
        found += _unready(observed)
    found += _stalled(observed)
    return found


def _migration(state: State) -> Iterator[Problem]:
    gate, applied = state.gate, state.applied
    if gate and gate.failure:
        retry = (
            "Correct the cause, then `kubectl switchboard retry`, or set the spec back to the release before to cancel."
        )
        text = describe(gate.failure)
        if gate.state == "Refused":
            yield Problem("ReleaseRefused", f"Release {gate.version} does not fit the database. {text}\n{retry}")
        elif gate.step == "check" and (gate.state == "Failed" or gate.run > 1):
            # Also while it is asked again: a database that is down does not get well by that.
            again = "It is asked again by itself every minute."
            yield Problem("CheckFailed", f"The database could not be checked. {text}\n{again}")
        elif gate.state == "Failed":
            yield Problem("MigrationFailed", f"The migration to release {gate.version} failed. {text}\n{retry}")
        else:
            yield Problem("MigrationRetrying", text)
    if applied and applied.contract.failure:
        text = describe(applied.contract.failure)
        if applied.contract.state == "Failed":
            advice = "The release serves; correct the cause, then `kubectl switchboard retry`."
            yield Problem("ContractFailed", f"The contract phase of release {applied.version} failed. {text}\n{advice}")
        elif applied.contract.state == "Pending":
            yield Problem("ContractRetrying", text)


def _pods(observed: Observed, now: datetime, *, available: bool) -> Iterator[Problem]:
    """The first few pods of every kind of problem, and how many more there are."""
    found: dict[DegradedReason, list[str]] = {}
    for problem in _each_pod(observed, now, available=available):
        found.setdefault(problem.reason, []).append(problem.message)
    for reason, messages in found.items():
        yield from (Problem(reason, message) for message in messages[:_PODS_NAMED])
        if len(messages) > _PODS_NAMED:
            yield Problem(reason, f"... and {len(messages) - _PODS_NAMED} more pods ({reason}).")


def _each_pod(observed: Observed, now: datetime, *, available: bool) -> Iterator[Problem]:
    for pod in sorted(observed.pods, key=lambda each: each.name):
        if pod.finished:
            continue
        if pod.cannot_pull:
            advice = "Check the image's name and tag, spec.images.pullSecrets and the registry."
            yield Problem("ImagePullFailed", f"Pod {pod.name} cannot get its image ({pod.waiting}). {advice}")
        elif pod.waiting and (pod.restarts >= _RESTARTS_THAT_MATTER or not pod.waiting.startswith("CrashLoopBackOff")):
            yield Problem("PodsFailing", f"Pod {pod.name} does not start ({pod.waiting}){_last_words(pod)}")
        elif _is_between_crashes(pod, now):
            yield Problem("PodsFailing", f"Pod {pod.name} ends again and again{_last_words(pod)}")
        elif pod.unschedulable and not available:
            advice = "Add nodes, or lower the requests."
            yield Problem("Unschedulable", f"No node takes pod {pod.name}: {pod.unschedulable} {advice}")


def _is_between_crashes(pod: PodView, now: datetime) -> bool:
    """It runs just now, and nobody knows for how long: a crash loop is not only its pauses."""
    again = pod.unready and pod.restarts >= _RESTARTS_THAT_MATTER and bool(pod.begun)
    return again and now - parse_timestamp(pod.begun) < _RESTART_IS_OVER


def _unready(observed: Observed) -> Iterator[Problem]:
    """What pods wait for; many wait for the same."""
    for sentence in sorted(set(observed.unready.values())):
        names = sorted(name for name, said in observed.unready.items() if said == sentence)
        yield Problem("PodsNotReady", f"Not ready: {', '.join(names)}. {sentence}")


def _last_words(pod: PodView) -> str:
    return f", its last words: {pod.message}" if pod.message else "."


def _stalled(observed: Observed) -> Iterator[Problem]:
    for (kind, name), live in sorted(observed.objects.items()):
        if kind != "Deployment":
            continue
        for condition in live.get("status", {}).get("conditions", []):
            if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
                yield Problem("RolloutStalled", f"Deployment {name} makes no progress: {condition.get('message', '')}")
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                yield Problem("PodsRefused", f"Pods of Deployment {name} are refused: {condition.get('message', '')}")
