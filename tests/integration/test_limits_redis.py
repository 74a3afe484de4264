"""Redis is full while real processes work: they say so now and then, and go on with nobody's hand.

docs/limits.md says what people see of it.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from integration.calls_support import CallsBench, numbers
from integration.kernel_support import Bench
from integration.worker_support import TESTS, Worker, Workshop, workshop
from secrets_for_tests import CREDENTIALS_KEY
from switchboard_cli.devstack import ManagedProcess, free_port
from switchboard_core.process import pause_s
from switchboard_worker.sweep import SAY_EVERY_S
from waiting import await_true

LOOKS_EACH_SECOND = (
    "from switchboard_core import process; process.STEADY_S = 0.5; "
    "from switchboard_core.jobs import rq_worker; rq_worker.WORKER_TTL_S = 16; "
)
"""Lets an idle process write to Redis each second, not each 15, and forget its failures after half a second of work."""

_WORKER = "import worker_with_test_tasks as worker; worker.entry.tasks = worker.tasks; worker.main.main()"
WORKER = ("-c", LOOKS_EACH_SECOND + _WORKER)
RECORDER = ("-c", LOOKS_EACH_SECOND + "from switchboard_recorder.main import main; main()")
SWEEP_S = 0.2
[LEAD] = numbers(1)


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    """Let Redis refuse every write, as it does with noeviction once its memory is used up."""
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


def waits(process: Worker) -> int:
    """How often its work loop has ended for Redis's sake."""
    return sum(event["event"] == "waiting for Redis" for event in process.events)


@contextmanager
def full_until_it_waits(redis: Redis, process: Worker) -> Iterator[None]:
    """Fill Redis until the process has given up for the second time behind the block; check that it says little."""
    before, began = len(process.events), time.monotonic()
    waited = waits(process)
    with full(redis):
        yield
        await_true(lambda: waits(process) >= waited + 2, f"{process.process.name} to try again")
    lasted = time.monotonic() - began
    said = [event["event"] for event in process.events[before:]]
    # The least that the pauses can be: 0.25, 0.5, 1, 2, 2.5, 2.5 …
    assert said.count("waiting for Redis") <= 4 + lasted / 2.5
    # At most a line a minute for each part of the sweep that has to tell Redis something.
    assert said.count("sweep interrupted; the next one goes on") <= 5 * (1 + lasted / SAY_EVERY_S)
    assert all(line.startswith("{") for line in process.log.splitlines()), "a thread died with words of its own"


def test_the_pauses_grow_to_five_seconds_and_differ_from_process_to_process() -> None:
    assert [pause_s(endings, 1.0) for endings in (1, 2, 3, 4, 5, 6, 10_000)] == [0.5, 1, 2, 4, 5, 5, 5]
    assert [pause_s(endings, 0.0) for endings in (1, 5)] == [0.25, 2.5]
    assert len({pause_s(5, each / 100) for each in range(100)}) == 100


def test_a_worker_that_meets_it_in_a_slice_and_then_while_idle_goes_on_each_time(
    jobs: Bench, stack_folder: Path
) -> None:
    with workshop(jobs, stack_folder / "full-redis", SWEEP_INTERVAL_SECONDS=str(SWEEP_S)) as shop:
        worker = shop.worker(argv=WORKER).start()
        running, gate = shop.gated_job(items=2)
        gate.await_slice(0)
        with full_until_it_waits(shop.redis, worker):
            gate.open(2)
            await_true(lambda: jobs.job(running)["done"] == 1, "the slice to be kept, though nobody could be told")
            accepted = accepted_meanwhile(shop)
        for job_id in (running, accepted):
            shop.await_status(job_id, "completed")
        with full_until_it_waits(shop.redis, worker):
            later = accepted_meanwhile(shop)
        shop.await_status(later, "completed")
        assert [jobs.effects(job_id) for job_id in (running, accepted, later)] == [[0, 1], [0], [0]]
        assert worker.process.running
        assert worker.readiness().status_code == 200


def accepted_meanwhile(shop: Workshop) -> int:
    """A job that is made while Redis is full, and whose slice may end at once."""
    job_id, gate = shop.gated_job()
    gate.open()
    assert shop.jobs.job(job_id)["status"] == "pending"
    return job_id


@pytest.fixture
def recorder(bench: CallsBench, stack_folder: Path) -> Iterator[Worker]:
    """The recorder of the bench's carrier, as a process."""
    port, folder, settings = free_port(), stack_folder / "full-redis-recorder", bench.runtime.settings
    folder.mkdir(exist_ok=True)
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DATABASE_URL": bench.urls.app,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "SERVICE_ROLE": "recorder",
        "PYTHONPATH": str(TESTS),
        "PYTHONUNBUFFERED": "1",
        "METRICS_PORT": str(port),
        "CREDENTIALS_KEYS": CREDENTIALS_KEY,
        "RECORDINGS_URL": f"file://{folder}/recordings",
        "TRANSCRIPTION_ENGINE": "none",
        "PUBLIC_URL": settings.public_url,
        "TWILIO_BASE_URL": settings.twilio_base_url,
        "TWILIO_ACCOUNT_SID": settings.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": settings.twilio_auth_token.get_secret_value(),
    }
    process = ManagedProcess("recorder", [sys.executable, *RECORDER], env, folder / "recorder.log", cwd=folder)
    try:
        yield Worker(process, f"http://127.0.0.1:{port}").start()
    finally:
        process.kill()


def test_callbacks_are_answered_and_the_recording_is_made_once_there_is_room(
    bench: CallsBench, recorder: Worker
) -> None:
    run = bench.start(LEAD, record=True)
    with full_until_it_waits(bench.runtime.redis, recorder):
        bench.dial()
        bench.await_status(LEAD, "completed")
        bench.await_carrier()
        assert bench.rows("SELECT status FROM recordings") == [{"status": "pending"}]
    told = bench.report()["callbacks"]
    assert told["delivered"] == told["sent"] > 0
    assert told.get("retried", 0) == 0
    bench.work_to_the_end(run)
    bench.work_until(lambda: bench.rows("SELECT status FROM recordings")[0]["status"] == "completed", "the recording")
    assert recorder.process.running
    bench.check(at_rest=True)
