"""A small cluster for the planner's tests: an API server without HTTP, controllers that move in ticks, and a database.

It checks while it runs what must hold at every moment: no pod of a release before the database was migrated for it, one
migrator at a time, no contract phase while another release has pods.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from switchboard_operator import names
from switchboard_operator.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    EnsureSecret,
    ExpireJob,
    HandOverReplicas,
    Requeue,
    TakeOver,
    WriteStatus,
)
from switchboard_operator.kinds import ObjectKey, key_of
from switchboard_operator.observe import parse_spec
from switchboard_operator.plan import plan
from switchboard_operator.resources.base import Manifest
from switchboard_operator.secrets import made_names
from switchboard_operator.snapshot import Observed, PodView
from switchboard_operator.state import State
from unit.operator.fake_database import RELEASES, Database
from unit.operator.samples import OWNER, START, make_secrets, spec_dict


@dataclass
class Pod:
    """A pod of the fake cluster."""

    name: str
    deployment: str
    role: str
    release: str
    version: str
    template: str
    ready: bool = False


LEAVES_IN = 8
"""Ticks that a pod takes to end."""
START_TAKES = 2
"""Ticks that a migration takes."""


class FakeCluster:
    """One Switchboard and everything around it."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        self.spec = spec or spec_dict()
        self.generation = 1
        self.annotations: dict[str, str] = {}
        self.status: dict[str, Any] = {}
        self.secrets: dict[str, dict[str, str] | None] = make_secrets() | dict.fromkeys(made_names(OWNER.name))
        self.objects: dict[ObjectKey, Manifest] = {}
        self.pods: list[Pod] = []
        self.each_round: Callable[[], None] = lambda: None
        self.terminating: dict[str, tuple[Pod, int]] = {}
        self.job_pods: dict[str, PodView] = {}
        self.database = Database()
        self.now = START
        self.keda = False
        self.recommendations: dict[str, int] = {}
        self.events: list[Emit] = []
        self.writes = 0
        self.moved = False
        self.starting = 0
        self.frozen: set[str] = set()
        self._numbers = itertools.count(1)
        self.resource_version = 1

    # --- What a user does -------------------------------------------------------------------------------------------

    def change(self, **fields: Any) -> None:
        """Edit the spec."""
        self.spec = self.spec | fields
        self.generation += 1
        self.resource_version += 1

    def annotate(self, nonce: str) -> None:
        """Ask for a retry."""
        self.annotations[names.RETRY_ANNOTATION] = nonce
        self.resource_version += 1

    def delete_jobs(self) -> None:
        """Delete every Job there is."""
        for key in [key for key in self.objects if key[0] == "Job"]:
            self._delete(key)

    # --- What the operator does -------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The status as the operator reads it."""
        return State.model_validate(self.status)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = next(each for each in self.state.conditions if each.type == kind)
        return found.status, found.reason

    def message(self, kind: str) -> str:
        """Message of a condition."""
        return next(each for each in self.state.conditions if each.type == kind).message

    def observe(self) -> Observed:
        """A snapshot. The planner changes nothing in it: a test of its own says so."""
        pods = [PodView(name=pod.name, role=pod.role, release=pod.release, started=pod.name) for pod in self.alive()]
        return Observed(
            owner=OWNER,
            generation=self.generation,
            resource_version=str(self.resource_version),
            annotations=dict(self.annotations),
            state=self.state,
            paused=self.spec.get("paused", False),
            spec_error=parse_spec(self.spec)[1],
            secrets=dict(self.secrets),
            objects=dict(self.objects),
            pods=(*pods, *self.job_pods.values()),
            keda=self.keda,
            recommendations=dict(self.recommendations),
        )

    def plan(self) -> list[Action]:
        """What the planner wants now."""
        return plan(parse_spec(self.spec)[0], self.observe(), self.now)

    def perform(self, action: Action) -> bool:
        """One API call; whether it changed anything."""
        if isinstance(action, Emit) and action.key in {event.key for event in self.events}:
            return False
        self.writes += 1
        match action:
            case Apply(manifest=manifest):
                self._apply(manifest)
            case Delete(key=key, uid=uid):
                assert self.objects[key]["metadata"]["uid"] == uid
                self._delete(key)
            case WriteStatus(state=state, resource_version=seen):
                assert seen == str(self.resource_version), "a status write on an outdated resource"
                self.status = state.dump()
                self.resource_version += 1
            case Emit():
                self.events.append(action)
            case EnsureSecret(manifest=manifest, key=key):
                name = manifest["metadata"]["name"]
                self.secrets[name] = self.secrets.get(name) or {key: "cmFuZG9t"}
            case ExpireJob(name=name, seconds=seconds):
                self.objects["Job", name]["spec"]["ttlSecondsAfterFinished"] = seconds
            case HandOverReplicas(name=name, replicas=replicas):
                live = self.objects["Deployment", name]
                live["spec"]["replicas"] = replicas
                live["metadata"]["managedFields"].append(
                    {"manager": names.SCALE_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
                )
            case TakeOver(key=key, managed_fields=managed):
                self.objects[key]["metadata"]["managedFields"] = managed
                self.objects[key]["metadata"]["annotations"][names.HASH_ANNOTATION] = ""
        return True

    def _apply(self, manifest: Manifest) -> None:
        key = key_of(manifest)
        old = self.objects.get(key)
        live = copy.deepcopy(manifest)
        metadata = live["metadata"]
        fields: dict[str, Any] = {"f:spec": {"f:template": {}}}
        if "replicas" in live.get("spec", {}):
            fields["f:spec"]["f:replicas"] = {}
        managed = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}]
        if old:
            kept = [entry for entry in old["metadata"]["managedFields"] if entry["manager"] == names.SCALE_MANAGER]
            managed += kept
            if key[0] == "Deployment" and "replicas" not in live["spec"]:
                live["spec"]["replicas"] = old["spec"]["replicas"] if kept else 1
            live["status"] = old.get("status", {})
        changed = old is None or old.get("spec") != live.get("spec")
        metadata |= {
            "uid": old["metadata"]["uid"] if old else f"uid-{next(self._numbers)}",
            "resourceVersion": str(next(self._numbers)),
            "generation": (old["metadata"]["generation"] if old else 0) + int(changed),
            "managedFields": managed,
        }
        self.objects[key] = live

    def alive(self) -> list[Pod]:
        """Pods, those that are about to end included."""
        return [*self.pods, *(pod for pod, _ in self.terminating.values())]

    def _delete(self, key: ObjectKey) -> None:
        live = self.objects[key]
        if key[0] == "Job" and live.get("status", {}).get("active"):
            # Deleted in the foreground: it stays until its pod is gone.
            live["metadata"]["deletionTimestamp"] = LEAVES_IN
            return
        del self.objects[key]
        if key[0] == "Job":
            self.job_pods = {name: pod for name, pod in self.job_pods.items() if pod.job != key[1]}

    # --- What the cluster does --------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Let every controller take one step; whether anything changed."""
        self.now += timedelta(seconds=1)
        self.moved = bool(self.terminating)
        self.terminating = {name: (pod, left - 1) for name, (pod, left) in self.terminating.items() if left > 1}
        for (kind, name), live in list(self.objects.items()):
            if kind == "Job":
                self._run_job(name, live)
        deployments = {name for kind, name in self.objects if kind == "Deployment"}
        for pod in [pod for pod in self.pods if pod.deployment not in deployments]:
            self._stop(pod)
        for name in sorted(deployments):
            self._roll(name)
        self.check_invariants()
        return self.moved

    def _run_job(self, name: str, live: Manifest) -> None:
        status = live.setdefault("status", {})
        if "deletionTimestamp" in live["metadata"]:
            self.moved = True
            live["metadata"]["deletionTimestamp"] -= 1
            if not live["metadata"]["deletionTimestamp"]:
                status["active"] = 0
                self._delete(("Job", name))
            return
        if status.get("conditions"):
            return
        self.moved = True
        if not status.get("active"):
            active = [
                key for key, each in self.objects.items() if key[0] == "Job" and each.get("status", {}).get("active")
            ]
            assert not active, f"two migrators at a time: {active}, {name}"
            status["active"] = 1
            self.starting = START_TAKES
            return
        if self.starting:
            self.starting -= 1
            return
        container = live["spec"]["template"]["spec"]["containers"][0]
        version = container["image"].rpartition(":")[2]
        step = next(word for word in ("check", "contract", "expand") if any(word in arg for arg in container["args"]))
        if step == "contract":
            others = [pod for pod in self.alive() if pod.version != version]
            assert not others, f"contract phase while other releases have pods: {others}"
        code, words = self.database.migrate(version, step, RELEASES[version])
        pod = f"{name}-{status.get('failed', 0)}"
        self.job_pods[pod] = PodView(
            name=pod, role="migrate", job=name, finished=True, exit_code=code, message=words, started=pod
        )
        if code == 0:
            status |= {"active": 0, "conditions": [{"type": "Complete", "status": "True"}]}
            return
        status["failed"] = status.get("failed", 0) + 1
        fatal = code in live["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
        if fatal or status["failed"] > live["spec"]["backoffLimit"]:
            status |= {"active": 0, "conditions": [{"type": "Failed", "status": "True", "reason": "Backoff"}]}

    def _roll(self, name: str) -> None:
        live = self.objects["Deployment", name]
        template = live["metadata"]["annotations"][names.TEMPLATE_ANNOTATION]
        wanted = live["spec"]["replicas"]
        mine = [pod for pod in self.pods if pod.deployment == name]
        new = [pod for pod in mine if pod.template == template]
        old = [pod for pod in mine if pod.template != template]
        for pod in new:
            pod.ready = pod.version not in self.frozen
        before = live.get("status")
        ready = [pod for pod in mine if pod.ready]
        unhealthy = [pod for pod in old if not pod.ready]
        if unhealthy:
            self._stop(unhealthy[0])
        elif len(new) < wanted and len(mine) <= wanted:
            self.pods.append(self._pod(name, live, template))
        elif old and len(ready) > wanted:
            self._stop(old[0])
        elif not old and len(new) > wanted:
            self._stop(new[-1])
        mine = [pod for pod in self.pods if pod.deployment == name]
        live["status"] = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": len(mine),
            "updatedReplicas": sum(pod.template == template for pod in mine),
            "availableReplicas": sum(pod.ready for pod in mine),
        }
        self.moved |= live["status"] != before

    def _stop(self, pod: Pod) -> None:
        self.moved = True
        self.pods.remove(pod)
        self.terminating[pod.name] = (pod, LEAVES_IN)

    def _pod(self, name: str, live: Manifest, template: str) -> Pod:
        found = live["spec"]["template"]["metadata"]["labels"]
        return Pod(
            name=f"{name}-{next(self._numbers):06}",
            deployment=name,
            role=found[names.ROLE_LABEL],
            release=found[names.RELEASE_LABEL],
            version=found["app.kubernetes.io/version"],
            template=template,
        )

    def check_invariants(self) -> None:
        """What must hold at every moment."""
        for pod in self.alive():
            release = RELEASES[pod.version]
            assert self.database.seq >= release.seq, f"{pod.name} runs before its migration"
            assert self.database.min_seq <= release.seq, f"{pod.name} runs on a schema that lost what it needs"

    # --- Until nothing moves ----------------------------------------------------------------------------------------

    def settle(self, interrupt: Callable[[int], bool] = lambda _: False, limit: int = 600) -> int:
        """Reconcile and tick until both rest; returns how many actions were performed.

        Args:
            interrupt: asked after every action with its number; true forgets the rest of that plan.
            limit: of rounds; more mean that it does not converge.
        """
        performed = 0
        for _ in range(limit):
            done = 0
            for action in self.plan():
                if isinstance(action, Requeue):
                    continue
                if not self.perform(action):
                    continue
                done += 1
                performed += 1
                if interrupt(performed):
                    break
            self.each_round()
            if not self.tick() and not done:
                return performed
        msg = f"not settled after {limit} rounds: {self.state.conditions}, {self.plan()}"
        raise AssertionError(msg)

    def lasting(self) -> dict[ObjectKey, Manifest]:
        """All objects but Jobs, without what the API server adds."""
        return {key: _bare(live) for key, live in sorted(self.objects.items()) if key[0] != "Job"}

    def versions(self) -> dict[str, str]:
        """Which release each Deployment runs."""
        return {pod.deployment: pod.version for pod in self.pods}

    def told(self) -> list[str]:
        """Reasons of all events."""
        return [event.reason for event in self.events]


def _bare(live: Manifest) -> Manifest:
    found = copy.deepcopy(live)
    found.pop("status", None)
    for key in ("uid", "resourceVersion", "generation", "managedFields"):
        found["metadata"].pop(key, None)
    return found


def installed(**changes: Any) -> FakeCluster:
    """Release 1.0.0 at rest; ``changes`` replace whole fields of its spec."""
    cluster = FakeCluster(spec_dict(**changes))
    cluster.settle()
    return cluster


def failing_upgrade() -> FakeCluster:
    """Release 1.0.0 at rest, and a migration to 1.1.0 that has failed."""
    cluster = installed()
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle()
    return cluster
