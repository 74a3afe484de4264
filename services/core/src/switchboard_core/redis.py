"""The connection to Redis or Valkey, which carries wake-ups and nothing that cannot be rebuilt from PostgreSQL."""

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)


class RedisMisconfiguredError(Exception):
    """Redis would silently drop keys; the message says which setting to change."""


def make_redis(settings: Settings, *, socket_timeout_s: float = 5.0) -> "Redis":
    """A client with bounded waits; it connects when first used."""
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=3.0,
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
