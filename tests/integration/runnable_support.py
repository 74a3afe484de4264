"""A database whose runnable work is counted, and who asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres
from switchboard_core import crossing
from switchboard_core.jobs.catalog import spec_of
from switchboard_core.jobs.transport import process_next_wakeup, recording_wakeup
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import ALL_QUEUES, Settings

K = 4
"""Jobs of a business that admission lets into one queue."""
DOWNLOADS = 3
"""Downloads of a business at once."""
LATER = "now() + interval '1 minute'"
EARLIER = "now() - interval '1 minute'"
CALLS = process_next_wakeup(1, 1).queue
WATCH = spec_of("enqueue_outbound_calls").queue
RECORDINGS = recording_wakeup(1).queue
NOBODY = "127.0.0.1:9"


@contextmanager
def counted_database(postgres: EmbeddedPostgres, template: str, name: str) -> Iterator[DatabaseUrls]:
    """A migrated database for the tests of a module."""
    yield postgres.create_database(name, template=template)
    postgres.drop_database(name)


@contextmanager
def counting_runtime(urls: DatabaseUrls) -> Iterator[Runtime]:
    """The parts of a process on it. There is no Redis: the numbers come from PostgreSQL alone."""
    settings = Settings(
        _env_file=None,
        database_url=urls.app,
        redis_url=f"redis://{NOBODY}/0",
        carrier_calls_per_second=1000,
        jobs_admitted_per_business=K,
        recordings_per_business=DOWNLOADS,
    )
    made = make_runtime(settings, name="runnable-test")
    yield made
    made.close()


def count(session: Session) -> dict[str, int]:
    """Runnable work by queue."""
    return crossing.runnable_work(session, jobs_per_business=K, recordings_per_business=DOWNLOADS)


def runnable(runtime: Runtime, *queues: str) -> int:
    """Runnable work of these queues, or of all."""
    with runtime.database.crossing() as session:
        numbers = count(session)
    assert set(numbers) <= set(ALL_QUEUES)
    return sum(numbers.get(queue, 0) for queue in queues or ALL_QUEUES)
