"""The connection to Redis or Valkey, which carries wake-ups and nothing that cannot be rebuilt from PostgreSQL."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from switchboard_core.clock import Clock
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

SILENT_FOR_S = 2.0
"""Seconds after a timeout in which nobody tells Redis anything; the sweep makes up for that too."""

ONE_ASKS_FOR_S = 10.0
"""Seconds that one has to find out whether Redis answers again; more than its connection waits."""


class RedisMisconfiguredError(Exception):
    """Redis would silently drop keys; the message says which setting to change."""


def make_redis(settings: Settings, *, socket_timeout_s: float = 5.0) -> "Redis":
    """A client with bounded waits; it connects when first used."""
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=min(3.0, socket_timeout_s),
        socket_timeout=socket_timeout_s,
        health_check_interval=15,
    )


def check_eviction(redis: "Redis") -> None:
    """Refuse a Redis that evicts keys when it is full: queues would lose entries without a word.

    Raises:
        RedisMisconfiguredError: ``maxmemory-policy`` is not ``noeviction``.
        RedisError: Redis does not answer.
    """
    try:
        policy = redis.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
    except ResponseError:
        # Managed offers forbid CONFIG; then the operator of that Redis has to vouch for it.
        log.warning("Redis does not allow CONFIG GET: make sure that its maxmemory-policy is noeviction")
        return
    if policy != "noeviction":
        msg = f"Redis has maxmemory-policy={policy}: it would drop queued jobs when full. Set it to noeviction."
        raise RedisMisconfiguredError(msg)


def is_reachable(redis: "Redis") -> bool:
    """Whether Redis answers a ping."""
    try:
        return bool(redis.ping())
    except RedisError:
        return False


class Patience:
    """Lets the many who merely *tell* Redis something wait once, and not each of them, for a Redis that is silent.

    For what follows a commit and is made up for if it is lost: wake-ups, changes of tasks, slots given back. Once one
    of them has waited in vain, the others fail at once for a while; then one at a time finds out. Whoever needs an
    answer (RQ's loop, the sweep, a look at the slots) asks as ever. One for a process, used by all of its threads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before = -math.inf

    @contextmanager
    def telling(self) -> Iterator[None]:
        """The block tells Redis something.

        Raises:
            RedisError: it failed, or was not begun because Redis did not answer a moment ago.
        """
        self._begin()
        try:
            yield
        except RedisError as error:
            self._ended(in_vain=isinstance(error, RedisTimeoutError))
            raise
        self._ended(in_vain=False)

    def _begin(self) -> None:
        with self._lock:
            now = self._clock.monotonic()
            if now < self._not_before:
                msg = "Redis did not answer a moment ago"
                raise RedisTimeoutError(msg)
            if self._not_before > -math.inf:
                # Bounded: a job's timeout may take who asks out of the block without a word.
                self._not_before = now + ONE_ASKS_FOR_S

    def _ended(self, *, in_vain: bool) -> None:
        with self._lock:
            self._not_before = self._clock.monotonic() + SILENT_FOR_S if in_vain else -math.inf
