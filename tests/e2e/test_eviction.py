"""Slow jobs outlive their pods: a node is drained, and a pool goes from ten replicas to none and back."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.bulk_work import LEADS_PER_JOB, await_jobs, check_jobs, hurry, progress, slow_and_counted, start_jobs
from e2e.history import condition
from e2e.installation import Installation, is_ready, on_node
from e2e.kube import Json
from e2e.lab import Lab
from e2e.setup import BULK_POOL, workers
from e2e.truth import Truth

JOBS = 300
REPLICAS = 10
SECONDS_PER_STATEMENT = 3.0


def test_no_job_is_lost_or_done_twice_while_pods_come_and_go(second: Installation, lab: Lab) -> None:
    business = second.business()
    second.change({"workers": workers(replicas=REPLICAS)})
    _await_pool(second, REPLICAS)
    with second.truth() as truth, slow_and_counted(truth, seconds=SECONDS_PER_STATEMENT):
        tasks = start_jobs(truth, business, JOBS)
        with _some_work_meanwhile(truth), _drained(lab, second, lab.spare_node):
            _await_pool(second, REPLICAS)
        with _some_work_meanwhile(truth):
            _to_none_by_hand(second)
            second.change({"paused": False})
            _await_pool(second, REPLICAS)
        hurry(truth)
        await_jobs(truth, tasks, timeout=240)
        check_jobs(truth, tasks)
    second.change({"workers": workers(replicas=1)})
    second.await_rest()


def _to_none_by_hand(installation: Installation) -> None:
    """The operator lets a person do so only while it is paused."""
    installation.change({"paused": True})
    installation.wait(lambda board: _reason(board, "Progressing") == "Paused", "the operator to pause", 30)
    installation.kube.run("scale", f"deployment/{installation.worker(BULK_POOL)}", "--replicas=0")
    installation.history.wait(lambda: not _pool(installation), "every worker of the pool to leave", 90)


@contextmanager
def _drained(lab: Lab, installation: Installation, node: str) -> Iterator[None]:
    """A node that everything was evicted from; it takes pods again afterwards."""
    evicted = [pod for pod in _pool(installation) if on_node(pod, node)]
    assert evicted, f"no worker runs on {node}"
    lab.kube.run("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s", timeout=200)
    try:
        assert not [pod for pod in installation.pods() if on_node(pod, node)]
        yield
    finally:
        lab.kube.run("uncordon", node)


@contextmanager
def _some_work_meanwhile(truth: Truth) -> Iterator[None]:
    """Fail unless work is done before and meanwhile, and is left afterwards."""
    before = progress(truth)
    truth.until(lambda: progress(truth) > before, "some leads to be changed", 60)
    yield
    assert before < progress(truth) < JOBS * LEADS_PER_JOB, "the work was over too soon to show anything"


def _await_pool(installation: Installation, count: int) -> None:
    def complete() -> bool:
        pods = _pool(installation)
        return len(pods) == count and all(is_ready(pod) for pod in pods)

    installation.history.wait(complete, f"{count} workers of the pool to be ready, and no others", 240)


def _pool(installation: Installation) -> list[Json]:
    labels = [(pod, pod["metadata"]["labels"].get("switchboard.dev/pool")) for pod in installation.pods("worker")]
    return [pod for pod, pool in labels if pool == BULK_POOL]


def _reason(board: Json, kind: str) -> str | None:
    found = condition(board, kind)
    return found["reason"] if found else None
