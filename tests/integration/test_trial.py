"""``switchboard trial``: the servers of a trial as processes, started, used, stopped and started again."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from cli_support import ran, started
from processes import wait_until_gone
from switchboard_cli.devstack import APP_ROLE, LOOPBACK, OWNER_ROLE, free_port, temporary_folder
from switchboard_cli.trial import postgresql, valkey
from waiting import await_true

OWNER, APP = "owner-of-the-test", "app-of-the-test"


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    port: int

    def connect(self, role: str = APP_ROLE, password: str = APP) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=LOOPBACK, port=self.port, user=role, password=password, dbname="switchboard", autocommit=True
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as made:
        yield made


@contextmanager
def process_of(*arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    with started("trial", *arguments, **env) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=30)


@contextmanager
def postgres(folder: Path, app_password: str = APP) -> Iterator[Running]:
    port = free_port()
    env = {"OWNER_PASSWORD": OWNER, "APP_PASSWORD": app_password}
    with process_of("postgresql", "--data", str(folder), "--port", str(port), **env) as process:
        await_true(
            lambda: process.poll() is not None or postgresql.why_not_ready(port, app_password) is None, "PostgreSQL"
        )
        assert process.poll() is None, process.communicate()
        yield Running(process, port)


@contextmanager
def started_valkey() -> Iterator[Running]:
    port = free_port()
    with process_of("valkey", "--port", str(port), PASSWORD=APP) as process:
        await_true(lambda: process.poll() is not None or valkey.why_not_ready(port, APP) is None, "Valkey")
        assert process.poll() is None, process.communicate()
        yield Running(process, port)


# PostgreSQL


def test_a_trial_database_can_be_migrated_and_is_there_after_a_restart(folder: Path) -> None:
    with postgres(folder) as server:
        url = f"postgresql+psycopg://{OWNER_ROLE}:{OWNER}@{LOOPBACK}:{server.port}/switchboard"
        assert ran("migrate", MIGRATION_DATABASE_URL=url).status == 0
        with server.connect() as connection:
            before = connection.execute("SELECT * FROM schema_state").fetchall()
        assert server.stop() == 0
    with postgres(folder) as again, again.connect() as connection:
        assert connection.execute("SELECT * FROM schema_state").fetchall() == before != []


def test_it_listens_everywhere_with_room_for_200_connections(folder: Path) -> None:
    with postgres(folder) as server, server.connect() as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("listen_addresses", "max_connections")]
        assert shown == [("*",), ("200",)]
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_it_stops_in_good_order_although_somebody_is_connected(folder: Path) -> None:
    with postgres(folder) as server:
        connection = server.connect()
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        connection.close()
        _, said = server.process.communicate(timeout=10)
        assert "received fast shutdown request" in said
        assert "database system is shut down" in said


def test_the_password_of_the_environment_is_the_password_from_then_on(folder: Path) -> None:
    with postgres(folder) as server:
        assert server.stop() == 0
    with postgres(folder, app_password="another") as server:
        server.connect(password="another").close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            server.connect()


def test_data_that_a_volume_opened_to_its_group_is_closed_again(folder: Path) -> None:
    with postgres(folder) as server:
        assert server.stop() == 0
    cluster = folder / "postgresql" / "data"
    cluster.chmod(0o2770)
    with postgres(folder):
        assert cluster.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's death signal")
def test_no_server_is_left_when_the_command_is_killed(folder: Path) -> None:
    with postgres(folder) as server:
        pid = int((folder / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()[0])
        server.stop(signal.SIGKILL)
        wait_until_gone([pid])


def test_the_check_says_why_postgresql_cannot_be_used_yet() -> None:
    answer = ran("trial", "check", "postgresql", "--port", str(free_port()), APP_PASSWORD=APP)
    assert answer.status == 1
    assert "postgresql is not ready" in answer.err
    assert "refused" in answer.err


@pytest.mark.parametrize(
    ("arguments", "env", "missing"),
    [
        (("postgresql",), {"APP_PASSWORD": APP}, "OWNER_PASSWORD"),
        (("postgresql",), {"OWNER_PASSWORD": OWNER}, "APP_PASSWORD"),
        (("valkey",), {}, "PASSWORD"),
    ],
)
def test_a_missing_password_is_asked_for(arguments: tuple[str, ...], env: dict[str, str], missing: str) -> None:
    answer = ran("trial", *arguments, **env)
    assert (answer.status, answer.err) == (
        2,
        f"Error: {missing} is not set: give the server a password in the environment.\n",
    )


# Valkey


def test_valkey_asks_for_the_password_and_evicts_nothing() -> None:
    with started_valkey() as server:
        with redis.Redis(port=server.port, password=APP) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=server.port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        assert ran("trial", "check", "valkey", "--port", str(server.port), PASSWORD=APP).status == 0
        assert server.stop() == 0


def test_a_port_that_is_taken_is_named() -> None:
    with started_valkey() as server:
        answer = ran("trial", "valkey", "--port", str(server.port), PASSWORD=APP)
    assert answer.status == 1
    assert f"Port {server.port}, wanted by Valkey, is already in use" in answer.err
