"""Valkey is emptied while thousands of jobs are queued in it: all of them run, and each once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carrier_truth import none_of
from faults.crowd import counting_workers, crowd
from integration.kernel_support import QUEUE, TASK
from integration.worker_support import Workshop
from switchboard_core.jobs.queueing import enqueue
from switchboard_core.tenancy.service import create_business

BUSINESSES = 10
WORKERS = 2
BATCH = 250
LIMIT_S = 900.0

_NOT_ONCE = """
SELECT b.id, b.status, b.attempt, b.done, count(e.item) AS effects
FROM background_jobs b LEFT JOIN effects e ON e.job_id = b.id
GROUP BY b.id
HAVING b.status <> 'completed' OR b.attempt <> 1 OR b.done <> 1 OR count(e.item) <> 1
"""


@dataclass(frozen=True)
class Flushed:
    """What came of it.

    Attributes:
        jobs: that were queued.
        seconds: from the first flush until every job had run.
    """

    jobs: int
    seconds: float


def flush(folder: Path, say: Callable[[str], None], *, jobs: int) -> Flushed:
    """Queue jobs in Valkey, empty it, start workers, and empty it again when half of the jobs have run.

    Args:
        folder: for servers and logs; stays.
        say: takes a line for people.
        jobs: how many.

    Raises:
        AssertionError: a job did not run, or ran more than once.
    """
    a_business = jobs // BUSINESSES
    with crowd(folder, JOBS_ADMITTED_PER_BUSINESS=str(a_business)) as shop:
        _enqueue(shop, a_business)
        queued = _waiting(shop)
        if queued != a_business * BUSINESSES:
            raise AssertionError(f"{queued} of {a_business * BUSINESSES} jobs were queued in Valkey")
        say(f"{queued:,} jobs are queued in Valkey; now it is emptied")
        began = time.monotonic()
        shop.jobs.forget_queues()
        counting_workers(shop, WORKERS)
        _await(shop, queued // 2, say)
        say("half of them have run; Valkey is emptied again")
        shop.jobs.forget_queues()
        _await(shop, queued, say)
        seconds = time.monotonic() - began
        none_of(shop.jobs.sql(_NOT_ONCE), "jobs that did not run exactly once")
    return Flushed(queued, round(seconds, 1))


def _enqueue(shop: Workshop, a_business: int) -> None:
    runtime = shop.jobs.runtime
    for number in range(BUSINESSES):
        business_id = create_business(runtime.database, f"Business {number}").id
        for first in range(0, a_business, BATCH):
            with runtime.database.tenant(business_id) as session:
                for _ in range(min(BATCH, a_business - first)):
                    enqueue(session, runtime.transport, TASK, {"items": 1}, admit_limit=a_business)


def _waiting(shop: Workshop) -> int:
    return len(shop.jobs.queued(QUEUE))


def _await(shop: Workshop, ended: int, say: Callable[[str], None]) -> None:
    deadline, said = time.monotonic() + LIMIT_S, time.monotonic()
    query = "SELECT count(*) AS number FROM background_jobs WHERE finished_at IS NOT NULL"
    while (number := shop.jobs.sql(query)[0]["number"]) < ended:
        if time.monotonic() > deadline:
            raise AssertionError(f"only {number} of {ended} jobs have run within {LIMIT_S:g} s")
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"{number:,} jobs have run, {_waiting(shop):,} are queued in Valkey")
        time.sleep(0.2)
