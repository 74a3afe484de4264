"""What is wrong, in the operator's words, and what a person can do about it, as commands to copy. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from kubectl_switchboard import names
from kubectl_switchboard.resource import Condition, Failure, Resource

_PLAIN_RETRY = "`kubectl switchboard retry`"
_POD = re.compile(r"\b[Pp]od (\S+?)[:.,]?\s")
_DEPLOYMENT = re.compile(r"\bDeployment (\S+) makes|Pods of Deployment (\S+) are")
_NO_SECRET = re.compile(r"^The Secret (\S+) that spec\.\S+ names does not exist")
_NO_KEY = re.compile(r"^The Secret (\S+) that spec\.\S+ names has no key")


@dataclass(frozen=True)
class Advice:
    """What to do now.

    Attributes:
        sentences: the problem and its remedy; empty when nothing is to be done.
        commands: to copy.
    """

    sentences: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def advise(resource: Resource) -> Advice:
    """The most pressing things first: what nobody looks at, what is broken, what waits, what is under way."""
    degraded = resource.condition("Degraded")
    if resource.is_deleting:
        return _deleting(resource)
    if not resource.conditions:
        return _unseen(resource)
    sentences: list[str] = []
    commands: list[str] = []
    if not resource.is_observed:
        sentences.append(
            "The operator has not looked at the newest spec yet; what is shown here is about the one before. If that "
            "lasts longer than a minute, look whether the operator runs:"
        )
        commands += _operator_commands()
    if degraded and degraded.status == "True":
        sentences += _problems(resource, degraded)
        commands += _commands(resource, degraded)
    if resource.is_paused:
        sentences.append("It is paused: the operator changes nothing until it is resumed.")
        commands.append(command("resume", resource))
    if not sentences and not resource.is_ready:
        ready = resource.condition("Ready")
        sentences.append(_waiting(ready) if ready else "Nothing is known about it yet.")
        commands.append(f"{command('status', resource)} --watch")
    return Advice(tuple(sentences), tuple(dict.fromkeys(commands)))


def command(verb: str, resource: Resource) -> str:
    """A command of this plugin about a resource."""
    return f"kubectl switchboard {verb} {resource.name} -n {resource.namespace}"


def shorten(message: str, failures: tuple[Failure | None, ...]) -> str:
    """A message of the operator without the log lines that are shown elsewhere."""
    for failure in filter(None, failures):
        log = f"\nLog: {failure.log_command}"
        if failure.message:
            message = message.replace(f": {failure.message}{log}", ".")
        message = message.replace(log, ".")
    return message


def _problems(resource: Resource, degraded: Condition) -> list[str]:
    message = shorten(degraded.message, _failures(resource))
    message = message.replace(_PLAIN_RETRY, f"`{command('retry', resource)}`")
    sentences = [line for line in message.splitlines() if line.strip()]
    advice = _ADVICE.get(degraded.reason)
    return [*sentences, advice(resource)] if advice else sentences


def _failures(resource: Resource) -> tuple[Failure | None, ...]:
    gate, contract = resource.gate, resource.contract
    return (gate.failure if gate else None, contract.failure if contract else None)


def _commands(resource: Resource, degraded: Condition) -> list[str]:
    where = f"-n {resource.namespace}"
    found = [failure.log_command for failure in _failures(resource) if failure and failure.log_command]
    gate, contract = resource.gate, resource.contract
    if (gate and gate.state in {"Failed", "Refused"}) or (contract and contract.state == "Failed"):
        found.append(f"{command('retry', resource)} --wait")
    for line in degraded.message.splitlines():
        if pod := _POD.search(line):
            found.append(f"kubectl describe pod {pod[1]} {where}")
            if "does not start" in line:
                found.append(f"kubectl logs {pod[1]} {where} --previous")
        if deployment := _DEPLOYMENT.search(line):
            found.append(f"kubectl describe deployment {deployment[1] or deployment[2]} {where}")
        if secret := _NO_SECRET.search(line):
            keys = "".join(f" --from-literal={key}=..." for key in resource.keys_of_secret(secret[1]))
            found.append(f"kubectl create secret generic {secret[1]} {where}{keys}")
        if secret := _NO_KEY.search(line):
            found.append(f"kubectl describe secret {secret[1]} {where}")
    if degraded.reason in {"InvalidSpec", "ImagePullFailed"}:
        found.append(f"kubectl edit {names.PLURAL}.{names.GROUP} {resource.name} {where}")
    return found


def _meanwhile(resource: Resource) -> str:
    if resource.applied:
        return f"Release {resource.applied} goes on serving meanwhile."
    return "Nothing runs yet: this is the first release."


def _nothing_automatic(_: Resource) -> str:
    return "Once the cause is corrected the operator goes on by itself."


_ADVICE: dict[str, Callable[[Resource], str]] = {
    "MigrationFailed": _meanwhile,
    "ReleaseRefused": _meanwhile,
    "CheckFailed": _nothing_automatic,
    "ImagePullFailed": _nothing_automatic,
    "PodsFailing": _nothing_automatic,
    "PodsNotReady": _nothing_automatic,
    "PodsRefused": _nothing_automatic,
    "RolloutStalled": _nothing_automatic,
    "SecretMissing": _nothing_automatic,
    "SecretRefused": _nothing_automatic,
    "Unschedulable": _nothing_automatic,
    "MigrationRetrying": lambda _: "It is tried again by itself; nothing is to be done yet.",
    "ContractRetrying": lambda _: "It is tried again by itself; nothing is to be done yet.",
}
"""What the operator's message leaves open, per reason."""


def _waiting(ready: Condition) -> str:
    return f"Nothing to do but wait: {ready.message.partition(chr(10))[0]}"


def _deleting(resource: Resource) -> Advice:
    kind = f"{names.PLURAL}.{names.GROUP}"
    return Advice(
        ("It is being deleted; Kubernetes removes everything that belongs to it.",),
        (f"kubectl get {kind} {resource.name} -n {resource.namespace} -o jsonpath='{{.metadata.finalizers}}'",),
    )


def _unseen(resource: Resource) -> Advice:
    sentence = (
        "No operator has looked at it yet. If that lasts longer than a minute: does the operator run, and does it "
        f"watch namespace {resource.namespace}?"
    )
    return Advice((sentence,), _operator_commands())


def _operator_commands() -> tuple[str, ...]:
    return (f"kubectl get pods -A -l app.kubernetes.io/name={names.OPERATOR_NAME}",)
