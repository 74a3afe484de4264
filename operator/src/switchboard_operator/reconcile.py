"""Observe, plan, apply: one reconciliation of one Switchboard."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import structlog

from switchboard_operator import status
from switchboard_operator.actions import (
    Action,
    Apply,
    Delete,
    EnsureSecret,
    ExpireJob,
    HandOverReplicas,
    Requeue,
    TakeOver,
    WriteStatus,
)
from switchboard_operator.api import CONFLICT, Api, ApiError, NotLeaderError
from switchboard_operator.apply import Applier, NameTakenError
from switchboard_operator.kept import Kept, objects_of, secret_named
from switchboard_operator.kinds import DEPLOYMENT, JOB, key_of
from switchboard_operator.metrics import ACTIONS, CONDITION, MIGRATION_FAILING, PAUSED, RECONCILE_SECONDS, RECONCILES
from switchboard_operator.observe import Key, Observer
from switchboard_operator.plan import plan
from switchboard_operator.reasons import DegradedReason
from switchboard_operator.resources.base import Owner
from switchboard_operator.scaler import Scaler
from switchboard_operator.snapshot import Observed
from switchboard_operator.state import ConditionType, State
from switchboard_operator.workqueue import WorkQueue

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

_PASSING = frozenset({0, CONFLICT, 429, 503, 504})
"""No answer, an outdated read, an API server that is busy or starting: nothing is refused, and nobody need act."""


class Reconciler:
    """Works the queue off.

    Args:
        api: the API server; it refuses writes when this process does not lead.
        kept: what need not be read again.
        queue: of Switchboards.
        scaler: the built-in autoscaler.
        instance: name of this process.
        now: the time, with its zone.
    """

    def __init__(
        self,
        api: Api,
        kept: Kept,
        queue: WorkQueue[Key],
        scaler: Scaler,
        instance: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._kept = kept
        self._queue = queue
        self._scaler = scaler
        self._instance = instance
        self._now = now
        self._observer = Observer(api, kept)

    async def run(self, workers: int) -> None:
        """Work with so many workers until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._once(key)
            finally:
                self._queue.done(key)

    async def _once(self, key: Key) -> None:
        started = time.monotonic()
        try:
            after_s = await self.reconcile(key)
        except NotLeaderError:
            RECONCILES.labels("not_leader").inc()
            self._queue.add_failed(key)
        except ApiError as error:
            RECONCILES.labels("conflict" if error.status == CONFLICT else "error").inc()
            wait_s = self._queue.add_failed(key)
            log.warning(
                "reconciliation stopped", switchboard=key, status=error.status, reason=str(error), wait_s=wait_s
            )
        except Exception:
            # One Switchboard must not stop the service for the others.
            RECONCILES.labels("fault").inc()
            self._queue.add_failed(key)
            log.exception("reconciliation failed", switchboard=key)
        else:
            RECONCILES.labels("ok").inc()
            self._queue.succeeded(key)
            if after_s is None:
                self._queue.forget(key)
            else:
                self._queue.add_after(key, after_s)
        finally:
            RECONCILE_SECONDS.observe(time.monotonic() - started)

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile once; returns the seconds after which to look again, None when the Switchboard is gone.

        Raises:
            ApiError: a call was refused; what was done before stays, and the next run goes on.
            NotLeaderError: this process may not write any more.
        """
        found = await self._observer.observe(key, self._scaler.recommendations(key))
        if found is None or found[1].deleting:
            self._scaler.forget(key)
            _forget_measures(key)
            return None
        spec, observed = found
        _measure(key, observed.state)
        PAUSED.labels(*key).set(observed.paused)
        self._scaler.track(key, spec, observed)
        actions = plan(spec, observed, self._now())
        applier = Applier(self._api, observed.owner, self._instance)
        try:
            return await self._perform(applier, actions, observed)
        except NameTakenError as error:
            await self._tell(applier, observed, "NameTaken", str(error))
            raise ApiError(CONFLICT, str(error)) from error
        except ApiError as error:
            if error.status not in _PASSING:
                await self._tell(applier, observed, "ApiRefused", f"The API server refused a change: {error.message}")
            raise

    async def _perform(self, applier: Applier, actions: list[Action], observed: Observed) -> float:
        after_s = 0.0
        for action in actions:
            if isinstance(action, Requeue):
                after_s = action.seconds
                continue
            try:
                await applier.perform(action)
            finally:
                # Also one that seems to have failed: it may have arrived.
                self._drop_changed(action, observed.owner)
            ACTIONS.labels(type(action).__name__).inc()
            if isinstance(action, WriteStatus):
                _measure((observed.owner.namespace, observed.owner.name), action.state)
        return after_s

    def _drop_changed(self, action: Action, owner: Owner) -> None:
        key = (owner.namespace, owner.name)
        match action:
            case Apply(manifest=manifest):
                self._kept.drop(objects_of(key, key_of(manifest)[0]))
            case TakeOver(key=(kind, _)) | Delete(key=(kind, _)):
                self._kept.drop(objects_of(key, kind))
            case HandOverReplicas():
                self._kept.drop(objects_of(key, DEPLOYMENT.kind))
            case ExpireJob():
                self._kept.drop(objects_of(key, JOB.kind))
            case EnsureSecret(manifest=manifest):
                self._kept.drop(secret_named(owner.namespace, key_of(manifest)[1]))

    async def _tell(self, applier: Applier, observed: Observed, reason: DegradedReason, message: str) -> None:
        """Show a refusal in the status, where a person looks for it."""
        after = status.with_error(observed.state, reason, message, observed, self._now())
        if after != observed.state:
            for event in status.changes(observed.state, after):
                await applier.perform(event)
            await applier.perform(WriteStatus(after, observed.resource_version))


def _measure(key: Key, state: State) -> None:
    for condition in state.conditions:
        CONDITION.labels(*key, condition.type).set(condition.status == "True")
    MIGRATION_FAILING.labels(*key).set(state.gate is not None and state.gate.failure is not None)


def _forget_measures(key: Key) -> None:
    for kind in get_args(ConditionType):
        # One that was never measured is no error.
        with contextlib.suppress(KeyError):
            CONDITION.remove(*key, kind)
    for gauge in (MIGRATION_FAILING, PAUSED):
        with contextlib.suppress(KeyError):
            gauge.remove(*key)
