"""``kubectl switchboard retry``: a failed migration is tried again."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from kubectl_switchboard import gather
from kubectl_switchboard.advice import command
from kubectl_switchboard.cluster import Cluster
from kubectl_switchboard.errors import PluginError
from kubectl_switchboard.kinds import SWITCHBOARD
from kubectl_switchboard.names import RETRY_ANNOTATION
from kubectl_switchboard.options import Context, Kubeconfig, Name, Namespace, open_cluster
from kubectl_switchboard.output import Output
from kubectl_switchboard.resource import Failure, Resource

_PATIENCE_S = 20.0
"""An operator that runs obeys within a second or two; after this a person should know that it did not."""


@dataclass(frozen=True)
class Attempt:
    """What is tried again.

    Attributes:
        number: of the transition.
        contract: it is the contract phase.
        nonce: of the request.
    """

    number: int
    contract: bool
    nonce: str


@dataclass(frozen=True)
class Progress:
    """How far a retry is.

    Attributes:
        words: for people; empty when there is nothing new to say.
        decided: None while it goes on, otherwise whether it succeeded.
    """

    words: str
    decided: bool | None = None


def retry(
    name: Name = None,
    namespace: Namespace = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it is decided.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")] = 1800.0,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Try a failed migration again, after its cause was corrected.

    Exit code with --wait: 0 when the database is migrated, 1 when it failed again or took too long.
    """
    cluster = open_cluster(kubeconfig, context, namespace)
    resource = gather.find_only(cluster, name)
    reason = refusal(resource)
    if reason:
        raise PluginError(reason)
    attempt = what_failed(resource, make_nonce(datetime.now(UTC)))
    change = {"metadata": {"annotations": {RETRY_ANNOTATION: attempt.nonce}}}
    cluster.merge(SWITCHBOARD, resource.namespace, resource.name, change)
    out = Output()
    out.line(_announcement(resource, attempt))
    if wait:
        raise typer.Exit(0 if _follow(cluster, resource, attempt, timeout, out) else 1)
    out.line(f"Follow it with: {command('status', resource)} --watch")


def make_nonce(now: datetime) -> str:
    """A value that was never used before, and that tells a reader when it was made."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def refusal(resource: Resource) -> str | None:
    """Why nothing can be tried again, in a sentence; None where something can."""
    gate, contract = resource.gate, resource.contract
    failed = bool(gate and gate.state != "Running") or bool(not gate and contract and contract.state == "Failed")
    if failed and resource.is_paused:
        return f"{resource.name} is paused, so the operator would not obey: first `{command('resume', resource)}`."
    if failed:
        return None
    failure = gate.failure if gate else contract.failure if contract and contract.state == "Pending" else None
    if failure:
        return (
            f"There is nothing to retry: attempt {failure.attempt} of {failure.max_attempts} failed, and the next one "
            "comes by itself."
        )
    if gate:
        return f"There is nothing to retry: the migration to release {gate.version} is under way."
    return f"There is nothing to retry: no migration of {resource.name} has failed."


def what_failed(resource: Resource, nonce: str) -> Attempt:
    """What the operator will try again."""
    if resource.gate:
        return Attempt(resource.gate.number, contract=False, nonce=nonce)
    return Attempt(resource.applied_number, contract=True, nonce=nonce)


def progress(resource: Resource, attempt: Attempt) -> Progress:
    """What a status says about a retry."""
    if resource.retry_nonce != attempt.nonce:
        return Progress("")
    return _contract_progress(resource, attempt) if attempt.contract else _gate_progress(resource, attempt)


def _gate_progress(resource: Resource, attempt: Attempt) -> Progress:
    gate = resource.gate
    if gate and gate.number == attempt.number:
        if gate.state == "Running":
            step = "asking whether the database fits" if gate.step == "check" else "migrating the database"
            return Progress(f"Release {gate.version}: {step}{_so_far(gate.failure)}.")
        verb = "was refused" if gate.state == "Refused" else "failed again"
        return Progress(f"The migration to release {gate.version} {verb}.{_said(gate.failure)}", decided=False)
    outcome = resource.outcome(attempt.number)
    if outcome == "Succeeded" or resource.applied_number == attempt.number:
        return Progress(f"The database is migrated for release {resource.applied}; its roll-out begins.", decided=True)
    return Progress(f"Transition {attempt.number} was {(outcome or 'given up').lower()} meanwhile.", decided=False)


def _contract_progress(resource: Resource, attempt: Attempt) -> Progress:
    contract = resource.contract
    if contract is None or resource.applied_number != attempt.number:
        return Progress("Another release was applied meanwhile.", decided=False)
    if contract.state == "Succeeded":
        return Progress(f"The contract phase of release {resource.applied} is done.", decided=True)
    if contract.state == "Failed":
        return Progress(f"The contract phase failed again.{_said(contract.failure)}", decided=False)
    return Progress(f"Running the contract phase of release {resource.applied}{_so_far(contract.failure)}.")


def _so_far(failure: Failure | None) -> str:
    return f" (attempt {failure.attempt} of {failure.max_attempts} failed)" if failure else ""


def _said(failure: Failure | None) -> str:
    if failure is None:
        return ""
    code = f" with exit code {failure.exit_code}" if failure.exit_code is not None else ""
    lines = f":\n{failure.message}" if failure.message else "."
    return f" Attempt {failure.attempt} of {failure.max_attempts} ended{code}{lines}\nWhole log: {failure.log_command}"


def _announcement(resource: Resource, attempt: Attempt) -> str:
    if attempt.contract:
        return f"The operator is asked to run the contract phase of release {resource.applied} again."
    version = resource.gate.version if resource.gate else resource.wanted
    return f"The operator is asked to try the migration to release {version} again (transition {attempt.number})."


def _follow(cluster: Cluster, resource: Resource, attempt: Attempt, timeout_s: float, out: Output) -> bool:
    """Say each new step; returns whether it succeeded."""
    shown = ""
    begun = time.monotonic()
    warned = False
    for found in cluster.follow(SWITCHBOARD, resource.namespace, resource.name, timeout_s):
        if found is None:
            msg = f"{resource.name} was deleted meanwhile."
            raise PluginError(msg)
        now = progress(Resource(found), attempt)
        if now.words and now.words != shown:
            out.line(now.words)
            shown = now.words
        if now.decided is not None:
            return now.decided
        if not shown and not warned and time.monotonic() - begun > _PATIENCE_S:
            out.warn("The operator has not obeyed yet: does it run?")
            warned = True
    msg = f"It is not decided after {timeout_s:g} s; it goes on all the same: `{command('status', resource)}`."
    raise PluginError(msg)
