"""The job kernel on a real database and a real Valkey, in this process, with tasks that the tests make up."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import redis
from psycopg.rows import dict_row
from rq.utils import as_text
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from secrets_for_tests import CREDENTIALS_KEY
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.catalog import CATALOG
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.queueing import default_transport, enqueue
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext, SliceFunction
from switchboard_core.jobs.transport import background_wakeup
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import Settings, get_settings
from switchboard_core.tenancy.service import create_business

TASK = "delete_leads"
"""A job type whose work the tests replace with their own."""

ENDS_ITSELF = "enqueue_outbound_calls"
"""A job type that winds down by itself when it is cancelled."""

QUEUE = CATALOG[TASK].queue

# What a slice does to the database, so that tests can count it. A doubled item is refused when the slice commits.
_EFFECTS = f"""
CREATE TABLE effects (
    job_id bigint NOT NULL,
    item bigint NOT NULL,
    CONSTRAINT chk_effects_item CHECK (item >= 0),
    CONSTRAINT uq_effects UNIQUE (job_id, item) DEFERRABLE INITIALLY DEFERRED
);
GRANT SELECT, INSERT, DELETE ON effects TO {APP_ROLE};
"""

_database_numbers = itertools.count(1)


class _UndoneError(Exception):
    """Rolls a transaction back."""


@dataclass
class Bench:
    """A business, and what the kernel needs to work for it."""

    urls: DatabaseUrls
    runtime: Runtime
    business_id: int
    logged: list[MutableMapping[str, Any]] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)

    def said(self, level: str | None = None) -> list[str]:
        """What was logged, in words."""
        return [entry["event"] for entry in self.logged if level in (None, entry["log_level"])]

    def kernel(self, task: SliceFunction, *, job_type: str = TASK, runtime: Runtime | None = None) -> Kernel:
        """A kernel of its own for ``task``: what a further worker process would have."""
        parts = runtime or self.runtime
        kernel = Kernel(parts.settings, parts.database, parts.transport, parts.tasks, {job_type: task})
        self.kernels.append(kernel)
        return kernel

    def enqueue(
        self,
        job_type: str = TASK,
        payload: Mapping[str, Any] | None = None,
        *,
        business_id: int | None = None,
        **options: Any,
    ) -> int:
        """Enqueue a job as the api does; its id."""
        with self.runtime.database.tenant(business_id or self.business_id) as session:
            return enqueue(session, self.runtime.transport, job_type, dict(payload or {}), **options).id

    def run(self, kernel: Kernel, job_id: int, *, budget_s: float = 2.0, slices: int = 1000) -> int:
        """Run slices until the job ends, sleeps or waits; returns how many."""
        for number in range(1, slices + 1):
            if kernel.run_slice(job_id, budget_s=budget_s) is Outcome.FINISHED:
                return number
        raise AssertionError(f"not finished after {slices} slices")

    def cancel(self, job_id: int) -> None:
        """Cancel a job as the api does."""
        with self.runtime.database.tenant(self.business_id) as session:
            self.runtime.tasks.cancel(session, job_id)

    def roll_back(self, change: Callable[[Session], object]) -> None:
        """Do something in a transaction of the business, and undo it."""
        with suppress(_UndoneError), self.runtime.database.tenant(self.business_id) as session:
            change(session)
            raise _UndoneError

    def another_business(self) -> int:
        """A further tenant."""
        return create_business(self.runtime.database, "Another").id

    def sql(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read or write as the database's owner, past row-level security."""
        with psycopg.connect(_plain(self.urls.owner), row_factory=dict_row) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def job(self, job_id: int) -> dict[str, Any]:
        """The row of a job."""
        return self.sql("SELECT * FROM background_jobs WHERE id = %s", job_id)[0]

    def set(self, job_id: int, assignments: str) -> None:
        """Change the row of a job behind the kernel's back."""
        self.sql(f"UPDATE background_jobs SET {assignments} WHERE id = %s", job_id)

    def expire_lease(self, job_id: int) -> None:
        """Let the time of a lease pass."""
        self.set(job_id, "lease_until = clock_timestamp() - interval '1 second'")

    def effects(self, job_id: int) -> list[int]:
        """The items of a job that took effect."""
        return [row["item"] for row in self.sql("SELECT item FROM effects WHERE job_id = %s ORDER BY 1", job_id)]

    def queued(self, queue: str = QUEUE) -> list[str]:
        """The RQ ids that wait in a queue, first to last."""
        return [as_text(item) for item in self.runtime.redis.lrange(f"rq:queue:{queue}", 0, -1)]

    def forget_queues(self) -> None:
        """Empty Redis."""
        self.runtime.redis.flushall()

    def push(self, job_id: int, *, reclaim: bool = False, business_id: int | None = None) -> bool:
        """Queue a further wake-up of a job, behind all others unless its business is told."""
        wakeup = background_wakeup(TASK, job_id, QUEUE, 60, business_id)
        return self.runtime.transport.push(wakeup, reclaim=reclaim)


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def kernel_database(postgres: EmbeddedPostgres, template: str) -> Iterator[DatabaseUrls]:
    """A migrated database with a table of effects, for the tests of a module."""
    name = f"kernel_{os.getpid()}_{next(_database_numbers)}"
    urls = postgres.create_database(name, template=template)
    with psycopg.connect(_plain(urls.owner)) as connection:
        connection.execute(_EFFECTS)
    yield urls
    postgres.drop_database(name)


@contextmanager
def bench(urls: DatabaseUrls, valkey: EmbeddedValkey, **settings: Any) -> Iterator[Bench]:
    """A business without jobs and an empty Valkey; ``settings`` are those of this process."""
    with (
        pytest.MonkeyPatch.context() as environment,
        redis.Redis.from_url(valkey.url) as client,
        capture_logs() as logged,
    ):
        client.flushall()
        environment.setenv("DATABASE_URL", urls.app)
        environment.setenv("REDIS_URL", valkey.url)
        environment.setenv("CREDENTIALS_KEYS", CREDENTIALS_KEY)
        environment.setenv("TRUSTED_HOSTS", "127.0.0.1,localhost")
        for name, value in settings.items():
            environment.setenv(name.upper(), str(value))
        with _fresh_settings():
            # Not the cached one: what a test changes with model_copy stays its own.
            runtime = make_runtime(Settings(_env_file=None), name="kernel-test")
            made = Bench(urls, runtime, create_business(runtime.database, "Acme").id, logged)
            try:
                yield made
            finally:
                for kernel in made.kernels:
                    kernel.close()
                made.sql("DELETE FROM businesses")
                made.sql("TRUNCATE effects")
                runtime.close()


@contextmanager
def _fresh_settings() -> Iterator[None]:
    caches: tuple[Callable[[], None], ...] = (get_settings.cache_clear, default_transport.cache_clear)
    for clear in caches:
        clear()
    try:
        yield
    finally:
        for clear in caches:
            clear()


def put(ctx: SliceContext, items: list[int]) -> None:
    """The effect of some items."""
    ctx.session.execute(
        text("INSERT INTO effects (job_id, item) SELECT :job, unnest(CAST(:items AS bigint[]))"),
        {"job": ctx.job_id, "items": items},
    )


def walk(ctx: SliceContext, payload: Mapping[str, Any], cursor: Cursor | None) -> Slice:
    """A task that puts ``items`` effects, ``a_slice`` of them a slice, and honours the kernel's limit."""
    total, done = int(payload["items"]), int(cursor["done"]) if cursor else 0
    until = min(total, done + min(int(payload.get("a_slice", total)), ctx.limit))
    ctx.each(list(range(done, until)), lambda items: put(ctx, list(items)))
    return Slice(next_cursor={"done": until} if until < total else None, total=total)
