"""The built-in autoscaler: replicas follow the work that could run now, where KEDA is not installed.

Up at once, down only to the highest number that was wanted within the stabilisation window, and never before a whole
window was seen: a new operator has to watch first.
"""

import asyncio
import base64
import binascii
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import structlog

from switchboard_operator import names
from switchboard_operator.observe import Key
from switchboard_operator.plan import watched_pools
from switchboard_operator.render import Pool, pools, replicas_of
from switchboard_operator.resources.keda import POLL_S, backlog_path
from switchboard_operator.resources.service import api_url
from switchboard_operator.snapshot import Observed
from switchboard_operator.spec import Autoscaling, SwitchboardSpec

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

STALE_S = 3 * POLL_S
"""A number that is older than this says nothing about now."""
_REQUEST_TIMEOUT_S = 5.0
_SWITCHBOARD_TIMEOUT_S = 10.0
"""For all pools of one: the others wait for their turn, and their numbers get old."""
_AT_A_TIME = 20


@dataclass(frozen=True)
class Sample:
    """What was wanted at a moment (seconds on a monotonic clock)."""

    at: float
    wanted: int


def wanted_replicas(runnable: int, scaling: Autoscaling) -> int:
    """Replicas for an amount of runnable work, within the limits."""
    return min(max(math.ceil(runnable / scaling.jobs_per_replica), scaling.min), scaling.max)


def recommend(current: int, samples: Sequence[Sample], now: float, scaling: Autoscaling) -> int | None:
    """Replicas to have now.

    Args:
        current: that are recorded.
        samples: oldest first.
        now: on the samples' clock.
        scaling: limits and window.

    Returns:
        The number; None when too little is known.
    """
    if not samples or now - samples[-1].at > STALE_S:
        return None
    newest = samples[-1].wanted
    if newest >= current:
        return newest
    begin = now - scaling.scale_down_stabilization_seconds
    if samples[0].at > begin:
        return current
    return min(current, max(sample.wanted for sample in samples if sample.at >= begin))


def trimmed(samples: Sequence[Sample], now: float, scaling: Autoscaling) -> list[Sample]:
    """Samples without those that the window does not need; one before it stays, as proof that all of it was seen.

    Where the api did not answer for a while, nobody knows what was wanted then: only what follows counts.
    """
    gaps = [number for number in range(1, len(samples)) if samples[number].at - samples[number - 1].at > STALE_S]
    samples = samples[gaps[-1] :] if gaps else samples
    begin = now - scaling.scale_down_stabilization_seconds
    older = [sample for sample in samples if sample.at <= begin]
    return [*older[-1:], *(sample for sample in samples if sample.at > begin)]


@dataclass
class Tracked:
    """One Switchboard whose pools are scaled here."""

    url: str
    token: str
    pools: tuple[Pool, ...]
    scaling: Mapping[str, int]
    samples: dict[str, list[Sample]] = field(default_factory=dict)


class Scaler:
    """Asks the apis for runnable work and remembers what was wanted.

    Args:
        wake: called with the key of a Switchboard whose replicas should change.
        clock: monotonic, in seconds.
    """

    def __init__(self, wake: Callable[[Key], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._wake = wake
        self._clock = clock
        self._tracked: dict[Key, Tracked] = {}

    def track(self, key: Key, spec: SwitchboardSpec | None, observed: Observed) -> None:
        """Note what a reconciliation saw."""
        wanted = set(watched_pools(spec, observed)) if spec and observed.state.applied else set()
        secret = observed.secrets.get(names.internal_secret_name(observed.owner.name)) or {}
        token = _decoded(secret.get(names.TOKEN_KEY, ""))
        if spec is None or not wanted or not token:
            self.forget(key)
            return
        old = self._tracked.get(key)
        self._tracked[key] = Tracked(
            url=api_url(observed.owner),
            token=token,
            pools=tuple(pool for pool in pools(observed.owner, spec) if pool.name in wanted),
            scaling=observed.state.scaling,
            samples=old.samples if old else {},
        )

    def forget(self, key: Key) -> None:
        """The Switchboard is gone, or is not scaled here."""
        self._tracked.pop(key, None)

    def clear(self) -> None:
        """Somebody else leads: what was seen is worth nothing any more."""
        self._tracked.clear()

    def recommendations(self, key: Key) -> dict[str, int]:
        """Replicas that the pools of a Switchboard should have."""
        tracked = self._tracked.get(key)
        if tracked is None:
            return {}
        found = {pool.name: self._recommend(tracked, pool) for pool in tracked.pools}
        return {name: wanted for name, wanted in found.items() if wanted is not None}

    def _recommend(self, tracked: Tracked, pool: Pool) -> int | None:
        if pool.autoscaling is None:
            return None
        current = replicas_of(pool, tracked.scaling)
        return recommend(current, tracked.samples.get(pool.name, []), self._clock(), pool.autoscaling)

    async def run(self) -> None:
        """Ask until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)) as session:
            while True:
                await asyncio.sleep(POLL_S)
                await self._ask_all(session)

    async def _ask_all(self, session: aiohttp.ClientSession) -> None:
        limit = asyncio.Semaphore(_AT_A_TIME)

        async def ask(key: Key, tracked: Tracked) -> None:
            async with limit:
                try:
                    async with asyncio.timeout(_SWITCHBOARD_TIMEOUT_S):
                        await self._ask(session, key, tracked)
                except TimeoutError:
                    log.info("runnable work is not known", switchboard=key, reason="the api is slow")

        await asyncio.gather(*(ask(key, tracked) for key, tracked in list(self._tracked.items())))

    async def _ask(self, session: aiohttp.ClientSession, key: Key, tracked: Tracked) -> None:
        for pool in tracked.pools:
            url = f"{tracked.url}{backlog_path(pool.name, pool.queues)}"
            try:
                async with session.get(url, headers={"Authorization": f"Bearer {tracked.token}"}) as answer:
                    answer.raise_for_status()
                    runnable = int((await answer.json())["runnable"])
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
                log.info("runnable work is not known", switchboard=key, pool=pool.name, reason=type(error).__name__)
                if isinstance(error, aiohttp.ClientConnectionError | TimeoutError):
                    return  # Nor would it answer for the next pool.
                continue
            self.note(key, pool, runnable)

    def note(self, key: Key, pool: Pool, runnable: int) -> None:
        """Note the runnable work of a pool, and wake the planner when its replicas should change."""
        tracked = self._tracked.get(key)
        if tracked is None or pool.autoscaling is None:
            return
        now = self._clock()
        sample = Sample(now, wanted_replicas(runnable, pool.autoscaling))
        tracked.samples[pool.name] = trimmed([*tracked.samples.get(pool.name, []), sample], now, pool.autoscaling)
        if self._recommend(tracked, pool) != replicas_of(pool, tracked.scaling):
            self._wake(key)


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
