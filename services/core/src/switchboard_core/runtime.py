"""What a running process holds: settings, database, Redis and what is built on them, made once at its start."""

from dataclasses import dataclass
from functools import lru_cache

from redis import Redis

from switchboard_core.calls.carrier import Carrier
from switchboard_core.calls.semaphore import CallSemaphore
from switchboard_core.calls.twilio_carrier import TwilioCarrier
from switchboard_core.clock import Clock, SystemClock
from switchboard_core.db import Database, make_engine
from switchboard_core.jobs.manager import BackgroundTaskManager
from switchboard_core.jobs.transport import Transport
from switchboard_core.redis import Patience, make_redis
from switchboard_core.settings import Settings, get_settings


@dataclass(frozen=True)
class Runtime:
    """The parts of a process that its verbs work with."""

    settings: Settings
    database: Database
    redis: Redis
    transport: Transport
    tasks: BackgroundTaskManager
    carrier: Carrier
    slots: CallSemaphore
    clock: Clock

    def close(self) -> None:
        """Close all connections."""
        self.database.dispose()
        self.redis.close()


def make_runtime(settings: Settings, *, name: str, clock: Clock | None = None) -> Runtime:
    """Build the parts of a process; nothing connects before it is used.

    Args:
        settings: of this process.
        name: shown by PostgreSQL as application_name.
        clock: by default the machine's.
    """
    clock = clock or SystemClock()
    redis = make_redis(settings)
    transport = Transport(redis, Patience(clock))
    return Runtime(
        settings=settings,
        database=Database(make_engine(settings, application_name=name)),
        redis=redis,
        transport=transport,
        tasks=BackgroundTaskManager(redis, transport, admit_limit=settings.jobs_admitted_per_business),
        carrier=TwilioCarrier(settings),
        slots=CallSemaphore(redis),
        clock=clock,
    )


@lru_cache(maxsize=1)
def process_runtime() -> Runtime:
    """The runtime of this process, for functions that RQ calls by name."""
    settings = get_settings()
    return make_runtime(settings, name=f"switchboard-{settings.service_role or 'job'}")
