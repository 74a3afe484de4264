"""The worker as RQ's own tools see it, and as RQ's own jobs are run by it; one process for all of these tests."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from rq import Queue
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import as_text
from rq.worker import BaseWorker
from rq.worker import Worker as RqWorker

from integration.kernel_support import QUEUE, TASK, Bench, bench, kernel_database
from integration.worker_support import Worker, Workshop, add_leads, workshop
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.rq_worker import BEAT_S
from switchboard_core.jobs.transport import background_wakeup
from switchboard_core.settings import WORKER_QUEUES
from switchboard_worker.sweep import Sweep
from waiting import await_true

BUSY, IDLE = 2, 3

_SLICES = 'switchboard_job_slices_total{job_type="background",outcome="again"}'

RQ = str(Path(sys.executable).with_name("rq"))


@pytest.fixture(scope="module")
def shop(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey, stack_folder: Path
) -> Iterator[Workshop]:
    with (
        kernel_database(postgres, migrated_template) as urls,
        bench(urls, valkey) as jobs,
        # No sweep: it may wake a job once more while that is on its way, and these tests count what RQ ran.
        workshop(jobs, stack_folder / "rq_worker", SWEEP_INTERVAL_SECONDS="3600") as made,
    ):
        made.worker().start()
        yield made


@pytest.fixture
def worker(shop: Workshop) -> Iterator[Worker]:
    """The running worker; it is idle again when a test ends."""
    yield shop.workers[0]
    shop.open_gates()
    await_true(lambda: registered(shop).get_state() == "idle", "the worker to be idle")


@pytest.fixture
def jobs(shop: Workshop) -> Bench:
    return shop.jobs


def registered(shop: Workshop) -> BaseWorker:
    """The one worker that Redis knows of."""
    [found] = RqWorker.all(connection=shop.redis)
    return found


def rq(shop: Workshop, *arguments: str) -> str:
    """Run RQ's command line."""
    url = shop.env["REDIS_URL"]
    done = subprocess.run([RQ, *arguments, "--url", url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def info(shop: Workshop) -> dict[str, tuple[int, ...]]:
    """What `rq info` says: queued, executing, finished and failed by queue; finished and failed of the worker."""
    told = rq(shop, "info", "--raw")
    numbers = {
        line[1]: tuple(int(number) for number in line.groups()[1:])
        for line in re.finditer(
            r"^queue (\S+) (\d+), (\d+) executing, (\d+) finished, (\d+) failed$", told, re.MULTILINE
        )
    }
    [worker] = re.findall(r"^worker .* (\w+) ([\w, ]+)\. jobs: (\d+) finished, (\d+) failed$", told, re.MULTILINE)
    assert worker[1].split(", ") == list(WORKER_QUEUES)
    return {**numbers, "worker": (("started", "suspended", "busy", "idle").index(worker[0]), *map(int, worker[2:]))}


@pytest.fixture(scope="module")
def dashboard(shop: Workshop) -> Any:
    """A client of `rq-dashboard --config switchboard_core.jobs.dashboard`, with our REDIS_URL in its environment."""
    cli, web = importlib.import_module("rq_dashboard.cli"), importlib.import_module("rq_dashboard.web")
    app = cli.make_flask_app("switchboard_core.jobs.dashboard", None, None, "")
    assert app.config["RQ_DASHBOARD_REDIS_URL"] == shop.env["REDIS_URL"]
    web.setup_rq_connection(app)
    with app.test_client() as client:
        yield client


def shown(dashboard: Any, path: str) -> Any:
    answer = dashboard.get(f"/0/data/{path}.json")
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def dashboard_counts(dashboard: Any) -> Mapping[str, int]:
    """What rq-dashboard counts in our queue."""
    [queue] = [queue for queue in shown(dashboard, "queues")["queues"] if queue["name"] == QUEUE]
    names = {"queued": "count", **{name: f"{name}_job_registry_count" for name in ("started", "finished", "failed")}}
    return {name: queue[field] for name, field in names.items() if queue[field]}


def dashboard_jobs(dashboard: Any, registry: str) -> list[str]:
    return [job["id"] for job in shown(dashboard, f"jobs/{QUEUE}/{registry}/100/asc/1")["jobs"]]


def test_the_tools_of_rq_show_a_job_from_its_queue_to_its_end(shop: Workshop, worker: Worker, dashboard: Any) -> None:
    del worker
    before = info(shop)
    running, gate = shop.gated_job(items=2)
    gate.await_slice(0)
    waiting, second = shop.gated_job()
    second.open(1)
    now = info(shop)
    finished = before.get(QUEUE, (0, 0, 0, 0))[2]
    assert (now[QUEUE], now["worker"][0]) == ((1, 1, finished, 0), BUSY)
    assert dashboard_counts(dashboard)["queued"] == dashboard_counts(dashboard)["started"] == 1
    assert dashboard_jobs(dashboard, "queued") == [f"{TASK}_{waiting}"]
    assert dashboard_jobs(dashboard, "started") == [f"{TASK}_{running}"]
    page = shown(dashboard, f"job/{TASK}_{running}")
    assert (page["status"], page["origin"], page["description"]) == ("started", QUEUE, f"{TASK}_{running}")
    gate.open(2)
    for job_id in (running, waiting):
        shop.await_status(job_id, "completed")
        await_true(lambda job_id=job_id: shop.rq_status(job_id) == "finished", "its end in RQ")  # type: ignore[misc]
    await_true(lambda: registered(shop).get_state() == "idle", "the worker to be idle")
    then = info(shop)
    assert then[QUEUE] == (0, 0, finished + 2, 0)
    assert then["worker"] == (IDLE, before["worker"][1] + 3, before["worker"][2])  # three slices
    assert {f"{TASK}_{running}", f"{TASK}_{waiting}"} <= set(dashboard_jobs(dashboard, "finished"))
    assert shown(dashboard, f"job/{TASK}_{waiting}")["status"] == "finished"


def test_the_dashboard_shows_what_the_worker_does(shop: Workshop, worker: Worker, dashboard: Any) -> None:
    [seen] = shown(dashboard, "workers")["workers"]
    assert (seen["state"], seen["current_job"], seen["queues"]) == ("idle", "idle", list(WORKER_QUEUES))
    assert seen["pid"] == worker.process.pid
    job_id, gate = shop.gated_job()
    gate.await_slice(0)
    [seen] = shown(dashboard, "workers")["workers"]
    assert (seen["state"], seen["current_job"]["job_id"]) == ("busy", f"{TASK}_{job_id}")
    gate.open()
    shop.await_status(job_id, "completed")


def test_a_job_that_fails_is_failed_in_the_table_and_its_wake_up_finished_in_rq(shop: Workshop, worker: Worker) -> None:
    job_id, gate = shop.gated_job()
    gate.await_slice(0)
    gate.fail()
    shop.await_status(job_id, "failed")
    assert shop.jobs.job(job_id)["reason"] == "RuntimeError: the gate says so"
    await_true(lambda: shop.rq_status(job_id) == "finished", "the end of the wake-up")
    worker.await_log("task failed")


def test_heartbeats_go_on_while_a_slice_runs(shop: Workshop, worker: Worker) -> None:
    del worker
    job_id, gate = shop.gated_job()
    gate.await_slice(0)
    [key] = shop.redis.keys(f"rq:execution:{TASK}_{job_id}:*")

    def beats() -> tuple[object, ...]:
        registry = StartedJobRegistry(QUEUE, shop.redis)
        return (
            shop.redis.hget(key, "last_heartbeat"),
            shop.redis.hget(f"rq:job:{TASK}_{job_id}", "last_heartbeat"),
            registered(shop).last_heartbeat,
            shop.redis.zscore(registry.key, as_text(key).removeprefix("rq:execution:")),
            shop.jobs.job(job_id)["heartbeat_at"],
        )

    first = beats()
    await_true(
        lambda: all(now != before for now, before in zip(beats(), first, strict=True)),
        "a heartbeat of each",
        4 * BEAT_S,
    )
    assert 0 < shop.redis.ttl(key) <= 70
    gate.open()
    shop.await_status(job_id, "completed")


def called_off(row: Mapping[str, Any]) -> bool:
    """Whether one slice was; it is the database's fault where a statement ran, and the task's own otherwise."""
    return bool(row["crash_count"] + row["setbacks"] == 1)


def test_the_time_of_a_slice_is_limited(shop: Workshop, worker: Worker) -> None:
    first, held = shop.gated_job()
    held.await_slice(0)
    job_id, gate = shop.gated_job()
    shop.jobs.runtime.transport.push(background_wakeup(TASK, job_id, QUEUE, 1))  # of one second
    held.open()
    await_true(lambda: called_off(shop.jobs.job(job_id)), "the slice to be called off")
    worker.await_log("slice not committed; the job goes back to its queue")
    gate.open()
    shop.await_status(first, "completed")
    sweep = Sweep(shop.jobs.runtime)
    await_true(lambda: sweep.enqueue_due_jobs() == 1, "the job to be due again")
    shop.await_status(job_id, "completed")
    assert shop.jobs.effects(job_id) == [0]


# RQ's own jobs


def ordinary(shop: Workshop, name: str = "low", **options: Any) -> Queue:
    return Queue(name, connection=shop.redis, **{"serializer": JSONSerializer, **options})


def await_rq(job: Job, status: JobStatus) -> None:
    await_true(lambda: job.get_status() is status, f"{job.id} to be {status}")


def test_a_first_queue_that_is_never_empty_keeps_no_other_from_being_begun(shop: Workshop, worker: Worker) -> None:
    del worker
    crowd = [ordinary(shop, "high").enqueue("worker_with_test_tasks.nap", 0.1) for _ in range(30)]
    other = ordinary(shop, "low").enqueue("worker_with_test_tasks.nap", 0.1)
    await_rq(other, JobStatus.FINISHED)
    assert crowd[-1].get_status() is JobStatus.QUEUED
    await_rq(crowd[-1], JobStatus.FINISHED)


def test_others_that_are_never_empty_let_the_first_queue_come_first(shop: Workshop, worker: Worker) -> None:
    del worker
    crowd = [ordinary(shop, "low").enqueue("worker_with_test_tasks.nap", 0.1) for _ in range(30)]
    await_rq(crowd[0], JobStatus.FINISHED)
    urgent = ordinary(shop, "high").enqueue("worker_with_test_tasks.nap", 0.1)
    await_rq(urgent, JobStatus.FINISHED)
    assert crowd[-1].get_status() is JobStatus.QUEUED
    await_rq(crowd[-1], JobStatus.FINISHED)


def test_an_ordinary_job_and_its_dependent_run_with_their_results(shop: Workshop, worker: Worker) -> None:
    del worker
    queue = ordinary(shop)
    first = queue.enqueue("worker_with_test_tasks.double", 21)
    second = queue.enqueue("worker_with_test_tasks.double", 4, depends_on=first)
    await_rq(second, JobStatus.FINISHED)
    assert (first.return_value(), second.return_value()) == (42, 8)
    assert {first.id, second.id} <= set(queue.finished_job_registry.get_job_ids())
    assert queue.deferred_job_registry.get_job_ids() == []


def test_an_ordinary_job_that_fails_is_in_the_failed_registry_with_its_traceback(
    shop: Workshop, worker: Worker
) -> None:
    del worker
    queue = ordinary(shop)
    job = queue.enqueue("worker_with_test_tasks.fail")
    never = queue.enqueue("worker_with_test_tasks.double", 1, depends_on=job)
    await_rq(job, JobStatus.FAILED)
    assert job.id in queue.failed_job_registry.get_job_ids()
    result = job.latest_result()
    assert result is not None
    assert "RuntimeError: an ordinary failure" in str(result.exc_string)
    assert never.get_status() is JobStatus.DEFERRED
    never.delete()


def test_a_job_of_another_serializer_fails_in_sight_and_the_worker_goes_on(shop: Workshop, worker: Worker) -> None:
    queue = ordinary(shop, serializer=None)
    alien = queue.enqueue("worker_with_test_tasks.double", 1)
    await_rq(alien, JobStatus.FAILED)
    assert alien.id in queue.failed_job_registry.get_job_ids()
    job_id, gate = shop.gated_job()
    gate.open()
    shop.await_status(job_id, "completed")
    assert "the work loop ended by itself" not in worker.log


def test_an_ordinary_job_has_heartbeats_too(shop: Workshop, worker: Worker) -> None:
    del worker
    path = shop.folder / "ordinary"
    job = ordinary(shop).enqueue("worker_with_test_tasks.wait_for", str(path), job_timeout=300)
    await_true(path.with_suffix(".entered").exists, "its start")
    [execution] = job.get_executions()
    await_true(lambda: job.get_executions()[0].last_heartbeat > execution.last_heartbeat, "a heartbeat", 4 * BEAT_S)
    path.touch()
    await_rq(job, JobStatus.FINISHED)


def test_suspended_workers_take_nothing_and_resumed_ones_go_on(shop: Workshop, worker: Worker) -> None:
    del worker
    rq(shop, "suspend")
    try:
        job_id, gate = shop.gated_job()
        gate.open()
        after = shop.jobs.enqueue(payload={"items": 1, "gate": str(gate.path)})
        await_true(lambda: registered(shop).get_state() == "suspended", "the worker to see it")
        assert [shop.jobs.job(number)["status"] for number in (job_id, after)] == ["pending", "pending"]
        assert shop.jobs.queued()[0] == f"{TASK}_{job_id}"  # put back where it was
    finally:
        rq(shop, "resume")
    for number in (job_id, after):
        shop.await_status(number, "completed")


# Its own words


def test_the_words_that_people_search_for_are_in_the_log(shop: Workshop, worker: Worker) -> None:
    add_leads(shop.jobs, 50)
    everyone = {"filter": {"all": True}, "up_to_id": 10**9}
    job_id = shop.jobs.enqueue(TASK, everyone)
    shop.await_status(job_id, "completed")
    worker.await_log("Deleted 50 leads successfully")
    log = worker.log
    for words in (
        "Redis connection established",
        "WORKER QUEUES CONFIGURATION",
        "Heartbeat monitoring started (every 30s)",
        f"JOB PICKED queue='maintenance' job_id=delete_leads_{job_id}",
        "task started",
        "task finished",
    ):
        assert words in log, words
    queues = next(event["queues"] for event in worker.events if event["event"] == "WORKER QUEUES CONFIGURATION")
    assert queues == list(WORKER_QUEUES)
    picked = [event for event in worker.events if event["event"].startswith("JOB PICKED")]
    assert {event["level"] for event in picked} == {"info"}
    assert "cleanup" not in log.lower()  # a worker never cleans up


def test_its_metrics_count_the_slices(shop: Workshop, worker: Worker) -> None:
    def slices() -> float:
        told = httpx.get(f"{worker.url}/metrics", timeout=5, trust_env=False).text
        return sum(float(line.rpartition(" ")[2]) for line in told.splitlines() if line.startswith(_SLICES))

    before = slices()
    job_id, gate = shop.gated_job(items=3)
    gate.open(3)
    shop.await_status(job_id, "completed")
    await_true(lambda: slices() == before + 2, "two slices more after which there was more to do")


def test_the_process_has_a_heartbeat_that_people_can_read(shop: Workshop, worker: Worker) -> None:
    [row] = shop.jobs.sql("SELECT * FROM worker_heartbeats")
    assert (row["role"], row["queues"]) == ("worker", list(WORKER_QUEUES))
    assert str(worker.process.pid) in row["name"]


def test_an_emptied_redis_learns_again_who_works(shop: Workshop, worker: Worker) -> None:
    del worker
    shop.redis.flushall()
    job_id, gate = shop.gated_job()
    gate.open()
    shop.await_status(job_id, "completed")
    await_true(lambda: len(RqWorker.all(connection=shop.redis)) == 1, "the worker to sign in again")
    assert registered(shop).queue_names() == list(WORKER_QUEUES)
