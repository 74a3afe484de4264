"""The whole of Switchboard as processes on loopback: the simulator, workers, a recorder and an api, for tests."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from secrets_for_tests import CREDENTIALS_KEY
from switchboard_cli.devstack import DatabaseUrls, ManagedProcess, free_port
from switchboard_core.db import Database, make_engine
from switchboard_core.settings import Settings
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key, create_business
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN


def plain(service: str) -> list[str]:
    """The command of a service as it is."""
    return [sys.executable, "-c", f"from switchboard_{service}.main import main; main()"]


@dataclass
class Stack:
    """Running services and how to talk to them."""

    urls: DatabaseUrls
    redis_url: str
    folder: Path
    env: dict[str, str]
    simulator_url: str
    api_url: str
    argv: Callable[[str], list[str]] = plain
    processes: dict[str, ManagedProcess] = field(default_factory=dict)
    ready_urls: dict[str, str] = field(default_factory=dict)

    def start(self, name: str) -> ManagedProcess:
        """Start a service again, or for the first time, and wait until it is ready."""
        process = self.processes[name]
        process.start()
        process.wait_ready(self.ready_urls[name])
        return process

    def launch(self, role: str, env: Mapping[str, str], number: int = 0) -> ManagedProcess:
        """Add a worker or recorder with further environment, start it and wait until it is ready."""
        _add_background(self, role, number, env)
        return self.start(f"{role}-{number}")

    def log(self, name: str) -> str:
        """Everything a service has logged so far."""
        return self.processes[name].log_path.read_text(encoding="utf-8")

    def await_log(self, name: str, words: str, timeout: float = 20.0) -> None:
        """Wait until a service has logged ``words``."""
        self.await_true(lambda: words in self.log(name), f"{words!r} in the log of {name}", timeout)

    def await_true(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """Wait until ``condition`` holds; fails with what was awaited."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout:g} s in vain for {what}")
            time.sleep(0.05)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read the database as its owner, past row-level security."""
        url = self.urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def change(self, statement: str, *values: object) -> int:
        """Change the database as its owner; returns how many rows were changed."""
        url = self.urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(url) as connection:
            return connection.execute(statement, values).rowcount

    def value(self, query: str, *values: object) -> Any:
        """The only value of the only row."""
        return next(iter(self.rows(query, *values)[0].values()))

    def sim(self, method: str, path: str, body: object = None) -> Any:
        """Talk to the simulator's controls."""
        answer = httpx.request(method, f"{self.simulator_url}/_sim/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def client(self, key: str) -> httpx.Client:
        """A client of the api with an API key."""
        return httpx.Client(base_url=self.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def business(self, name: str = "Acme", **settings: Any) -> tuple[int, str]:
        """Create a business that may call around the clock; its id and an owner key."""
        database = Database(make_engine(Settings.model_validate(_own(self.env)), application_name="test"))
        try:
            options = {"caller_ids": ["+14155550100"], "calling_from": "00:00", "calling_until": "00:00", **settings}
            business = create_business(database, name, **options)
            with database.tenant(business.id) as session:
                _, secret = create_api_key(session, "tests", Role.OWNER)
            return business.id, secret
        finally:
            database.dispose()

    def add_leads(self, business_id: int, numbers: list[str]) -> None:
        """Insert leads past the import."""
        url = self.urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO leads (business_id, phone, name, timezone) VALUES (%s, %s, %s, 'UTC')",
                [(business_id, number, f"Lead {number[-4:]}") for number in numbers],
            )


def _own(env: Mapping[str, str]) -> dict[str, str]:
    return {"database_url": env["DATABASE_URL"], "redis_url": env["REDIS_URL"]}


@contextmanager
def running_stack(
    folder: Path,
    urls: DatabaseUrls,
    redis_url: str,
    *,
    workers: int = 1,
    recorders: int = 1,
    api: bool = True,
    settings: Mapping[str, str] | None = None,
    simulator: Mapping[str, str] | None = None,
    argv: Callable[[str], list[str]] = plain,
    own: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[Stack]:
    """Start everything in the operator's order, and stop all of it at the end.

    Args:
        folder: for logs and recordings.
        urls: of a migrated database.
        redis_url: of an empty Valkey.
        workers: how many worker processes.
        recorders: how many recorder processes.
        api: whether to start the api.
        settings: further environment of the services.
        simulator: further environment of the simulator.
        argv: makes the command of a service from its name.
        own: further environment of single processes, by name (``worker-0``, ``recorder-0``, ``api``).
    """
    simulator_port, api_port = free_port(), free_port()
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {
        **base,
        "DATABASE_URL": urls.app,
        "REDIS_URL": redis_url,
        "TWILIO_ACCOUNT_SID": DEMO_ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": DEMO_AUTH_TOKEN,
        "TWILIO_BASE_URL": f"http://127.0.0.1:{simulator_port}",
        "CARRIER_CALLS_PER_SECOND": "500",
        "PUBLIC_URL": f"http://127.0.0.1:{api_port}",
        "RECORDINGS_URL": f"file://{folder}/recordings",
        "TRANSCRIPTION_ENGINE": "none",
        "CREDENTIALS_KEYS": CREDENTIALS_KEY,
        "TRUSTED_HOSTS": "127.0.0.1,localhost",
        **(settings or {}),
    }
    loopback = "http://127.0.0.1"
    stack = Stack(urls, redis_url, folder, env, f"{loopback}:{simulator_port}", f"{loopback}:{api_port}", argv)
    special = own or {}
    sim_env = {
        **base,
        "SIMULATOR_PORT": str(simulator_port),
        "SIMULATOR_CPS": "500",
        "SIMULATOR_DIAL_SECONDS": "0.01",
        "SIMULATOR_RING_SECONDS": "0.05",
        "SIMULATOR_TALK_SECONDS": "0.2",
        **(simulator or {}),
    }
    _add(stack, "simulator", "simulator", sim_env, f"{stack.simulator_url}/api/ready")
    for number in range(workers):
        _add_background(stack, "worker", number, special.get(f"worker-{number}", {}))
    for number in range(recorders):
        _add_background(stack, "recorder", number, special.get(f"recorder-{number}", {}))
    if api:
        api_env = {**env, "SERVICE_ROLE": "api", "PORT": str(api_port), **special.get("api", {})}
        _add(stack, "api", "api", api_env, f"{stack.api_url}/api/ready")
    try:
        for name in stack.processes:
            stack.start(name)
        yield stack
    finally:
        for process in stack.processes.values():
            if process.running:
                process.kill()


def _add_background(stack: Stack, role: str, number: int, env: Mapping[str, str]) -> None:
    port = free_port()
    own = {**stack.env, "SERVICE_ROLE": role, "METRICS_PORT": str(port), **env}
    _add(stack, f"{role}-{number}", role, own, f"http://127.0.0.1:{port}/api/ready")


def _add(stack: Stack, name: str, service: str, env: Mapping[str, str], ready_url: str) -> None:
    log = stack.folder / f"{name}.log"
    stack.processes[name] = ManagedProcess(name, stack.argv(service), env, log, cwd=stack.folder)
    stack.ready_urls[name] = ready_url
