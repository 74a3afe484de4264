"""Nothing is lost and nothing is done twice: a campaign under ``kill -9``, with a carrier that loses and doubles."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import carrier_truth as truth
from invariants import assert_invariants
from kills import counting_attempts, plan_outages, run_outages
from log_reading import leaks, not_json, parsed, secrets_of
from stack import Stack, running_stack
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.logs import get_logger

log = get_logger(__name__)

SEED_VARIABLE = "SWITCHBOARD_TEST_SEED"
SEED = int(os.environ.get(SEED_VARIABLE, "3"))
LEADS = 200
CAP = 3
NUMBERS = [f"+1415555{number:04d}" for number in range(1000, 1000 + LEADS)]
VICTIMS = ("worker-0", "worker-1", "recorder-0", "recorder-0", "api", "api")
"""Who dies on its own, besides the one time that they all die together."""

# Short windows, so that what has to be waited for comes soon; none is shorter than a loaded machine's pauses.
SETTINGS = {
    "SETTLE_AFTER_SECONDS": "1",
    "UNKNOWN_OUTCOME_AFTER_SECONDS": "8",
    "DIAL_DEADLINE_SECONDS": "2",
    "LEASE_SECONDS": "3",
    "SWEEP_INTERVAL_SECONDS": "0.5",
    "CARRIER_READ_TIMEOUT_SECONDS": "3",
}
FAULTS = {
    "seed": SEED,
    "callback_lose": 0.05,
    "callback_duplicate": 0.1,
    "callback_delay": 0.1,
    "callback_delay_seconds": 0.5,
    "callback_reorder": 0.1,
    "callback_hold_seconds": 0.3,
    "create_lose_answer": 0.05,
    "create_5xx_after": 0.02,
    "create_429": 0.05,
    "query_5xx": 0.05,
    "media_cut": 0.1,
}
RUN = {
    "name": "Under fire",
    "message": "Hello {name}",
    "leads": {"all": True},
    "retry_after_s": {"busy": 0.2, "no_answer": 0.2},
}


@pytest.fixture
def stack(stack_folder: Path, database_urls: DatabaseUrls, redis_url: str) -> Iterator[Stack]:
    simulator = {"SIMULATOR_SEED": str(SEED)}
    with running_stack(
        stack_folder / "kills", database_urls, redis_url, workers=2, settings=SETTINGS, simulator=simulator
    ) as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [SEED], ids=f"{SEED_VARIABLE}={{}}".format)
def test_a_campaign_survives_every_kill_without_a_lost_or_doubled_call(stack: Stack, seed: int) -> None:
    outages = plan_outages(seed, VICTIMS, within=range(3, LEADS - 10))
    log.info("outages planned", seed=seed, outages=[str(outage) for outage in outages])
    stack.sim("POST", "faults", FAULTS)
    business_id, key = stack.business(call_cap=CAP, calls_per_second=200)
    stack.add_leads(business_id, NUMBERS)
    with stack.client(key) as client, counting_attempts(stack) as admitted:
        run = client.post("/api/outbound_calls/runs", json=RUN).raise_for_status().json()
        for _ in run_outages(stack, outages, admitted):
            assert_invariants(stack.urls.owner, simulator_url=stack.simulator_url)
        _await_end(stack, run["id"])
        view = client.get(f"/api/outbound_calls/runs/{run['id']}").raise_for_status().json()
        task = client.get(f"/api/tasks/{run['job_id']}").raise_for_status().json()

    with redis.Redis.from_url(stack.redis_url) as slots:
        # Killed between its commit and Redis, a process leaves a member there; the next rebuild takes it out.
        assert_invariants(stack.urls.owner, slots, stack.simulator_url, at_rest=True, within_s=20)
    assert stack.sim("GET", "report")["concurrent_max"]["business"] == {str(business_id): CAP}
    truth.check_every_call_is_known_and_ended_as_the_carrier_says(stack, run["id"])
    truth.check_counters(stack, run["id"], view, task)
    assert view["counts"]["total"] == LEADS
    truth.check_every_recording_is_kept_once(stack)
    assert leaks(stack, secrets_of(stack, key), NUMBERS) == []
    logs = [stack.log(name) for name in set(VICTIMS)]
    assert [line for log in logs for line in not_json(log)] == []
    assert [line for log in logs for line in parsed(log) if "exception" in line] == []


def _await_end(stack: Stack, run_id: int) -> None:
    """Until the run, its calls and its recordings have ended, and everything that was killed serves again."""
    for name, process in stack.processes.items():
        process.wait_ready(stack.ready_urls[name], timeout=60)
    ended = "SELECT status IN ('completed', 'failed', 'cancelled') FROM outbound_call_runs WHERE id = %s"
    stack.await_true(lambda: stack.value(ended, run_id), "the run's end", 60)
    assert stack.sim("GET", "idle?timeout=30")["idle"]
    stack.await_true(lambda: truth.recordings_settled(stack), "the end of every recording", 60)
