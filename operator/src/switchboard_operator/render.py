"""Which objects should exist, given what the status records. Pure.

Everything is rendered from the release *recorded in status*, never from the spec directly: while the gate is closed, or
a spec cannot be used, the old release is what gets repaired. Until the workers of a release are rolled out, the api
(and pools that the release no longer has) are rendered from the release before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from switchboard_operator import names
from switchboard_operator.resources import deployment, keda, networkpolicy, pdb, pvc, service, serviceaccount
from switchboard_operator.resources.base import Manifest, Owner, Release
from switchboard_operator.spec import Autoscaling, SwitchboardSpec, WorkerPool
from switchboard_operator.state import Rendering, State


@dataclass(frozen=True)
class Pool:
    """A Deployment whose replicas may follow its work.

    Attributes:
        name: ``recorder`` for the recorder.
        role: ``worker`` or ``recorder``.
        deployment: name of the Deployment.
        queues: that it consumes, highest priority first.
        autoscaling: None where the number is fixed.
        fixed: replicas without autoscaling.
    """

    name: str
    role: str
    deployment: str
    queues: tuple[str, ...]
    autoscaling: Autoscaling | None
    fixed: int


def pools(owner: Owner, spec: SwitchboardSpec) -> list[Pool]:
    """All pools of a spec, the recorder included."""
    found = [
        Pool(
            name=pool.name,
            role="worker",
            deployment=names.worker_name(owner.name, pool.name),
            queues=tuple(pool.queues),
            autoscaling=pool.autoscaling,
            fixed=pool.replicas or 1,
        )
        for pool in spec.workers
    ]
    recorder = spec.recorder
    found.append(
        Pool(
            name=names.RECORDER_POOL,
            role="recorder",
            deployment=names.recorder_name(owner.name),
            queues=("recordings",),
            autoscaling=recorder.autoscaling,
            fixed=recorder.replicas or 1,
        )
    )
    return found


def initial_replicas(scaling: Autoscaling) -> int:
    """Replicas of a pool about whose work nothing is known yet."""
    return max(1, scaling.min)


def replicas_of(pool: Pool, scaling: Mapping[str, int]) -> int:
    """Replicas that the operator wants, when no other autoscaler decides."""
    if pool.autoscaling is None:
        return pool.fixed
    wanted = scaling.get(pool.name, initial_replicas(pool.autoscaling))
    return min(max(wanted, pool.autoscaling.min), pool.autoscaling.max)


def with_scale_of(recorded: SwitchboardSpec, wanted: SwitchboardSpec | None) -> SwitchboardSpec:
    """A recorded spec with today's numbers of replicas: scaling never waits for a gate."""
    if wanted is None:
        return recorded
    today = {pool.name: pool for pool in wanted.workers}
    workers: list[WorkerPool] = []
    for pool in recorded.workers:
        other = today.get(pool.name, pool)
        workers.append(pool.model_copy(update={"replicas": other.replicas, "autoscaling": other.autoscaling}))
    recorder = {"replicas": wanted.recorder.replicas, "autoscaling": wanted.recorder.autoscaling}
    return recorded.model_copy(
        update={
            "api": recorded.api.model_copy(update={"replicas": wanted.api.replicas}),
            "workers": workers,
            "recorder": recorded.recorder.model_copy(update=recorder),
        }
    )


class Renderer:
    """Renders the objects of one Switchboard.

    Args:
        owner: the resource.
        state: its status.
        wanted: its spec, for the numbers of replicas; None when it cannot be used.
        keda: KEDA scales the pools.
        existing: names of the Deployments that exist.
    """

    def __init__(
        self, owner: Owner, state: State, wanted: SwitchboardSpec | None, *, keda: bool, existing: frozenset[str]
    ) -> None:
        self._owner = owner
        self._state = state
        self._wanted = wanted
        self._keda = keda
        self._existing = existing

    def release(self, rendering: Rendering) -> Release:
        """What the objects of a recorded release are rendered from."""
        applied = self._state.applied
        return Release(
            owner=self._owner,
            spec=with_scale_of(SwitchboardSpec.recorded(rendering.spec), self._wanted),
            release=rendering.release,
            secrets=applied.secrets if applied else "",
            revision=rendering.revision,
        )

    def objects(self) -> list[Manifest]:
        """Everything that should exist, in the order in which it is applied."""
        found: list[Manifest] = [serviceaccount.service_account(self._owner)]
        applied = self._state.applied
        if applied is None:
            return found
        release = self.release(applied)
        before = self.release(self._state.previous) if self._state.previous else None
        if claim := pvc.recordings_claim(self._owner, release.spec):
            found.append(claim)
        if release.spec.network_policies.enabled:
            found += networkpolicy.network_policies(self._owner)
        rolling = applied.stage == "workers"
        found += self._pools(release, before if rolling else None)
        api_release = before if rolling else release
        if api_release:
            found += self._api(api_release)
        return found

    def workers_of(self, release: Release) -> list[Manifest]:
        """Deployments of all pools of a release."""
        return [self._deployment(release, pool) for pool in pools(self._owner, release.spec)]

    def _pools(self, release: Release, before: Release | None) -> list[Manifest]:
        found: list[Manifest] = []
        current = pools(self._owner, release.spec)
        for pool in current:
            found += self._pool(release, pool)
        if before is None:
            return found
        # No queue is without a consumer while pools are rearranged.
        kept = {pool.deployment for pool in current}
        for pool in pools(self._owner, before.spec):
            if pool.deployment not in kept:
                found += self._pool(before, pool)
        return found

    def _pool(self, release: Release, pool: Pool) -> list[Manifest]:
        label = pool.name if pool.role == "worker" else None
        found = [
            self._deployment(release, pool),
            pdb.disruption_budget(self._owner, pool.deployment, pool.role, label),
        ]
        if self._keda and pool.autoscaling:
            found.append(
                keda.scaled_object(self._owner, pool.deployment, pool.role, pool.name, pool.queues, pool.autoscaling)
            )
            found.append(keda.trigger_authentication(self._owner))
        return found

    def _deployment(self, release: Release, pool: Pool) -> Manifest:
        # Once it exists, the field belongs to KEDA's autoscaler alone.
        elsewhere = self._keda and pool.autoscaling is not None and pool.deployment in self._existing
        replicas = None if elsewhere else replicas_of(pool, self._state.scaling)
        if pool.role == "recorder":
            return deployment.recorder_deployment(release, replicas)
        worker = next(each for each in release.spec.workers if each.name == pool.name)
        return deployment.worker_deployment(release, worker, replicas)

    def _api(self, release: Release) -> list[Manifest]:
        name = names.api_name(self._owner.name)
        return [
            service.api_service(self._owner),
            deployment.api_deployment(release, release.spec.api.replicas),
            pdb.disruption_budget(self._owner, name, "api"),
        ]
