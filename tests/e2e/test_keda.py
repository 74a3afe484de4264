"""Where KEDA is installed, KEDA scales: from none to what the work needs, and back to none."""

from collections.abc import Iterator

import pytest

from e2e import keda
from e2e.bulk_work import await_jobs, check_jobs, hurry, slow_and_counted, start_jobs
from e2e.history import KINDS
from e2e.installation import Installation, await_replicas
from e2e.lab import Lab, Operator
from e2e.setup import BULK_POOL, installed, workers

MOST = 3
WINDOW_S = 20
SCALING = {"min": 0, "max": MOST, "jobsPerReplica": 4, "scaleDownStabilizationSeconds": WINDOW_S}
JOBS = 40
SECONDS_PER_STATEMENT = 3.0

pytestmark = pytest.mark.keda


@pytest.fixture(scope="module")
def scaled(lab: Lab, operator: Operator) -> Iterator[Installation]:  # noqa: ARG001 - it has to be there
    """An installation in a cluster with KEDA; it goes before KEDA does, whose finalizers it carries."""
    with keda.installed(lab), installed(lab, "e2e-keda", api_replicas=1, kinds=(*KINDS, "scaledobjects")) as found:
        yield found
        found.kube.run("delete", "switchboard", found.name, timeout=60)
        found.kube.run("wait", "--for=delete", "scaledobjects", "--all", "--timeout=120s", timeout=130)


def test_keda_scales_a_pool_with_its_queue_from_none_to_many_and_back(scaled: Installation) -> None:
    pool = scaled.worker(BULK_POOL)
    business = scaled.business()
    scaled.change({"workers": workers(autoscaling=SCALING)})
    await_replicas(scaled, pool, 0, timeout=180)
    with scaled.truth() as truth, slow_and_counted(truth, seconds=SECONDS_PER_STATEMENT):
        tasks = start_jobs(truth, business, JOBS)
        await_replicas(scaled, pool, MOST, timeout=180)
        hurry(truth)
        await_jobs(truth, tasks, timeout=240)
        check_jobs(truth, tasks)
        await_replicas(scaled, pool, 0, timeout=240)
    assert scaled.history.one("scaledobjects", pool)
    assert scaled.events("Scaled") == []
    assert scaled.events("ScaleCorrected") == []
