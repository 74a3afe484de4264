"""The semaphore in Redis: which attempts of a business hold a slot, for a quick look and for people.

PostgreSQL decides (an unsettled attempt *is* a slot); this set follows it and is rebuilt from it at any time. Every
change is one Lua script, so it never holds more members than the cap it was asked with, unless a rebuild says so.
"""

from collections.abc import Iterable

from redis import Redis

from switchboard_core.logs import get_logger

log = get_logger(__name__)

_ACQUIRE = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
    return 1
end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return 0
end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
"""

_REBUILD = """
redis.call('DEL', KEYS[1])
if #ARGV > 0 then
    redis.call('SADD', KEYS[1], unpack(ARGV))
end
return #ARGV
"""


class CallSemaphore:
    """Slots of live calls, a set of attempt ids per business."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._acquire = redis.register_script(_ACQUIRE)
        self._rebuild = redis.register_script(_REBUILD)

    @staticmethod
    def key(business_id: int) -> str:
        """The Redis key of a business's slots."""
        return f"switchboard:slots:{business_id}"

    def acquire(self, business_id: int, attempt_id: str, cap: int) -> bool:
        """Take a slot; true also where the attempt has one already. Raises ``RedisError``."""
        taken = bool(self._acquire(keys=[self.key(business_id)], args=[attempt_id, cap]))
        log.debug("slot acquire", business_id=business_id, attempt_id=attempt_id, cap=cap, taken=taken)
        return taken

    def release(self, business_id: int, attempt_id: str) -> bool:
        """Give a slot back; false where there was none (a doubled webhook, a rebuild). Raises ``RedisError``."""
        released = bool(self._redis.srem(self.key(business_id), attempt_id))
        log.debug("slot release", business_id=business_id, attempt_id=attempt_id, released=released)
        return released

    def active(self, business_id: int) -> int:
        """How many slots are taken. Raises ``RedisError``."""
        return int(self._redis.scard(self.key(business_id)))

    def members(self, business_id: int) -> set[str]:
        """The attempts that hold slots. Raises ``RedisError``."""
        members = self._redis.smembers(self.key(business_id))
        return {item.decode() if isinstance(item, bytes) else item for item in members}

    def rebuild(self, business_id: int, attempt_ids: Iterable[str]) -> int:
        """Make the set what PostgreSQL says; returns its size. Raises ``RedisError``."""
        size = int(self._rebuild(keys=[self.key(business_id)], args=list(attempt_ids)))
        log.debug("slots rebuilt", business_id=business_id, active=size)
        return size
