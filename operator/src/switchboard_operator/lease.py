"""Who acts: one replica, the holder of a Lease.

Neither kopf nor the elector of the ``kubernetes`` package serves here (docs/decisions/0016), so this is the algorithm
of client-go's leaderelection with what that leaves to its user: work is cancelled *before* the lease is given up, no
write starts after the deadline, and the holder is blanked on the way out, so that a successor need not wait.

Clocks of other machines are never trusted: a candidate takes a Lease over when it has *seen* it unchanged for a whole
lease duration on its own monotonic clock.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from switchboard_operator.api import Api, ApiError
from switchboard_operator.kinds import LEASE
from switchboard_operator.metrics import LEADER
from switchboard_operator.resources.base import Manifest

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Timing:
    """Durations in seconds.

    Attributes:
        lease: after which a silent holder is replaced.
        deadline: after which a holder that could not renew stops to act; the rest of ``lease`` is for its last writes.
        renew: between renewals.
        retry: between attempts to obtain.
        request: limit of one request, below the deadline.
    """

    lease: float = 12.0
    deadline: float = 8.0
    renew: float = 2.0
    retry: float = 1.0
    request: float = 3.0

    def __post_init__(self) -> None:
        if not self.request < self.deadline < self.lease:
            msg = "a lease needs request < deadline < lease"
            raise ValueError(msg)


class LeaseStore(Protocol):
    """Where the Lease is kept."""

    async def read(self) -> Manifest | None:
        """The Lease; None when there is none."""
        ...

    async def write(self, lease: Manifest) -> Manifest:
        """Make the Lease, or replace it at its resourceVersion.

        Raises:
            ApiError: somebody else was faster (409), or the API server does not answer.
        """
        ...


class ApiLeaseStore:
    """A Lease at the API server."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name

    async def read(self) -> Manifest | None:
        """The Lease."""
        return await self._api.get(LEASE, self._namespace, self._name)

    async def write(self, lease: Manifest) -> Manifest:
        """Make or replace it."""
        if "resourceVersion" in lease["metadata"]:
            return await self._api.replace(LEASE, self._namespace, self._name, lease)
        metadata = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": lease["spec"]}
        return await self._api.create(LEASE, self._namespace, body)


class Elector:
    """Obtains and keeps the Lease.

    Args:
        store: where the Lease is.
        identity: of this process, different from every other's.
        timing: durations.
        clock: monotonic, in seconds.
        sleep: waits.
    """

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        timing: Timing | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._identity = identity
        self._timing = timing or Timing()
        self._clock = clock
        self._sleep = sleep
        self._lease: Manifest | None = None
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    @property
    def is_leader(self) -> bool:
        """This process may act."""
        return self._renewed_at is not None and self._clock() < self._renewed_at + self._timing.deadline

    def write_window(self) -> float:
        """Seconds until a request that starts now must have ended; 0 when none may start."""
        if self._renewed_at is None or not self.is_leader:
            return 0.0
        return self._renewed_at + self._timing.lease - self._clock()

    async def run(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        """Do ``work`` whenever this process is the leader, until ``stop``; then hand over at once."""
        try:
            while not stop.is_set():
                if await self._obtain():
                    log.info("leading", identity=self._identity)
                    await self._lead(work, stop)
                else:
                    await self._pause(self._timing.retry, stop)
        finally:
            await self._release()

    async def _lead(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        LEADER.set(1)
        task = asyncio.ensure_future(work())
        try:
            while self.is_leader and not stop.is_set() and not task.done():
                await self._pause(self._timing.renew, stop)
                if not stop.is_set():
                    await self._obtain()
        finally:
            # First the work, then the lease: a successor must never meet a predecessor that still acts.
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            LEADER.set(0)
        if not stop.is_set():
            self._renewed_at = None
            log.warning("not leading any more", identity=self._identity)

    async def _pause(self, seconds: float, stop: asyncio.Event) -> None:
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()

    async def _obtain(self) -> bool:
        """Obtain or renew the Lease; false when somebody else has it or the API server does not answer."""
        # Counted from before the request: the others' time starts when the write arrives, which is later.
        started = self._clock()
        try:
            async with asyncio.timeout(self._timing.request):
                lease = await self._store.read()
                if not self._may_take(lease):
                    self._renewed_at = None
                    return False
                self._lease = await self._store.write(self._claimed(lease, self._identity))
        except ApiError as error:
            log.warning("the lease could not be renewed", status=error.status, reason=error.message)
            return False
        except TimeoutError:
            log.warning("the lease could not be renewed", reason="The API server does not answer in time.")
            return False
        self._renewed_at = started
        return True

    def _may_take(self, lease: Manifest | None) -> bool:
        if lease is None:
            return True
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
            return False
        duration = max(self._timing.lease, float(spec.get("leaseDurationSeconds") or 0))
        return self._clock() - self._seen_at > duration

    def _claimed(self, lease: Manifest | None, holder: str) -> Manifest:
        old: dict[str, Any] = (lease or {}).get("spec", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_new = bool(holder) and old.get("holderIdentity") != holder
        transitions = int(old.get("leaseTransitions") or 0)
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self._timing.lease) if holder else 1,
            "acquireTime": now if is_new else old.get("acquireTime") or now,
            "renewTime": now,
            "leaseTransitions": transitions + int(is_new and lease is not None),
        }
        return {**(lease or {"metadata": {}}), "spec": spec}

    async def _release(self) -> None:
        """Blank the holder, unless somebody else has taken over."""
        held, self._renewed_at = self._renewed_at is not None, None
        if not held or self._lease is None:
            return
        try:
            async with asyncio.timeout(self._timing.request):
                await self._store.write(self._claimed(self._lease, ""))
        except (ApiError, TimeoutError) as error:
            log.warning("the lease was not handed over; a successor waits for its end", reason=str(error))
        else:
            log.info("lease handed over", identity=self._identity)
