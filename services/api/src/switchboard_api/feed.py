"""What other processes say of tasks: one Redis subscription for the whole replica, however many sockets it serves."""

import asyncio
import random
import socket

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from switchboard_api.metrics import LIVE_CONNECTED
from switchboard_core.jobs.manager import CHANNEL, BackgroundTaskManager, parse_change
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0

# A peer that is gone without a word is noticed by the kernel after 15 + 3 x 5 seconds.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


class ChangeFeed:
    """Hands changes from Redis to the subscribers of this process."""

    def __init__(self, settings: Settings, tasks: BackgroundTaskManager) -> None:
        self._url = settings.redis_url.get_secret_value()
        self._tasks = tasks
        self._wait_s = FIRST_WAIT_S
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled, and again after every loss of the connection."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("live updates paused: Redis does not answer", error=type(error).__name__)
            finally:
                self.connected.clear()
                LIVE_CONNECTED.set(0)
            # Spread, so that the replicas do not come back in the same instant.
            await asyncio.sleep(self._wait_s * (0.5 + random.random() / 2))  # noqa: S311 - no secret
            self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)

    async def _listen(self) -> None:
        redis = Redis.from_url(
            self._url, socket_connect_timeout=3.0, socket_keepalive=True, socket_keepalive_options=_KEEPALIVE
        )
        async with redis, redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    log.info("live updates connected")
                    self._wait_s = FIRST_WAIT_S
                    self.connected.set()
                    LIVE_CONNECTED.set(1)
                elif message["type"] == "message":
                    self._deliver(message["data"])

    def _deliver(self, data: bytes) -> None:
        try:
            change = parse_change(data)
        except ValidationError as error:
            # A newer release may say more than this one understands; pollers still see it.
            log.warning("task change not understood", error_count=error.error_count())
            return
        self._tasks.deliver(change)
