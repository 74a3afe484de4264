"""The carrier is down for an hour: the real pump and sweep find out seldom, say so, and go on with nobody's hand.

The hour passes in steps: after each, every moment that is kept in the database lies that much further back.
docs/limits.md says what people see of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from integration.calls_support import CallsBench, numbers
from switchboard_cli.devstack import free_port
from switchboard_core.calls.policy import BREAKER_MAX_OPEN_S
from switchboard_core.calls.schemas import RunView
from switchboard_core.calls.twilio_carrier import TwilioCarrier
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key
from switchboard_worker.sweep import Sweep

HOUR_S, STEP_S = 3600, 60
MOST_PROBES = 15
CALLED_AGAIN_WITHIN_S = 1.25 * BREAKER_MAX_OPEN_S + 600
"""The breaker's longest wait, and that of a lead whose call was put off again and again."""
FAILS = "the carrier fails; calls are tried again later"
LEADS = numbers(25)
Seen = dict[str, Any]
"""A run as the api shows it."""

_MOMENTS = {
    "businesses": ("breaker_open_until", "next_wake_at", "rate_refilled_at"),
    "carrier_accounts": ("rate_refilled_at",),
    "background_jobs": ("run_after",),
}


def pass_time(bench: CallsBench, seconds: float) -> None:
    """Let everything that was kept lie ``seconds`` further back."""
    bench.age(seconds)
    for table, columns in _MOMENTS.items():
        for column in columns:
            bench.execute(f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)", seconds)


def turn(bench: CallsBench) -> None:
    """What a worker does until nothing is to be done: sweep, and follow every wake-up."""
    Sweep(bench.runtime).tick()  # one for which everything is due
    while bench.work_one():
        pass


@contextmanager
def connection_refused(bench: CallsBench) -> Iterator[None]:
    """Nothing listens where the carrier should be."""
    there = bench.runtime
    gone = there.settings.model_copy(update={"twilio_base_url": f"http://127.0.0.1:{free_port()}"})
    bench.runtime = replace(there, settings=gone, carrier=TwilioCarrier(gone))
    try:
        yield
    finally:
        bench.runtime = there


@contextmanager
def answered_503(bench: CallsBench) -> Iterator[None]:
    """Calls cannot be created, and nobody knows whether the carrier has made one all the same."""
    bench.faults(create_5xx_before=1)
    try:
        yield
    finally:
        bench.faults()


def an_hour(bench: CallsBench, run: RunView) -> list[Seen]:
    """Work for an hour; what the api says of the run after each step."""
    with bench.session() as session:
        secret = create_api_key(session, "looks", Role.VIEWER)[1]
    seen = []
    with httpx.Client(base_url=bench.runtime.settings.public_url, timeout=20, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        for _ in range(HOUR_S // STEP_S):
            turn(bench)
            seen.append(client.get(f"/api/outbound_calls/runs/{run.id}").raise_for_status().json())
            pass_time(bench, STEP_S)
    return seen


def until_the_end(bench: CallsBench) -> None:
    """Let time pass until no run goes on."""
    for _ in range(int(CALLED_AGAIN_WITHIN_S) // STEP_S):
        turn(bench)
        bench.await_carrier()
        if not bench.rows("SELECT 1 FROM outbound_call_runs WHERE finished_at IS NULL"):
            return
        pass_time(bench, STEP_S)
    raise AssertionError("the run does not come to its end")


def probes(bench: CallsBench) -> int:
    """How many calls were tried."""
    return int(bench.value("SELECT count(*) FROM call_attempts"))


def test_one_that_refuses_connections_is_probed_seldom_and_then_every_lead_is_called_once(bench: CallsBench) -> None:
    run = bench.start(*LEADS)
    with connection_refused(bench):
        seen = an_hour(bench, run)
    assert 5 <= probes(bench) <= MOST_PROBES
    assert {(view["status"], view["waiting_for"]) for view in seen} == {("running", FAILS)}
    # Only in the moment in which a wait is over there is no time of the next try.
    assert sum(view["next_call_at"] is None for view in seen) <= probes(bench)
    assert bench.report()["calls"] == 0
    until_the_end(bench)
    assert bench.view(run.id).counts.completed == len(LEADS)
    assert bench.report()["calls_by_number"] == dict.fromkeys(LEADS, 1)
    bench.check(at_rest=True)


def test_one_that_answers_503_is_probed_seldom_and_no_lead_is_called_twice(bench: CallsBench) -> None:
    run = bench.start(*LEADS)
    with answered_503(bench):
        seen = an_hour(bench, run)
    tried = bench.report()["creates"]["answered_5xx_before"]
    assert 5 <= tried == probes(bench) <= MOST_PROBES
    assert {view["waiting_for"] for view in seen} == {FAILS}
    until_the_end(bench)
    ended = bench.rows("SELECT to_number, status, reason FROM outbound_call_jobs")
    unknown = {row["to_number"] for row in ended if (row["status"], row["reason"]) == ("failed", "outcome_unknown")}
    assert len(unknown) == tried
    assert {row["status"] for row in ended if row["to_number"] not in unknown} == {"completed"}
    assert bench.report()["calls_by_number"] == {lead: 1 for lead in LEADS if lead not in unknown}
    bench.check(at_rest=True)
