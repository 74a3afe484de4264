"""The carrier's status callbacks at a fixed rate: how soon each is acknowledged, and whether any is lost.

Real api processes on real PostgreSQL and Valkey, on loopback. Calls that were placed are prepared in the database, and
every callback about them is signed beforehand; a process of its own sends them, four a call, in the carrier's order.
"""

import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
from sqlalchemy import make_url
from twilio.request_validator import RequestValidator
from webhooks_load import HEAD

from switchboard_cli.devstack import (
    APP_ROLE,
    EmbeddedPostgres,
    EmbeddedValkey,
    ManagedProcess,
    free_port,
    temporary_folder,
)
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.settings import MigrationSettings

HERE = Path(__file__).parent
TOKEN = "bench"
ACCOUNT = "AC" + "0" * 32
BUSINESSES = 20
APIS = 2
"""Replicas of the api: as many as an installation has by default."""
START_S = 180.0
WORDS = ("initiated", "ringing", "in-progress", "completed")
_BETWEEN = 100
"""Calls that begin between two callbacks of a call."""

_PREPARE = """
WITH business AS (
    INSERT INTO businesses (name, call_cap) SELECT 'Bench ' || n, 1000 FROM generate_series(1, %(businesses)s) n
    RETURNING id
), task AS (
    INSERT INTO background_jobs (business_id, job_type, queue, status, total, run_after)
    SELECT id, 'enqueue_outbound_calls', 'default', 'running', %(each)s, now() + interval '1 year' FROM business
    RETURNING id, business_id
), run AS (
    INSERT INTO outbound_call_runs (business_id, name, status, background_job_id, message, record, calling_from,
        calling_until, calling_days, expanded_at)
    SELECT business_id, 'Bench', 'running', id, 'Hello', false, '00:00', '00:00', 127, now() FROM task
    RETURNING id, business_id
), job AS (
    INSERT INTO outbound_call_jobs (business_id, run_id, to_number, timezone, status)
    SELECT business_id, id, '+1' || (4150000000 + id * 100000 + n), 'UTC', 'dialing'
    FROM run, generate_series(1, %(each)s) n
    RETURNING id, business_id, run_id, to_number
)
INSERT INTO call_attempts (id, business_id, run_id, job_id, number, account_sid, from_number, to_number, state,
    sent_at, call_sid)
SELECT gen_random_uuid(), business_id, run_id, id, 1, %(account)s, '+14155550100', to_number, 'dialing', now(),
    'CA' || lpad(id::text, 32, '0')
FROM job
RETURNING id, business_id, call_sid, to_number
"""


@dataclass(frozen=True)
class Acknowledged:
    """What was found; times in milliseconds, CPU in milliseconds of the api processes for each callback."""

    number: int
    p50: float
    p95: float
    p99: float
    most: float
    cpu: float
    lost: int


def run(rate: float, seconds: float, warm_up_s: float) -> Acknowledged:
    """Measure once.

    Args:
        rate: callbacks a second.
        seconds: how long.
        warm_up_s: how long before that, at the same rate, without counting.
    """
    warm_up, measured = (int(rate * span) // len(WORDS) // BUSINESSES * BUSINESSES for span in (warm_up_s, seconds))
    with _servers() as bench:
        for calls, name in ((warm_up, "warm-up"), (measured, "measured")):
            attempts = bench.prepare(calls)
            cpu = bench.cpu_s()
            found = bench.send(name, attempts, rate)
            cpu = bench.cpu_s() - cpu
        number = len(found["latencies"])
        lost = number - found["statuses"].get("204", 0) + bench.not_applied()
    cuts = statistics.quantiles(found["latencies"], n=100)
    return Acknowledged(
        number,
        1000 * cuts[49],
        1000 * cuts[94],
        1000 * cuts[98],
        1000 * max(found["latencies"]),
        1000 * cpu / number,
        lost,
    )


@dataclass(frozen=True)
class _Bench:
    owner: "psycopg.Connection[tuple[Any, ...]]"
    folder: Path
    apis: list[ManagedProcess]
    ports: list[int]

    def prepare(self, calls: int) -> list[tuple[uuid.UUID, int, str, str]]:
        """Calls that the carrier has taken and not told anything about."""
        arguments = {"businesses": BUSINESSES, "each": calls // BUSINESSES, "account": ACCOUNT}
        attempts = self.owner.execute(_PREPARE, arguments).fetchall()
        self.owner.execute("VACUUM ANALYZE")
        return attempts

    def send(self, name: str, attempts: list[tuple[uuid.UUID, int, str, str]], rate: float) -> dict[str, Any]:
        """Let the load generator send every callback; what it found."""
        requests, output = self.folder / f"{name}.requests", self.folder / f"{name}.json"
        with requests.open("wb") as file:
            for after_s, request in self._requests(attempts, rate):
                file.write(HEAD.pack(after_s, len(request)) + request)
        argv = [sys.executable, str(HERE / "webhooks_load.py"), "127.0.0.1", ",".join(map(str, self.ports))]
        log = self.folder / f"{name}.log"
        load = ManagedProcess(name, [*argv, str(requests), str(output)], {"PATH": os.environ["PATH"]}, log)
        load.start()
        try:
            while load.running:
                time.sleep(0.2)
        finally:
            load.terminate()
        if not output.exists():
            msg = f"the load generator gave up:\n{log.read_text('utf-8')[-2000:]}"
            raise RuntimeError(msg)
        found: dict[str, Any] = json.loads(output.read_text("utf-8"))
        return found

    def _requests(self, attempts: list[tuple[uuid.UUID, int, str, str]], rate: float) -> Iterator[tuple[float, bytes]]:
        """Signed callbacks and when they are due: calls begin one after the other, each is told in the carrier's order.

        After a ramp of ``_BETWEEN`` calls, and until another one, it is ``rate`` callbacks a second, all kinds mixed.
        """
        validator = RequestValidator(TOKEN)
        for newest in range(len(attempts) + _BETWEEN * (len(WORDS) - 1)):
            for told, word in enumerate(WORDS):
                call = newest - told * _BETWEEN
                if 0 <= call < len(attempts):
                    due_s = (newest * len(WORDS) + told) / rate
                    yield due_s, self._request(validator, attempts[call], word)

    def _request(self, validator: RequestValidator, attempt: tuple[uuid.UUID, int, str, str], word: str) -> bytes:
        attempt_id, business_id, sid, to = attempt
        path = f"/webhooks/twilio/status?attempt={attempt_id}&business={business_id}"
        form = {"CallSid": sid, "AccountSid": ACCOUNT, "CallStatus": word, "To": to, "CallDuration": "7"}
        signature = validator.compute_signature(f"{_public_url(self.ports)}{path}", form)
        body = urlencode(form)
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Twilio-Signature: {signature}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def cpu_s(self) -> float:
        """CPU time of the api processes so far."""
        ticks = 0
        for api in self.apis:
            fields = Path(f"/proc/{api.pid}/stat").read_text("ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def not_applied(self) -> int:
        """Calls whose end is not in the database, or not in their run's counters."""
        row = self.owner.execute("""
            SELECT (SELECT count(*) FROM call_attempts WHERE state <> 'completed' OR settled_at IS NULL)
                 + (SELECT count(*) FROM outbound_call_jobs)
                 - (SELECT sum(done) FROM background_jobs)
        """).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def _servers() -> Iterator[_Bench]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("switchboard-bench-"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        url = make_url(urls.owner).set(drivername="postgresql").render_as_string(hide_password=False)
        owner = stack.enter_context(psycopg.connect(url, autocommit=True))
        ports = [free_port() for _ in range(APIS)]
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": urls.app,
            "REDIS_URL": valkey.url,
            "SERVICE_ROLE": "api",
            "PUBLIC_URL": _public_url(ports),
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
        }
        argv = [sys.executable, "-c", "from switchboard_api.main import main; main()"]
        apis = []
        for port in ports:
            apis.append(ManagedProcess("api", argv, {**env, "SWITCHBOARD_PORT": str(port)}, folder / f"api-{port}.log"))
            stack.callback(apis[-1].terminate)
            apis[-1].start()
        for port, api in zip(ports, apis, strict=True):
            api.wait_ready(f"http://127.0.0.1:{port}/api/ready", START_S)
        yield _Bench(owner, folder, apis, ports)


def _public_url(ports: list[int]) -> str:
    """What the carrier signs; a load balancer stands behind it."""
    return f"http://127.0.0.1:{ports[0]}"
