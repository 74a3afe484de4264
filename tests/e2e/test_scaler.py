"""Without KEDA the operator scales a pool itself: from none to what the work needs, and back to none."""

from e2e.bulk_work import await_jobs, check_jobs, hurry, slow_and_counted, start_jobs
from e2e.installation import Installation, await_replicas
from e2e.setup import BULK_POOL, workers

MOST = 3
WINDOW_S = 20
SCALING = {"min": 0, "max": MOST, "jobsPerReplica": 4, "scaleDownStabilizationSeconds": WINDOW_S}
JOBS = 24
SECONDS_PER_STATEMENT = 3.0


def test_a_pool_follows_its_work_from_none_to_many_and_back(first: Installation) -> None:
    pool = first.worker(BULK_POOL)
    business = first.business()
    first.change({"workers": workers(autoscaling=SCALING)})
    await_replicas(first, pool, 0, timeout=150)
    with first.truth() as truth, slow_and_counted(truth, seconds=SECONDS_PER_STATEMENT):
        tasks = start_jobs(truth, business, JOBS)
        await_replicas(first, pool, MOST, timeout=150)
        hurry(truth)
        await_jobs(truth, tasks, timeout=180)
        check_jobs(truth, tasks)
        await_replicas(first, pool, 0, timeout=150)
    assert first.events("Scaled")
    first.change({"workers": workers(autoscaling=None, replicas=1)})
    first.await_rest()
