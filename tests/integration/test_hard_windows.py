"""The hard windows by name: real processes, each stopped exactly there by a failpoint, on events and not on sleeps.

The workers sweep rarely unless a test says otherwise, so that nothing is healed behind its back.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from integration.restore_support import restorable
from integration.windows_support import Window, await_stopped, gate, window
from invariants import assert_invariants
from stack import Stack, running_stack
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.transport import Transport, background_wakeup

SETTINGS = {
    "LEASE_SECONDS": "3",
    "SETTLE_AFTER_SECONDS": "1",
    "DIAL_DEADLINE_SECONDS": "2",
    "UNKNOWN_OUTCOME_AFTER_SECONDS": "20",
    "CARRIER_READ_TIMEOUT_SECONDS": "20",
    "SWEEP_INTERVAL_SECONDS": "0.2",
}
pytestmark = pytest.mark.faults
NO_SWEEP = {"SWEEP_INTERVAL_SECONDS": "3600"}


@pytest.fixture(scope="module")
def servers(
    stack_folder: Path, postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> Iterator[Stack]:
    name = "hard_windows"
    urls = postgres.create_database(name, template=migrated_template)
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with running_stack(
        stack_folder / name,
        urls,
        valkey.url,
        workers=0,
        recorders=0,
        settings=SETTINGS,
        simulator={"SIMULATOR_MIX": '{"answer": 1}'},
    ) as stack:
        yield stack
    postgres.drop_database(name)


@pytest.fixture
def here(servers: Stack) -> Iterator[Window]:
    with window(servers) as made:
        yield made


def test_after_the_attempts_commit_and_before_the_send(here: Window) -> None:
    """The worker stands still with a committed attempt until others have called; then it must not call too."""
    number = here.lead()
    frozen = here.worker("after_attempt_commit=stop")
    here.start()
    await_stopped(here.stack, frozen)
    assert [attempt["sent_at"] for attempt in here.attempts(number)] == [None]

    here.worker()
    here.await_job(number, "completed")
    frozen.resume()
    here.stack.await_log(frozen.name, "call not confirmed")

    first = here.attempts(number)[0]
    assert (first["state"], first["sent_at"]) == ("not_placed", None)
    assert [attempt["state"] for attempt in here.placed(number)] == ["completed"]
    assert here.calls_to(number) == 1
    here.check()


def test_between_the_send_and_the_answer(here: Window) -> None:
    """The worker dies with the request on its way: the carrier's callbacks tell what became of it."""
    number = here.lead()
    dying = here.worker("before_answer=kill")
    here.start()
    assert dying.ended_within(20)

    here.await_job(number, "completed")
    here.worker()
    here.stack.await_true(
        lambda: here.stack.value("SELECT finished_at IS NOT NULL FROM outbound_call_runs"), "the run's end"
    )
    assert here.calls_to(number) == 1
    here.check()


@pytest.mark.parametrize("point", ["before_send", "before_answer"])
def test_force_cancel_against_a_create_in_flight(here: Window, point: str) -> None:
    """The call comes to be behind the cancel's back, and is hung up as soon as its sid is known."""
    number = here.lead(ring_seconds=60)
    here.stack.sim("POST", "faults", {"callback_lose": 1})  # nobody but the answer tells the sid
    held = gate(here.stack)
    here.worker(held.at(point))
    run = here.start()
    held.await_reached()

    report = here.client.post(f"/api/outbound_calls/jobs/{run['job_id']}/force-cancel").raise_for_status().json()
    assert (report["canceled"], report["hung_up"], report["pending"]) == (0, 0, 1)
    assert here.job(number)["status"] == "canceling"
    held.open()

    here.await_job(number, "canceled")
    here.await_task(run["job_id"], "cancelled")
    assert here.calls_to(number) == 1
    here.check()


def test_a_late_callback_of_attempt_1_while_attempt_2_is_live(here: Window) -> None:
    """Whatever the carrier still has to say about the first call says nothing about the second one."""
    number = here.lead(outcomes=[{"outcome": "busy"}, {"outcome": "answer", "talk_seconds": 60}])
    here.worker()
    run = here.start(retry_after_s={"busy": 0}, machine_detection="hangup")
    here.stack.await_true(
        lambda: (
            [(row["state"], row["answered_by"]) for row in here.placed(number)]
            == [("busy", None), ("in_progress", "human")]
        ),
        "attempt 2 to talk to somebody",
    )
    first, second = here.placed(number)
    job = here.job(number)
    # Attempt 2 is silent while it talks, so the sweep may ask about it at any moment.
    asked = {"checked_at": None}

    for word in ("initiated", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"):
        here.webhook(first["id"], first["call_sid"], word)
    here.told("amd", first["id"], first["call_sid"], AnsweredBy="machine_start")
    made = {"RecordingSid": f"RE{number[1:]:0>32}", "RecordingStatus": "completed", "RecordingDuration": "3"}
    for _ in range(2):
        here.told("recording", first["id"], first["call_sid"], RecordingUrl="http://127.0.0.1:9/late", **made)

    assert [attempt["state"] for attempt in here.placed(number)] == ["busy", "in_progress"]
    assert here.placed(number)[1] | asked == second | asked
    assert (here.job(number)["status"], here.job(number)["attempts"]) == (job["status"], job["attempts"])
    recordings = here.stack.rows("SELECT attempt_id, call_sid FROM recordings WHERE business_id = %s", here.business_id)
    assert recordings == [{"attempt_id": first["id"], "call_sid": first["call_sid"]}]
    here.check(at_rest=False)

    here.other_side_hangs_up(second["call_sid"])
    here.await_task(run["job_id"], "completed")
    assert (here.job(number)["status"], here.job(number)["attempts"]) == ("completed", 2)
    here.check()


def test_a_slot_freed_while_the_pump_looks(here: Window) -> None:
    """The pump has seen every slot taken and is about to leave; nobody sweeps, so the wake-up alone brings it back."""
    here.stack.change("UPDATE businesses SET call_cap = 1 WHERE id = %s", here.business_id)
    first, second = here.lead(talk_seconds=60), here.lead()
    held = gate(here.stack)
    here.worker(held.at("before_pump_gives_up"), **NO_SWEEP)
    run = here.start()
    held.await_reached()
    here.await_job(first, "in_progress")
    (live,) = here.placed(first)

    here.other_side_hangs_up(live["call_sid"])
    here.await_job(first, "completed")
    assert here.attempts(second) == []
    held.open()

    here.await_job(second, "completed")
    here.await_task(run["job_id"], "completed")
    here.check()


def executed(client: redis.Redis) -> int:
    """How many executions the workers have ended, in RQ's own count."""
    counts = [client.hget(worker, "successful_job_count") for worker in client.smembers("rq:workers")]
    return sum(int(count) for count in counts if count)


def test_a_job_re_enqueued_while_it_runs(here: Window) -> None:
    """Its wake-up is queued again in the middle of a slice, and another worker takes that up."""
    for _ in range(5):
        here.lead()
    held = gate(here.stack)
    patient = {**NO_SWEEP, "LEASE_SECONDS": "60"}  # the slice waits in an open transaction and must not lose it
    here.worker(held.at("in_open_transaction"), **patient)
    task = here.client.post("/api/leads/bulk-delete", json={"filter": {"all": True}}).raise_for_status().json()
    held.await_reached()

    with redis.Redis.from_url(here.stack.redis_url) as client:
        doubled = background_wakeup(f"{task['job_type']}", task["id"], "maintenance", 60)
        assert Transport(client).push(doubled)
        here.worker(**patient)
        here.stack.await_true(lambda: executed(client) == 1, "the second worker to find nothing to do")
        held.open()
        row = here.await_task(task["id"], "completed")
        here.stack.await_true(lambda: executed(client) == 2, "the end of both executions")
        assert client.zcard("rq:wip:maintenance") == 0
        assert client.hget(f"rq:job:{doubled.rq_id}", "status") == b"finished"
        assert client.llen("rq:queue:maintenance") == 0
    assert (row["done"], row["failed"], row["attempt"], row["crash_count"]) == (5, 0, 1, 0)
    assert here.stack.value("SELECT count(*) FROM leads WHERE deleted_at IS NULL") == 0


def test_a_worker_stopped_in_an_open_transaction(here: Window) -> None:
    """Longer than an idle transaction may live: another does the work, and the one that wakes up writes nothing."""
    for _ in range(5):
        here.lead()
    frozen = here.worker("in_open_transaction=stop")
    task = here.client.post("/api/leads/bulk-delete", json={"filter": {"all": True}}).raise_for_status().json()
    await_stopped(here.stack, frozen)

    successor = here.worker()
    row = here.await_task(task["id"], "completed")
    assert (row["done"], row["failed"]) == (5, 0)
    assert row["attempt"] > 1
    successor.kill()
    frozen.resume()
    here.stack.await_log(frozen.name, "slice not committed")
    assert here.stack.rows("SELECT * FROM background_jobs WHERE id = %s", task["id"]) == [row]

    here.lead()
    again = here.client.post("/api/leads/bulk-delete", json={"filter": {"all": True}}).raise_for_status().json()
    assert here.await_task(again["id"], "completed")["done"] == 1, "it works on as if nothing had been"


@pytest.mark.timeout(240)
def test_a_restore_of_the_database_to_an_earlier_point(
    stack_folder: Path, postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> None:
    """A backup of mid-campaign comes back after more calls: the runbook's reconcile, and nobody is called again."""
    with restorable(stack_folder, postgres, migrated_template, valkey) as campaign:
        stack, run_id = campaign.stack, campaign.start(40)
        campaign.await_calls(8)
        campaign.stop()
        campaign.back_up()
        campaign.go_on()
        campaign.await_calls(20)
        campaign.stop()
        called = campaign.calls()
        campaign.restore()

        report = campaign.reconcile()
        assert report["paused"] == [{"business": campaign.business_id, "run": run_id}]
        assert report["skipped"] > 0

        campaign.go_on()
        campaign.await_slice()
        assert campaign.calls() == called, "nothing is dialled while every run is paused"
        campaign.resume(run_id)
        campaign.await_end(run_id)

        calls = campaign.calls()
        assert [number for number, times in calls.items() if times > 1] == []
        outcomes = stack.rows("SELECT to_number, status, reason FROM outbound_call_jobs")
        skipped = {row["to_number"] for row in outcomes if row["status"] == "skipped"}
        assert skipped <= set(called)
        # Killed between the mark and the send: that nobody can know.
        unknown = {row["to_number"] for row in outcomes if row["reason"] == "outcome_unknown"}
        assert set(calls) | unknown == {row["to_number"] for row in outcomes}
        assert_invariants(stack.urls.owner, at_rest=True)
