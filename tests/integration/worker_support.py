"""Worker processes for tests: real ones, whose tasks the tests can hold still."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from redis import Redis

from integration.kernel_support import TASK, Bench
from secrets_for_tests import CREDENTIALS_KEY
from switchboard_cli.devstack import ManagedProcess, free_port
from waiting import await_true

TESTS = Path(__file__).parent.parent
PLAIN = ("-c", "from switchboard_worker.main import main; main()")
GATED = (str(TESTS / "worker_with_test_tasks.py"),)


@dataclass
class Worker:
    """A worker process."""

    process: ManagedProcess
    url: str

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self.process.log_path.read_text(encoding="utf-8")

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def start(self, *, wait: bool = True) -> "Worker":
        """Start it, and wait until it is ready."""
        self.process.start()
        if wait:
            self.process.wait_ready(f"{self.url}/api/ready", 60)
        return self

    def await_log(self, words: str, timeout: float = 30.0) -> None:
        """Wait until it has logged ``words``."""
        await_true(lambda: words in self.log, f"{words!r} in the log of {self.process.name}", timeout)

    def readiness(self) -> httpx.Response:
        """What it answers to the readiness probe."""
        return httpx.get(f"{self.url}/api/ready", timeout=5, trust_env=False)


@dataclass
class Gate:
    """Lets the slices of a gated job end, one by one."""

    path: Path

    def __post_init__(self) -> None:
        self.path.write_text("")

    def open(self, slices: int = 1) -> None:
        """Let that many further slices end."""
        with self.path.open("a") as file:
            file.write("." * slices)

    def fail(self) -> None:
        """Let the slice that waits raise."""
        with self.path.open("a") as file:
            file.write("error")

    def await_slice(self, number: int) -> None:
        """Wait until slice ``number``, counted from 0, waits at the gate."""
        entered = self.path.with_suffix(".entered")
        await_true(lambda: entered.exists() and entered.read_text() == str(number), f"slice {number}")


@dataclass
class Workshop:
    """Where worker processes are started, with a bench for jobs of theirs."""

    jobs: Bench
    folder: Path
    env: dict[str, str]
    workers: list[Worker] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    @property
    def redis(self) -> "Redis":
        """The Redis of the workers."""
        return self.jobs.runtime.redis

    def worker(self, *, argv: tuple[str, ...] = GATED, **env: str) -> Worker:
        """A further worker process, not started yet."""
        number, port = len(self.workers), free_port()
        name = f"worker-{number}"
        process = ManagedProcess(
            name,
            [sys.executable, *argv],
            {**self.env, "METRICS_PORT": str(port), **env},
            self.folder / f"{name}.log",
            cwd=self.folder,
        )
        self.workers.append(Worker(process, f"http://127.0.0.1:{port}"))
        return self.workers[-1]

    def gate(self) -> Gate:
        """A gate of its own."""
        self.gates.append(Gate(self.folder / f"gate-{len(self.gates)}"))
        return self.gates[-1]

    def open_gates(self) -> None:
        """Let everything end, so that no test leaves its job behind for the next."""
        for gate in self.gates:
            gate.open(100)

    def gated_job(self, items: int = 1) -> tuple[int, Gate]:
        """A job of ``items`` slices, and the gate that each of them waits at."""
        gate = self.gate()
        return self.jobs.enqueue(payload={"items": items, "gate": str(gate.path)}), gate

    def await_status(self, job_id: int, status: str) -> None:
        """Wait for the status of a job."""
        await_true(lambda: self.jobs.job(job_id)["status"] == status, f"job {job_id} to be {status}")

    def rq_status(self, job_id: int) -> str:
        """What RQ's hash says of a job."""
        return str(self.redis.hget(f"rq:job:{TASK}_{job_id}", "status"), "utf-8")  # type: ignore[arg-type]


@contextmanager
def workshop(jobs: Bench, folder: Path, **settings: str) -> Iterator[Workshop]:
    """Start no worker yet, and stop all of them at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DATABASE_URL": jobs.urls.app,
        "REDIS_URL": jobs.runtime.settings.redis_url.get_secret_value(),
        "SERVICE_ROLE": "worker",
        "PYTHONPATH": str(TESTS),
        "PYTHONUNBUFFERED": "1",
        "LEASE_SECONDS": "2",
        "SWEEP_INTERVAL_SECONDS": "0.2",
        "CREDENTIALS_KEYS": CREDENTIALS_KEY,
        "TRUSTED_HOSTS": "127.0.0.1,localhost",
        **settings,
    }
    made = Workshop(jobs, folder, env)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.process.kill()


def add_leads(jobs: Bench, number: int) -> None:
    """Insert leads past the import."""
    url = jobs.urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO leads (business_id, phone, name, timezone) "
            "SELECT %s, '+1415555' || lpad(n::text, 4, '0'), 'Lead', 'UTC' FROM generate_series(1, %s) n",
            (jobs.business_id, number),
        )
