"""How often something may happen in a minute: token buckets in Redis, shared by all replicas."""

import math
import threading
import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from switchboard_core.logs import get_logger

log = get_logger(__name__)

WINDOW_S = 60.0

# Redis' own clock, so that replicas whose clocks differ share one bucket. It fills in a minute and then expires: a
# bucket that nobody has used for so long is full.
_TAKE = """
-- KEYS: bucket.  ARGV: capacity, seconds in which it fills, tokens to take (negative: to give back)
local capacity, window, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1]) or capacity
local at = tonumber(bucket[2]) or now
tokens = math.min(capacity, tokens + math.max(0, now - at) * capacity / window)
local wait = 0
if tokens >= wanted then
    tokens = math.min(capacity, tokens - wanted)
else
    wait = (wanted - tokens) * window / capacity
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(window))
return tostring(wait)
"""


class RateLimiter:
    """Lets so many a minute through for each name, in a burst or spread.

    Redis being away must not stop the api: then nothing is limited, and Redis is not asked again for a few seconds, so
    that no request waits for it.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        pause_s: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._script = redis.register_script(_TAKE)
        self._pause_s = pause_s
        self._monotonic = monotonic
        self._paused_until = -math.inf
        self._lock = threading.Lock()

    def wait_s(self, name: str, per_minute: int) -> int:
        """Take a token of the name.

        Returns:
            0 when it may happen, otherwise whole seconds until it may.
        """
        return math.ceil(self._take(name, per_minute, 1))

    def give_back(self, name: str, per_minute: int) -> None:
        """Put a token back that was taken for what does not count after all."""
        self._take(name, per_minute, -1)

    def _take(self, name: str, per_minute: int, tokens: int) -> float:
        if self._monotonic() < self._paused_until:
            return 0.0
        try:
            return float(self._script(keys=[f"switchboard:rate:{name}"], args=[per_minute, WINDOW_S, tokens]))
        except RedisError as error:
            self._pause(error)
            return 0.0

    def _pause(self, error: RedisError) -> None:
        with self._lock:
            if self._monotonic() < self._paused_until:
                return
            self._paused_until = self._monotonic() + self._pause_s
        log.warning("requests are not rate-limited: Redis does not answer", error=type(error).__name__)
