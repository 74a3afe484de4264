"""Fairness of calls: businesses with small runs beside one with a very long run, on one carrier account.

Real worker and api processes on real PostgreSQL and Valkey, and the simulator as carrier. Calls are short and nobody
has a cap to speak of, so that the account's rate is what they share.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from bench_limits import jain
from sqlalchemy import make_url

from switchboard_cli.devstack import (
    APP_ROLE,
    DatabaseUrls,
    EmbeddedPostgres,
    EmbeddedValkey,
    ManagedProcess,
    free_port,
    temporary_folder,
)
from switchboard_core.calls.schemas import RunCreate
from switchboard_core.calls.service import start_run
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import MigrationSettings, Settings
from switchboard_core.tenancy.service import create_business
from switchboard_simulator.server import RunningSimulator, running_simulator
from switchboard_simulator.settings import SimulatorSettings

START_S = 180.0
WORKERS = 2
_LEADS = """
INSERT INTO leads (business_id, phone, name, timezone)
SELECT %(business)s, '+1' || (4000000000 + %(business)s * 1000000 + n), 'Lead', 'UTC'
FROM generate_series(%(first)s::bigint, %(last)s) n
"""
_DELAYS = """
SELECT extract(epoch FROM min(a.sent_at) - r.created_at) FROM outbound_call_runs r
JOIN call_attempts a ON a.run_id = r.id AND a.sent_at IS NOT NULL
WHERE r.id = ANY(%s) GROUP BY r.id
"""
_CALLS = """
SELECT business_id, count(*) FROM call_attempts
WHERE sent_at >= to_timestamp(%s) AND sent_at < to_timestamp(%s) GROUP BY 1
"""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        businesses: in all; one of them has the long run.
        leads: of that run.
        rate: calls a second on the account.
        arrivals: runs of one lead that the others start, one at a time, for each of the two start delays.
        every_s: seconds between arrivals.
        contended_s: seconds in which everybody has leads to call.
    """

    businesses: int = 100
    leads: int = 100_000
    rate: float = 20.0
    arrivals: int = 60
    every_s: float = 0.75
    contended_s: float = 60.0


@dataclass(frozen=True)
class Fairness:
    """What was found; times in milliseconds.

    Attributes:
        idle_p50: from the start of a run of one lead until its call leaves, while nobody else calls.
        idle_p95: the same.
        beside_p50: beside the long run.
        beside_p95: the same.
        jain: index of calls by business while everybody has leads to call; 1 is the same for all.
        least: calls of the business with the fewest meanwhile.
        most: calls of the one with the most.
    """

    idle_p50: float
    idle_p95: float
    beside_p50: float
    beside_p95: float
    jain: float
    least: int
    most: int


def run(size: Size) -> Fairness:
    """Measure once."""
    with _servers(size) as bench:
        long, *others = bench.businesses
        for business_id in others:
            bench.add_leads(business_id, 1)
        bench.delays(others[:WORKERS], size)  # each worker has called once before anything counts
        idle = bench.delays(_in_turn(others, size.arrivals), size)
        bench.add_leads(long, size.leads)
        bench.start(long)
        bench.await_calls([long], 2 * int(size.rate))
        beside = bench.delays(_in_turn(others, size.arrivals), size)
        for business_id in others:
            bench.add_leads(business_id, int(4 * size.rate * size.contended_s / size.businesses) + 20)
            bench.start(business_id)
        bench.await_calls(bench.businesses, 1)
        calls = bench.calls_within(size.contended_s)
    shares = [calls.get(business_id, 0) for business_id in bench.businesses]
    idle_cuts, beside_cuts = (statistics.quantiles(delays, n=20) for delays in (idle, beside))
    return Fairness(
        1000 * idle_cuts[9],
        1000 * idle_cuts[18],
        1000 * beside_cuts[9],
        1000 * beside_cuts[18],
        jain(shares),
        min(shares),
        max(shares),
    )


def _in_turn(businesses: list[int], number: int) -> list[int]:
    return [businesses[at % len(businesses)] for at in range(number)]


@dataclass(frozen=True)
class _Bench:
    runtime: Runtime
    owner: "psycopg.Connection[tuple[Any, ...]]"
    businesses: list[int]

    def add_leads(self, business_id: int, number: int) -> None:
        row = self.owner.execute("SELECT count(*) FROM leads WHERE business_id = %s", (business_id,)).fetchone()
        first = int(row[0]) + 1 if row else 1
        self.owner.execute(_LEADS, {"business": business_id, "first": first, "last": first + number - 1})

    def start(self, business_id: int) -> int:
        """Start a run over all leads of a business; its id."""
        order = RunCreate.model_validate({"name": "Bench", "message": "Hello", "leads": {"all": True}, "record": False})
        with self.runtime.database.tenant(business_id) as session:
            return start_run(session, self.runtime, order).id

    def delays(self, businesses: list[int], size: Size) -> list[float]:
        """Let each start a run of its only lead, one after the other; seconds until the calls left."""
        started, runs = time.monotonic(), []
        for number, business_id in enumerate(businesses):
            time.sleep(max(0.0, started + number * size.every_s - time.monotonic()))
            runs.append(self.start(business_id))
        found: list[float] = []

        def all_called() -> bool:
            found[:] = [float(row[0]) for row in self.owner.execute(_DELAYS, (runs,)).fetchall()]
            return len(found) == len(runs)

        _await(all_called, "a run of a small business was not begun")
        return found

    def await_calls(self, businesses: list[int], number: int) -> None:
        """Wait until each business has placed so many calls from now on."""
        since = time.time()

        def placed() -> bool:
            calls = self._calls(since, time.time())
            return all(calls.get(business_id, 0) >= number for business_id in businesses)

        _await(placed, f"a business placed no {number} calls")

    def calls_within(self, seconds: float) -> dict[int, int]:
        """Let everybody go on calling; calls that left meanwhile, by business."""
        since = time.time()
        time.sleep(seconds)
        return self._calls(since, since + seconds)

    def _calls(self, since: float, until: float) -> dict[int, int]:
        return {int(row[0]): int(row[1]) for row in self.owner.execute(_CALLS, (since, until)).fetchall()}


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            msg = f"{otherwise} within {START_S:g} s"
            raise TimeoutError(msg)
        time.sleep(0.1)


@contextmanager
def _servers(size: Size) -> Iterator[_Bench]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("switchboard-bench-"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        carrier = stack.enter_context(running_simulator(_carrier_settings(size)))
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        runtime = make_runtime(Settings(database_url=urls.app, redis_url=valkey.url), name="bench")
        stack.callback(runtime.close)
        url = make_url(urls.owner).set(drivername="postgresql").render_as_string(hide_password=False)
        owner = stack.enter_context(psycopg.connect(url, autocommit=True))
        env = _environment(size, urls, valkey.url, carrier)
        port = int(env["SWITCHBOARD_PORT"])
        _start(stack, folder, "api", {**env, "SERVICE_ROLE": "api"}, port)
        for number in range(WORKERS):
            port = free_port()
            worker = {**env, "SERVICE_ROLE": "worker", "METRICS_PORT": str(port)}
            _start(stack, folder, f"worker-{number}", worker, port)
        yield _Bench(runtime, owner, [_make_business(runtime, n) for n in range(size.businesses)])


def _carrier_settings(size: Size) -> SimulatorSettings:
    return SimulatorSettings(
        port=0,
        cps=10 * size.rate,
        dial_seconds=0.02,
        ring_seconds=0.05,
        talk_seconds=0.1,
        spread=0.0,
        mix={"answer": 1},
    )


def _environment(size: Size, urls: DatabaseUrls, redis_url: str, carrier: RunningSimulator) -> dict[str, str]:
    port = free_port()
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": urls.app,
        "REDIS_URL": redis_url,
        "SWITCHBOARD_PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TWILIO_BASE_URL": carrier.url,
        "TWILIO_ACCOUNT_SID": carrier.account_sid,
        "TWILIO_AUTH_TOKEN": carrier.auth_token,
        "CARRIER_CALLS_PER_SECOND": str(size.rate),
        "LOG_LEVEL": "ERROR",
    }


def _start(stack: ExitStack, folder: Path, name: str, env: dict[str, str], port: int) -> None:
    """Start a service of the environment's role, and wait until it is ready."""
    program = f"from switchboard_{env['SERVICE_ROLE']}.main import main; main()"
    process = ManagedProcess(name, [sys.executable, "-c", program], env, folder / f"{name}.log")
    stack.callback(process.terminate)
    process.start()
    process.wait_ready(f"http://127.0.0.1:{port}/api/ready", START_S)


def _make_business(runtime: Runtime, number: int) -> int:
    """A business that calls around the clock, and would take all of the account's rate."""
    business = create_business(
        runtime.database,
        f"Bench {number}",
        caller_ids=["+14155550100"],
        calling_from="00:00",
        calling_until="00:00",
        call_cap=100,
        calls_per_second=1000,
    )
    return business.id
