"""The api as a process: how it starts, waits, migrates, cleans up and leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Connection, text

from migration_support import connected, migration_settings, opened
from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, free_port
from switchboard_core.migrate import run_migrations
from switchboard_core.migrate.lock import migration_lock
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key, create_business
from waiting import await_true


@dataclass
class Process:
    port: int
    popen: "subprocess.Popen[str]"
    lines: list[dict[str, Any]] = field(default_factory=list)
    said: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self) -> list[str]:
        with self.said:
            return [line["event"] for line in self.lines]

    def wait_for(self, event: str, seconds: float = 30) -> dict[str, Any]:
        """The first log line that begins so."""
        with self.said:
            assert self.said.wait_for(lambda: any(line["event"].startswith(event) for line in self.lines), seconds), (
                f"never said {event!r}, but {[line['event'] for line in self.lines]}"
            )
            return next(line for line in self.lines if line["event"].startswith(event))

    def ready(self) -> httpx.Response:
        return httpx.get(f"{self.url}/api/ready", timeout=20)

    def wait_until_ready(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.ready().status_code != 200:
            assert time.monotonic() < deadline, self.ready().text
            time.sleep(0.1)

    def stop(self) -> float:
        """Ask it to leave; returns how many seconds that took."""
        started = time.monotonic()
        self.popen.send_signal(signal.SIGTERM)
        assert self.popen.wait(15) == 0
        return time.monotonic() - started

    def read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self.said:
                self.lines.append(json.loads(line))
                self.said.notify_all()


@contextmanager
def api_process(urls: DatabaseUrls, redis_url: str, **environment: str) -> Iterator[Process]:
    """Run ``switchboard serve api`` and read its log."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": urls.app,
        "REDIS_URL": redis_url,
        "SERVICE_ROLE": "api",
        "SWITCHBOARD_PORT": str(port),
        "TWILIO_AUTH_TOKEN": "a-token",
        **environment,
    }
    popen = subprocess.Popen(
        [sys.executable, "-m", "switchboard_api.main"], env=env, stdout=subprocess.PIPE, text=True, cwd="/"
    )
    process = Process(port, popen)
    reader = threading.Thread(target=process.read, daemon=True)
    reader.start()
    try:
        process.wait_for("API STARTED")
        deadline = time.monotonic() + 30
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"{process.url}/api/health")
                break
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)
        yield process
    finally:
        popen.kill()
        popen.wait(10)
        reader.join(5)
        assert popen.stdout is not None
        popen.stdout.close()


def test_it_cleans_up_once_at_its_start_and_leaves_at_sigterm(database_urls: DatabaseUrls, redis_url: str) -> None:
    with api_process(database_urls, redis_url) as process:
        process.wait_until_ready()
        process.wait_for("[STARTUP] Running outbound cleanup")
        process.wait_for("[STARTUP] Outbound cleanup complete")
        assert process.stop() < 10
        events = process.events()
    assert events.count("[STARTUP] Running outbound cleanup") == 1
    assert events[-1] == "API STOPPED"


def test_without_the_role_of_the_api_nothing_is_cleaned_up(database_urls: DatabaseUrls, redis_url: str) -> None:
    with api_process(database_urls, redis_url, SERVICE_ROLE="worker") as process:
        process.wait_until_ready()
        assert process.stop() < 10
        assert not [event for event in process.events() if "cleanup" in event]


def test_it_waits_for_the_database_and_cleans_up_then(empty_database_urls: DatabaseUrls, redis_url: str) -> None:
    with api_process(empty_database_urls, redis_url) as process:
        assert "switchboard migrate" in process.wait_for("waiting for the database")["reason"]
        assert process.ready().json()["not_ready"] == ["schema"]
        run_migrations(migration_settings(empty_database_urls))
        process.wait_until_ready()
        process.wait_for("[STARTUP] Outbound cleanup complete")


def test_it_migrates_only_when_told_to_and_waits_for_the_lock(
    empty_database_urls: DatabaseUrls, redis_url: str
) -> None:
    migrate = {
        "RUN_MIGRATIONS": "1",
        "MIGRATION_DATABASE_URL": empty_database_urls.owner,
        "APP_DATABASE_ROLE": APP_ROLE,
        "MIGRATION_LOCK_TIMEOUT_SECONDS": "0.3",
    }
    with connected(empty_database_urls.owner) as connection:
        with (
            migration_lock(connection, timeout_s=5, clock=time.monotonic, sleep=time.sleep),
            api_process(empty_database_urls, redis_url, **migrate) as process,
        ):
            process.wait_for("not migrated yet; trying again")
            body = process.ready().json()
            assert body["status"] == 503
            assert "migrations" in body["not_ready"]
            assert process.popen.poll() is None
            assert process.stop() < 10
        with api_process(empty_database_urls, redis_url, **migrate) as process:
            process.wait_for("MIGRATIONS COMPLETE")
            process.wait_until_ready()


def test_migrations_without_the_owner_s_url_are_a_sentence_and_no_crash(
    database_urls: DatabaseUrls, redis_url: str
) -> None:
    with api_process(database_urls, redis_url, RUN_MIGRATIONS="1") as process:
        reason = process.wait_for("not migrated yet; trying again")["reason"]
        assert "MIGRATION_DATABASE_URL" in reason
        assert process.ready().status_code == 503


def test_a_worker_never_migrates(empty_database_urls: DatabaseUrls, redis_url: str) -> None:
    migrate = {"RUN_MIGRATIONS": "1", "MIGRATION_DATABASE_URL": empty_database_urls.owner, "SERVICE_ROLE": "worker"}
    with api_process(empty_database_urls, redis_url, **migrate) as process:
        assert process.ready().json()["not_ready"] == ["schema"]
        process.stop()
        assert not [event for event in process.events() if "MIGRATION" in event]


def _owner_key(urls: DatabaseUrls) -> str:
    with opened(urls.app) as database:
        business = create_business(database, "Acme")
        with database.tenant(business.id) as session:
            return create_api_key(session, "owner", Role.OWNER)[1]


@contextmanager
def _request_under_way(process: Process, urls: DatabaseUrls) -> Iterator[tuple[socket.socket, Connection]]:
    """A client whose request waits for a table, and the connection that has locked it."""
    secret = _owner_key(urls)
    process.wait_for("[STARTUP] Outbound cleanup complete")
    with connected(urls.owner) as connection, socket.create_connection(("127.0.0.1", process.port)) as client:
        connection.execute(text("BEGIN"))
        connection.execute(text("LOCK TABLE businesses IN ACCESS EXCLUSIVE MODE"))
        client.sendall(f"GET /api/business HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n".encode())
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while not connection.execute(waiting).scalar_one():
            time.sleep(0.05)
        yield client, connection
        connection.execute(text("ROLLBACK"))


def test_it_leaves_in_time_although_a_request_hangs(database_urls: DatabaseUrls, redis_url: str) -> None:
    with api_process(database_urls, redis_url) as process, _request_under_way(process, database_urls):
        assert process.stop() < 10


def _is_stopping(process: Process) -> bool:
    try:
        return "close" in httpx.get(f"{process.url}/api/health", timeout=20).headers.get_list("connection")
    except httpx.TransportError:
        return True


def test_a_request_under_way_at_sigterm_is_answered(database_urls: DatabaseUrls, redis_url: str) -> None:
    with (
        api_process(database_urls, redis_url) as process,
        _request_under_way(process, database_urls) as (client, connection),
    ):
        process.popen.send_signal(signal.SIGTERM)
        await_true(lambda: _is_stopping(process), "the api to begin to leave")
        connection.execute(text("ROLLBACK"))
        assert client.recv(1024).startswith(b"HTTP/1.1 200 ")
        client.close()
        assert process.popen.wait(15) == 0


def test_a_port_in_use_is_one_sentence(database_urls: DatabaseUrls, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "switchboard_api.main"],
            env={"DATABASE_URL": database_urls.app, "REDIS_URL": redis_url, "SWITCHBOARD_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
    assert done.returncode == 1
    expected = f"127.0.0.1:{port} is in use: stop what listens there, or set SWITCHBOARD_PORT to a free port.\n"
    assert done.stderr == expected


def test_a_wrong_setting_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "switchboard_api.main"],
        env={"PUBLIC_URL": "calls.example.com"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "PUBLIC_URL" in done.stderr
    assert "Traceback" not in done.stderr
