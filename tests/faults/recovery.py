"""``kill -9`` of workers that hold a claim: how long until another worker has taken the job over."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carrier_truth import none_of
from faults.crowd import counting_workers, crowd
from faults.judge import Spread
from integration.worker_support import Worker, Workshop

WORKERS, JOBS, AT_ONCE = 8, 10, 5
WITHIN_S = 15.0
"""What 99 of 100 killed workers' jobs may take."""
_ENDLESS = 10**6
_LOST_AFTER_S = 120.0

# A job whose workers die five times in a row without a slice in between is stopped, as it should be.
_CLAIMED = """
SELECT id, attempt FROM background_jobs
WHERE status = 'running' AND lease_until > clock_timestamp() AND crash_count = 0 AND NOT id = ANY(%s)
"""
_TAKEN_OVER = "SELECT id, attempt FROM background_jobs WHERE id = ANY(%s)"
_WRONG = """
SELECT b.id, b.status, b.done, b.failed, count(e.item) AS effects, max(e.item) + 1 AS furthest
FROM background_jobs b LEFT JOIN effects e ON e.job_id = b.id
GROUP BY b.id
HAVING b.status <> 'running' OR b.done <> count(e.item) OR b.done <> coalesce(max(e.item) + 1, 0) OR b.failed <> 0
"""


@dataclass
class _Kills:
    """Kills so far.

    Attributes:
        waiting: by job, the attempt that was killed and when.
        seconds: until each of the others was taken over.
    """

    waiting: dict[int, tuple[int, float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def number(self) -> int:
        """All of them."""
        return len(self.waiting) + len(self.seconds)


def recovery(folder: Path, seed: int, say: Callable[[str], None], *, kills: int) -> Spread:
    """Kill workers in the middle of their slices until there were ``kills``, and measure.

    Args:
        folder: for servers and logs; stays.
        seed: decides whose turn it is.
        say: takes a line for people.
        kills: how many.

    Raises:
        AssertionError: it takes too long, or an effect is missing or doubled.
    """
    dice, so_far = random.Random(seed), _Kills()
    with crowd(folder) as shop:
        workers = counting_workers(shop, WORKERS)
        for _ in range(JOBS):
            shop.jobs.enqueue(payload={"items": _ENDLESS, "pause_s": 0.1, "slice_s": 1.5})
        said = time.monotonic()
        while len(so_far.seconds) < kills:
            if so_far.number < kills and len(so_far.waiting) < AT_ONCE:
                _kill_one(shop, workers, dice, so_far)
            _note_takeovers(shop, so_far)
            overdue = {job: at for job, (_, at) in so_far.waiting.items() if time.time() - at > _LOST_AFTER_S}
            none_of(overdue, f"jobs that nobody took over for {_LOST_AFTER_S:g} s, and when their worker was killed")
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(f"{len(so_far.seconds)} of {kills} killed workers' jobs were taken over")
            time.sleep(0.05)
        for worker in workers:
            worker.process.kill()
        spread = Spread.of(so_far.seconds)
        none_of(shop.jobs.sql(_WRONG), "jobs that do not go on, or whose counters are not their effects")
    if spread.p99 > WITHIN_S:
        raise AssertionError(f"the jobs of killed workers were taken over too late: {spread}")
    return spread


def _kill_one(shop: Workshop, workers: list[Worker], dice: random.Random, so_far: _Kills) -> None:
    """Kill whoever holds the claim of some job, and start it again."""
    rows = shop.jobs.sql(_CLAIMED, list(so_far.waiting))
    if not rows:
        return
    job = dice.choice(rows)
    holder = next((worker for worker in workers if _holds(worker, job)), None)
    if holder is None:
        return
    killed_at = time.time()
    holder.process.kill()
    # A slice that was committed just before leaves nothing to take over.
    still = shop.jobs.sql(
        "SELECT 1 FROM background_jobs WHERE id = %s AND attempt = %s AND lease_until IS NOT NULL",
        job["id"],
        job["attempt"],
    )
    if still:
        so_far.waiting[job["id"]] = (job["attempt"], killed_at)
    holder.process.start()


def _holds(worker: Worker, job: dict[str, Any]) -> bool:
    """Whether it logged, as the last thing that it picked, this attempt of this job."""
    picked = [line for line in worker.process.log_tail().splitlines() if "JOB PICKED" in line]
    return bool(picked) and all(
        words in picked[-1] for words in (f'delete_leads_{job["id"]}"', f'"attempt": {job["attempt"]},')
    )


def _note_takeovers(shop: Workshop, so_far: _Kills) -> None:
    for row in shop.jobs.sql(_TAKEN_OVER, list(so_far.waiting)):
        attempt, killed_at = so_far.waiting[row["id"]]
        if row["attempt"] > attempt:
            so_far.seconds.append(time.time() - killed_at)
            del so_far.waiting[row["id"]]
