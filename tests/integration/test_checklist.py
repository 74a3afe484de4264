"""The contract's checklist, one test a line, on one running stack; and its log lines, read from real runs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from redis import Redis
from rq.job import Job

from checklist import (
    LONG,
    SHORT,
    Campaign,
    Json,
    abandon,
    active,
    allow_startup_cleanup,
    await_task,
    closed_today,
    hang_up,
    keep_busy,
    numbers,
    rq_job,
    start_campaign,
    text_fields,
    threads_of,
    transactions_of,
    waiting_in_rq,
)
from log_reading import TEXT_LINE, Line, leaks, not_json, parsed, saying, secrets_of
from stack import Stack, running_stack
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.semaphore import CallSemaphore
from switchboard_core.jobs.transport import BACKGROUND_JOB, Transport, background_wakeup, process_next_wakeup

CAP = 3
SETTINGS = {"LOG_LEVEL": "DEBUG", "SETTLE_AFTER_SECONDS": "1", "SWEEP_INTERVAL_SECONDS": "0.5"}
API = {"HEARTBEAT_INTERVAL_SECONDS": "2"}
"""For so long a starting api waits for a worker's sign of life."""
POOL = {"DATABASE_POOL_SIZE": "6", "DATABASE_POOL_OVERFLOW": "0"}
"""What the worker's threads need at once, and not one connection more: after six that leaked nothing would go on."""

JOB_TYPES = "delete_receipts_all, delete_leads, update_leads, delete_imported_leads, enqueue_outbound_calls, broadcast"

SetFaults = Callable[[Json], None]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def stack(
    stack_folder: Path, postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> Iterator[Stack]:
    """An api without workers or recorder at first."""
    with Redis.from_url(valkey.url) as redis:
        redis.flushall()
    urls = postgres.create_database("checklist", template=migrated_template)
    folder = stack_folder / "checklist"
    with running_stack(folder, urls, valkey.url, workers=0, recorders=0, settings=SETTINGS, own={"api": API}) as stack:
        stack.sim("POST", "script", {"prefix": LONG, "outcome": "answer", "talk_seconds": 600})
        stack.sim("POST", "script", {"prefix": SHORT, "outcome": "answer"})
        yield stack
    postgres.drop_database("checklist")


@dataclass
class Started:
    """A campaign, and what was seen between its start and that of the first worker."""

    campaign: Campaign
    new_threads: set[int]
    waiting: list[str]
    job: Job


@pytest.fixture(scope="module")
def started(stack: Stack) -> Started:
    """A campaign that was started while no worker ran, and has ended."""
    api = stack.processes["api"].pid
    keep_busy(stack.ready_urls["api"])  # so that the threads of its requests are there already
    before = threads_of(api)
    campaign = start_campaign(stack, numbers(SHORT, 12), cap=CAP)
    seen = Started(
        campaign,
        new_threads=threads_of(api) - before,
        waiting=waiting_in_rq(stack, "default"),
        job=rq_job(stack, f"enqueue_outbound_calls_{campaign.job_id}"),
    )
    # Neither setting may keep the recorder from its own queue, or bring it anybody else's.
    stack.launch("recorder", {"LOG_FORMAT": "text", "LOG_LEVEL": "INFO", "RQ_QUEUES": "maintenance,high"})
    stack.launch("worker", POOL)
    campaign.await_status("completed")
    stack.await_true(lambda: stack.log("recorder-0").count("reason=downloaded") == 2 * 12, "every download")
    return seen


@pytest.fixture
def faults(stack: Stack) -> Iterator[SetFaults]:
    """Lets things go wrong at the carrier until the end of the test."""
    yield lambda faults: stack.sim("POST", "faults", faults)
    stack.sim("POST", "faults", {})


@pytest.fixture(scope="module")
def campaign(started: Started) -> Campaign:
    """The campaign that has ended."""
    return started.campaign


@dataclass
class Restarted:
    """What became of two campaigns when the api was killed and started again while every worker was dead."""

    api_log: list[Line]
    stuck: Campaign
    live: Campaign
    live_after: Json
    slots_after: list[tuple[set[str], set[str]]]
    forced: Json
    marks: list[datetime]
    worker_log: list[Line]


@pytest.fixture(scope="module")
def restarted(started: Started) -> Restarted:
    """Kill the worker, leave one run stuck and one with live calls, spoil the slots, restart the api; then cancel."""
    stack = started.campaign.stack
    live = start_campaign(stack, numbers(LONG, 5), cap=CAP)
    live.await_live(CAP)
    stuck = start_campaign(stack, numbers(SHORT, 4), calling_hours=closed_today())
    stack.await_true(stuck.asleep, "the run to wait for its calling hours")
    assert stuck.view()["counts"]["queued"] == 4
    stack.processes["worker-0"].kill()
    abandon(stuck)
    abandon(live)
    with Redis.from_url(stack.redis_url) as redis:
        redis.delete(CallSemaphore.key(live.business_id))
        redis.sadd(CallSemaphore.key(stuck.business_id), "an attempt that ended")
    allow_startup_cleanup(stack)
    stack.processes["api"].kill()
    before = len(stack.log("api"))
    stack.start("api")
    complete = "[STARTUP] Outbound cleanup complete"
    stack.await_true(lambda: complete in stack.log("api")[before:], "the clean-up")
    api_log = parsed(stack.log("api")[before:])
    live_after, slots_after = live.view(), [live.slots(), stuck.slots()]
    forced = live.post(f"/api/outbound_calls/jobs/{live.job_id}/force-cancel")
    stack.await_true(lambda: live.slots() == (set(), set()), "the end of the calls that were hung up")
    last_cleanup = "SELECT at FROM maintenance_marks WHERE name = 'startup_cleanup'"
    marks = [stack.value(last_cleanup)]
    allow_from = len(stack.log("worker-0"))
    stack.start("worker-0")
    live.await_status("cancelled")
    stack.await_true(lambda: live.task()["status"] == "cancelled", "the end of the task")
    marks.append(stack.value(last_cleanup))
    worker_log = parsed(stack.log("worker-0")[allow_from:])
    return Restarted(api_log, stuck, live, live_after, slots_after, forced, marks, worker_log)


def test_start_a_campaign_rq_has_it_no_thread(started: Started) -> None:
    rq_id = f"enqueue_outbound_calls_{started.campaign.job_id}"
    assert started.waiting == [rq_id]
    assert (started.job.func_name, started.job.args) == (BACKGROUND_JOB, [started.campaign.job_id])
    assert started.new_threads == set()


def test_log_says_enqueuing_next_job_to_rq_worker(stack: Stack, campaign: Campaign) -> None:
    assert saying(parsed(stack.log("api")), "enqueuing next job to RQ worker", job_id=campaign.job_id, level="info")
    assert saying(parsed(stack.log("worker-0")), "ProcessNext", job_id=campaign.job_id)
    job = rq_job(stack, f"process_next_{campaign.job_id}")
    assert (job.args, job.timeout) == ([campaign.job_id, campaign.run["id"]], 600)


def test_restart_the_api_clean_up_without_error(restarted: Restarted) -> None:
    assert saying(restarted.api_log, "[STARTUP] Running outbound cleanup")
    assert saying(restarted.api_log, "[STARTUP] Outbound cleanup complete", runs_failed=1)
    assert [line for line in restarted.api_log if line["level"] in {"error", "critical"}] == []


def test_stuck_runs_are_marked_failed_after_a_restart(restarted: Restarted) -> None:
    view, task = restarted.stuck.view(), restarted.stuck.task()
    reason = "No worker has worked on it for 300 seconds."
    assert (view["status"], view["reason"]) == ("failed", reason)
    assert [(job["status"], job["reason"]) for job in restarted.stuck.jobs()] == [("failed", reason)] * 4
    assert (task["status"], task["done"], task["failed"], task["reason"]) == ("failed", 0, 4, reason)


def test_a_restart_fails_no_run_with_calls_that_go_on(restarted: Restarted) -> None:
    assert (restarted.live_after["status"], active(restarted.live_after)) == ("running", CAP)


@pytest.mark.usefixtures("started")
def test_no_call_is_worked_twice(stack: Stack, faults: SetFaults) -> None:
    faults({"callback_duplicate": 1, "callback_delay_seconds": 0.2})
    campaign = start_campaign(stack, numbers(SHORT, 6), cap=2)
    task = background_wakeup("enqueue_outbound_calls", campaign.job_id, "default", 60)
    pump = process_next_wakeup(campaign.job_id, campaign.run["id"])
    with Redis.from_url(stack.redis_url) as redis:
        transport = Transport(redis)

        def ended_although_woken_again() -> bool:
            transport.wake(task, pump)
            return bool(campaign.view()["status"] == "completed")

        stack.await_true(ended_although_woken_again, "the end of the run")
    assert stack.sim("GET", "idle")["idle"]
    assert campaign.calls_at_carrier() == len(campaign.phones)
    assert (campaign.task()["done"], campaign.task()["failed"]) == (len(campaign.phones), 0)
    settled = saying(parsed(stack.log("api")), "enqueuing next job to RQ worker", job_id=campaign.job_id)
    assert settled
    assert len({line["attempt_id"] for line in settled}) == len(settled)


def test_redis_slots_are_right_after_a_restart(restarted: Restarted) -> None:
    (live_members, live_attempts), (stuck_members, stuck_attempts) = restarted.slots_after
    assert live_members == live_attempts
    assert len(live_members) == CAP
    assert stuck_members == stuck_attempts == set()


@pytest.mark.usefixtures("started")
def test_soft_cancel_works(stack: Stack) -> None:
    campaign = start_campaign(stack, numbers(LONG, 6), cap=2)
    campaign.await_live(2)
    campaign.post(f"/api/outbound_calls/jobs/{campaign.job_id}/cancel")
    stack.await_true(lambda: campaign.view()["counts"]["canceled"] == 4, "the end of the queued jobs")
    assert (campaign.view()["status"], active(campaign.view())) == ("cancelled", 2)
    for call in stack.rows("SELECT call_sid FROM call_attempts WHERE run_id = %s", campaign.run["id"]):
        hang_up(stack, call["call_sid"])
    stack.await_true(lambda: campaign.task()["status"] == "cancelled", "the end of the task")
    assert campaign.view()["counts"]["completed"] == 2
    assert campaign.calls_at_carrier() == 2
    assert campaign.slots() == (set(), set())


def test_force_cancel_works_with_every_worker_dead(restarted: Restarted) -> None:
    assert (restarted.forced["hung_up"], restarted.forced["canceled"]) == (CAP, 2)
    view = restarted.live.view()
    assert (view["status"], view["counts"]["canceled"], active(view)) == ("cancelled", 5, 0)
    assert restarted.live.calls_at_carrier() == CAP


@pytest.mark.usefixtures("campaign")
def test_debug_gives_the_detailed_logs(stack: Stack) -> None:
    lines = [line for name in ("api", "worker-0") for line in parsed(stack.log(name)) if line["level"] == "debug"]
    detailed = {line["logger"] for line in lines}
    assert {
        "switchboard_api.routes.outbound_calls",
        "switchboard_core.calls.campaign",
        "switchboard_core.calls.semaphore",
        "switchboard_worker.sweep",
        "rq.worker",
    } <= detailed
    assert all(name == "rq.worker" or name.startswith("switchboard_") for name in detailed)
    assert " DEBUG " not in stack.log("recorder-0")


def test_a_worker_never_cleans_up(stack: Stack, restarted: Restarted) -> None:
    assert restarted.marks[0] == restarted.marks[1]
    assert saying(restarted.worker_log, "Heartbeat monitoring started")
    assert all("[STARTUP]" not in stack.log(name) for name in stack.processes if name != "api")


def test_migration_104_complete(empty_database_urls: DatabaseUrls) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "MIGRATION_DATABASE_URL": empty_database_urls.owner,
        "APP_DATABASE_ROLE": APP_ROLE,
    }
    command = [sys.executable, "-m", "switchboard_cli", "migrate"]
    log = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stderr
    said = [line["event"] for line in parsed(log)]
    words = [
        "MIGRATION CHECKPOINT: Starting apply_migrations()",
        "Set statement_timeout to 120s for migration connection",
        "Acquired migration lock",
        "Migration 104: Updating background_jobs job_type constraint",
        "Migration 104 complete: job_type constraint updated",
        f"Allowed job types: {JOB_TYPES}",
        "Released migration lock",
        "MIGRATIONS COMPLETE",
    ]
    assert [event for event in said if event in words] == words


def test_recorder_started_picks_downloads_releases(stack: Stack, campaign: Campaign) -> None:
    log = stack.log("recorder-0")
    assert log.index("[RECORDING WORKER STARTED]") < log.index("[Recording worker loop started]")
    row = stack.rows("SELECT * FROM recordings WHERE run_id = %s", campaign.run["id"])[0]
    lines = [line for line in log.splitlines() if f"call_sid={row['call_sid']}" in line]
    ours = {"call_sid": row["call_sid"], "business_id": str(campaign.business_id)}
    recording = {"recording_sid": row["recording_sid"]}
    expected = [
        ("WORKER_PICKED", ours | recording | {"job_type": "download_only", "retry": "0"}),
        ("WORKER_SLOT_ACQUIRED", ours),
        ("DOWNLOAD_START", ours | recording | {"attempt": "1"}),
        ("WORKER_DOWNLOAD_DONE", ours | {"bytes": str(row["bytes"]), "duration_ms": str(row["duration_ms"])}),
        ("WORKER_RELEASE_SLOT", ours | {"reason": "downloaded"}),
        ("RECORDING_SLOT_RELEASED", ours | {"reason": "downloaded"}),
    ]
    for line, (words, fields) in zip(lines, expected, strict=True):
        assert f"INFO [switchboard_recorder.jobs] [{words}" in line
        assert fields.items() <= text_fields(line).items()
    assert f"file={stack.env['RECORDINGS_URL']}/{row['object_key']} " in lines[3]
    assert any(f"active_after={taken}/3" in lines[5] for taken in range(3))


@pytest.mark.usefixtures("started")
def test_bulk_update_and_bulk_delete_of_leads_work(stack: Stack) -> None:
    business_id, key = stack.business()
    stack.add_leads(business_id, numbers(SHORT, 50))
    with stack.client(key) as client:
        everybody = {"filter": {"all": True}}
        order = {**everybody, "changes": {"add_tags": ["spring"]}}
        updated = await_task(stack, client, client.post("/api/leads/bulk-update", json=order).json()["id"])
        tagged = client.get("/api/leads", params={"tag": "spring", "limit": 200}).json()["items"]
        deleted = await_task(stack, client, client.post("/api/leads/bulk-delete", json=everybody).json()["id"])
        left = client.get("/api/leads").json()["items"]
    assert [(task["status"], task["done"], task["failed"]) for task in (updated, deleted)] == [("completed", 50, 0)] * 2
    assert (len(tagged), left) == (50, [])
    api, worker = parsed(stack.log("api")), parsed(stack.log("worker-0"))
    assert saying(api, f"Creating bulk delete job: 50 leads (tenant={business_id})", level="info")
    assert saying(api, f"Enqueued RQ job for bulk delete, job_id={deleted['id']}", level="info")
    assert saying(api, "task created", task_id=deleted["id"], level="info")
    assert saying(worker, f"JOB PICKED queue='maintenance' job_id=delete_leads_{deleted['id']}", level="info")
    assert saying(worker, "task started", task_id=deleted["id"], level="info")
    assert saying(worker, "Deleted 50 leads successfully", task_id=deleted["id"], level="info")
    assert saying(worker, "task finished", task_id=deleted["id"], level="info")


def test_recordings_in_the_queue_are_always_consumed(stack: Stack, campaign: Campaign) -> None:
    rows = stack.rows("SELECT status FROM recordings WHERE run_id = %s", campaign.run["id"])
    assert [row["status"] for row in rows] == ["completed"] * len(campaign.phones)
    assert waiting_in_rq(stack, "recordings") == []
    # It was told to consume other queues; those are the worker's alone.
    assert "queues=['recordings']" in stack.log("recorder-0")


@pytest.mark.usefixtures("started")
def test_failing_jobs_leave_the_connection_pools_count_unchanged(stack: Stack) -> None:
    """A hundred in a whole worker, twenty times what its pool holds; the thousand run in test_kernel_context."""
    business_id, _ = stack.business()
    stack.change(
        "INSERT INTO background_jobs (business_id, job_type, queue, payload) "
        """SELECT %s, 'update_leads', 'maintenance', '{"filter": {"all": true}}' FROM generate_series(1, 100)""",
        business_id,
    )
    failed = "SELECT count(*) FROM background_jobs WHERE business_id = %s AND status = 'failed'"
    stack.await_true(lambda: stack.value(failed, business_id) == 100, "100 failed jobs", 90)
    stack.await_true(lambda: transactions_of(stack, "worker") == 0, "every connection back in the worker's pool")
    assert len(saying(parsed(stack.log("worker-0")), "task failed", level="error", job_type="update_leads")) == 100


@pytest.mark.usefixtures("started")
def test_the_progress_page_never_shows_active_calls_when_there_are_none(stack: Stack, faults: SetFaults) -> None:
    faults({"callback_lose": 1})
    campaign = start_campaign(stack, numbers(SHORT, 4), cap=2)
    seen: list[Json] = []

    def ended() -> bool:
        seen.append(campaign.view())
        return bool(seen[-1]["status"] == "completed")

    stack.await_true(ended, "the end of the run")
    assert max(active(view) for view in seen) == 2
    assert (active(seen[-1]), seen[-1]["counts"]["completed"]) == (0, 4)
    assert campaign.slots() == (set(), set())


@pytest.mark.usefixtures("started")
def test_the_worker_says_what_it_is_and_that_it_lives(stack: Stack) -> None:
    lines = parsed(stack.log("worker-0"))
    assert saying(lines, "Redis connection established", level="info")
    queues = ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"]
    assert saying(lines, "WORKER QUEUES CONFIGURATION", level="info", queues=queues)
    assert saying(lines, "Heartbeat monitoring started (every 30s)", level="info")


@pytest.mark.usefixtures("restarted")
def test_every_line_is_json_or_text_as_log_format_says(stack: Stack) -> None:
    text = stack.log("recorder-0").splitlines()
    assert text
    assert [line for line in text if not TEXT_LINE.match(line)] == []
    assert {name: not_json(stack.log(name)) for name in ("api", "worker-0")} == {"api": [], "worker-0": []}


def test_no_log_of_these_runs_has_a_secret_or_a_whole_number(stack: Stack, restarted: Restarted) -> None:
    phones = [row["phone"] for row in stack.rows("SELECT phone FROM leads")]
    assert phones
    keys = [restarted.live.key, restarted.stuck.key]
    assert leaks(stack, secrets_of(stack, *keys), [*phones, "+14155550100"]) == []
