"""Redis accepts connections and does not answer: calls are ended and requests answered, each waiting for it once.

docs/limits.md says what people see of it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core import crossing
from switchboard_core.calls import callbacks
from switchboard_core.calls.force_cancel import force_cancel
from switchboard_core.jobs.manager import BackgroundTaskManager
from switchboard_core.jobs.transport import Transport
from switchboard_core.redis import SILENT_FOR_S, Patience
from switchboard_core.runtime import Runtime

ONE_WAIT_S = 5.0
CARRIER_WAITS_S = 15.0
PROBE_WAITS_S = 3.0
CALLS = numbers(4)


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey, simulator={"talk_seconds": 60}) as bench:
        yield bench


@contextmanager
def silent(valkey: EmbeddedValkey) -> Iterator[None]:
    """Let Redis accept whatever comes and answer nothing."""
    valkey.pause()
    try:
        yield
    finally:
        valkey.resume()


@contextmanager
def taking(seconds: float) -> Iterator[None]:
    """Check that the block takes less than that."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@dataclass
class HeldClock:
    """Goes on only where a test says so."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.seconds


def by_the_clock(runtime: Runtime, clock: HeldClock) -> Runtime:
    """The parts of a process of its own, for which a while lasts as long as the test wants."""
    transport = Transport(runtime.redis, Patience(clock))
    return replace(
        runtime, transport=transport, tasks=BackgroundTaskManager(runtime.redis, transport, admit_limit=16), clock=clock
    )


def test_force_cancel_hangs_up_before_the_carrier_would_have_rung_off(
    bench: CallsBench, valkey: EmbeddedValkey
) -> None:
    live, *queued = numbers(51)
    run = bench.start(live, *queued)
    bench.dial()
    bench.await_status(live, "in_progress")
    assert run.job_id is not None
    with silent(valkey):
        with taking(CARRIER_WAITS_S):
            report = force_cancel(bench.runtime, bench.business_id, run.job_id)
        assert (report.canceled, report.hung_up, report.pending) == (len(queued), 1, 0)
        bench.await_status(live, "canceled")
        assert bench.report()["live"] == 0
    bench.work_to_the_end(run)
    assert bench.view(run.id).counts.canceled == 51
    bench.sweep.rebuild_slots()  # what could not be told, the sweep makes up for
    bench.check(at_rest=True)


def test_the_end_of_a_call_waits_once_and_those_behind_it_not_at_all(bench: CallsBench, valkey: EmbeddedValkey) -> None:
    clock = HeldClock()
    process = by_the_clock(bench.runtime, clock)
    bench.start(*CALLS)
    first, *others, last = [bench.dial().attempt.id for _ in CALLS]
    for number in CALLS:
        bench.await_status(number, "in_progress")

    def ends(attempt_id: Any) -> None:
        ref = crossing.AttemptRef(bench.business_id, attempt_id)
        assert callbacks.on_status(process, ref, {"CallStatus": "completed"})

    slots = bench.runtime.slots
    with silent(valkey):
        with taking(2 * ONE_WAIT_S):
            ends(first)
        with taking(ONE_WAIT_S):
            for attempt_id in others:
                ends(attempt_id)
        assert [bench.job(number)["status"] for number in CALLS[:3]] == ["completed"] * 3
    clock.seconds += SILENT_FOR_S
    bench.runtime.redis.delete("rq:queue:high")
    ends(last)
    assert bench.runtime.redis.llen("rq:queue:high") == 1
    assert str(last) not in slots.members(bench.business_id)


def test_the_api_says_in_time_for_its_probe_that_it_may_have_requests(
    bench: CallsBench, valkey: EmbeddedValkey
) -> None:
    def ready() -> bool:
        with taking(PROBE_WAITS_S):
            answer = httpx.get(f"{bench.runtime.settings.public_url}/api/ready", timeout=30)
        assert answer.status_code == 200
        return bool(answer.json()["checks"]["redis"]["ok"])

    assert ready()
    with silent(valkey):
        assert [ready() for _ in range(3)] == [False] * 3
    assert ready()
