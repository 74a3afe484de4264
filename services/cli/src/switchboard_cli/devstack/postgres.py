"""PostgreSQL 18 from a wheel, on loopback, as root and as anybody else."""

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

import psycopg
from psycopg import sql

from switchboard_cli.devstack.cluster import SUPERUSER, explained, make_cluster, server_environment
from switchboard_cli.devstack.errors import DevstackError, StartError
from switchboard_cli.devstack.folders import require_free_disk
from switchboard_cli.devstack.pginstall import programs_for, require_reachable, server_user
from switchboard_cli.devstack.ports import LOOPBACK, free_port, require_free_port
from switchboard_cli.devstack.process import ManagedProcess, RunAs, tied_to_starter

OWNER_ROLE = "switchboard_owner"
APP_ROLE = "switchboard_app"
DATABASE = "switchboard"

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_STILL_IN_USE = "is still in use"
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class DatabaseUrls(NamedTuple):
    """SQLAlchemy URLs of one database: for migrations, and for the services."""

    owner: str
    app: str


@dataclass(frozen=True)
class _Passwords:
    """Passwords of the three roles, kept beside the data in a file that only the starter can read."""

    superuser: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    owner: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    app: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class EmbeddedPostgres:
    """A PostgreSQL server of one's own in one folder.

    It listens on loopback only and asks for passwords (scram). ``switchboard_owner`` owns the databases;
    ``switchboard_app`` may connect to them, owns nothing and is subject to row-level security.

    Args:
        data_dir: the server's folder; made when missing, used again when it holds a server's data.
        settings: server settings that go before the defaults, e.g. ``{"log_statement": "all"}``.
        fsync: False trades safety against power loss for speed. Killed processes lose nothing either way.
        port: TCP port; a free one by default, kept over restarts.
        die_with_parent: False lets the server outlive the process that started it.
        passwords: of ``OWNER_ROLE`` and ``APP_ROLE``, set at every start; by default some are made up and kept.
        start_timeout: seconds that a start may take, crash recovery included.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] = _NO_SETTINGS,
        fsync: bool = True,
        port: int | None = None,
        die_with_parent: bool = True,
        passwords: Mapping[str, str] = _NO_SETTINGS,
        start_timeout: float = _START_SECONDS,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / "postgres.log"
        self.port = port or free_port()
        self._cluster = self.data_dir / "data"
        self._settings = dict(settings)
        self._fsync = fsync
        self._die_with_parent = die_with_parent
        self._given_passwords = dict(passwords)
        self._start_timeout = start_timeout
        self._process: ManagedProcess | None = None
        self._passwords: _Passwords | None = None

    @property
    def pid(self) -> int:
        """Process id of the server's first process.

        Raises:
            DevstackError: it was never started.
        """
        return self._managed().pid

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.running

    @property
    def owner_url(self) -> str:
        """SQLAlchemy URL of the database ``switchboard`` for its owner."""
        return self.urls(DATABASE).owner

    @property
    def app_url(self) -> str:
        """SQLAlchemy URL of the database ``switchboard`` for the application's role."""
        return self.urls(DATABASE).app

    def urls(self, database: str) -> DatabaseUrls:
        """URLs of a database of this server, whether it exists or not."""
        passwords = self._known_passwords()
        at = f"{LOOPBACK}:{self.port}/{database}"
        return DatabaseUrls(
            owner=f"postgresql+psycopg://{OWNER_ROLE}:{passwords.owner}@{at}",
            app=f"postgresql+psycopg://{APP_ROLE}:{passwords.app}@{at}",
        )

    def start(self) -> None:
        """Start the server and wait until it answers; the first start makes cluster, roles and database.

        Raises:
            DevstackError: it cannot start; the subclass and its sentence say why and what to do.
        """
        if self.running:
            return
        require_free_port(self.port, "PostgreSQL")
        require_free_disk(self.data_dir)
        user = server_user()
        self._prepare_folder(user)
        programs = programs_for(user, self.data_dir)
        self._passwords = self._stored_passwords()
        if not self._cluster.exists():
            make_cluster(self._cluster, programs, user, self._passwords.superuser, sync=self._fsync)
        # Kubernetes opens a volume to its group when it mounts it, and PostgreSQL refuses data that others can read.
        self._cluster.chmod(0o700)
        self._process = self._server(programs, user)
        self._start_when_released()
        self._ensure_roles_and_database()

    def command(self, settings: Mapping[str, str]) -> list[str]:
        """The server's program and arguments, for a caller that runs it by itself once this one is stopped.

        Args:
            settings: of the server; they go before those of this object.

        Raises:
            DevstackError: it was never started, so its files may not exist yet.
        """
        self._managed()
        user = server_user()
        argv = self._argv(programs_for(user, self.data_dir), settings)
        return tied_to_starter(argv, death_signal=signal.SIGQUIT, run_as=user)

    def stop(self) -> None:
        """Disconnect everybody, write everything out and stop. Nothing happens when it does not run."""
        if self._process is not None:
            self._process.terminate(_STOP_SECONDS)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the server without a shutdown; what was committed is recovered at the next start.

        Args:
            number: SIGKILL, or SIGQUIT for PostgreSQL's own immediate shutdown.
        """
        process = self._managed()
        process.send(number)
        process.ended_within(_STOP_SECONDS)
        process.kill()

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start on the same port; ``immediate`` goes through crash recovery instead of a clean shutdown."""
        if immediate:
            self.kill(signal.SIGQUIT)
        else:
            self.stop()
        self.start()

    def create_database(self, name: str, *, template: str | None = None) -> DatabaseUrls:
        """Create a database that belongs to the owner and that the application may use.

        Args:
            name: its name.
            template: a database to copy, which nobody may be connected to.
        """
        copied = sql.SQL("TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        names = {"name": sql.Identifier(name), "owner": sql.Identifier(OWNER_ROLE), "app": sql.Identifier(APP_ROLE)}
        with self._superuser() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {name} OWNER {owner} ").format(**names) + copied)
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))
            # TEMPORARY: bulk imports stage their rows in a temporary table.
            connection.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {app}").format(**names))
        return self.urls(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, disconnecting whoever uses it; nothing happens when there is none."""
        with self._superuser() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _managed(self) -> ManagedProcess:
        if self._process is None:
            raise DevstackError("PostgreSQL has not been started.")
        return self._process

    def _prepare_folder(self, user: RunAs | None) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700 if user is None else 0o711)
        require_reachable(self.data_dir, user)

    def _known_passwords(self) -> _Passwords:
        if self._passwords is None:
            raise DevstackError("PostgreSQL has not been started, so it has no URL yet.")
        return self._passwords

    def _stored_passwords(self) -> _Passwords:
        path = self.data_dir / "passwords.json"
        stored = _Passwords(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else _Passwords()
        passwords = replace(
            stored,
            owner=self._given_passwords.get(OWNER_ROLE, stored.owner),
            app=self._given_passwords.get(APP_ROLE, stored.app),
        )
        if passwords != stored or not path.exists():
            _write_private(path, json.dumps(asdict(passwords)))
        return passwords

    def _server(self, programs: Path, user: RunAs | None) -> ManagedProcess:
        return ManagedProcess(
            "PostgreSQL",
            self._argv(programs, _NO_SETTINGS),
            server_environment(),
            self.log_path,
            stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for the clients to leave
            death_signal=signal.SIGQUIT if self._die_with_parent else None,
            run_as=user,
            cwd=self.data_dir,
        )

    def _argv(self, programs: Path, further: Mapping[str, str]) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            # No socket file: its path has a length limit that a deep folder exceeds.
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self._fsync else "off",
            # Torn pages come from power loss only. synchronous_commit stays on: without it a killed server would
            # lose commits, and tests kill it.
            "full_page_writes": "on" if self._fsync else "off",
            **self._settings,
            **further,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(programs / "postgres"), "-D", str(self._cluster), *options]

    def _start_when_released(self) -> None:
        """Start; after a kill the last processes of the old server may hold its shared memory for a moment."""
        process = self._managed()
        deadline = time.monotonic() + self._start_timeout
        while True:
            process.start()
            try:
                process.wait_ready(self._is_ready, self._start_timeout)
            except StartError as error:
                process.kill()
                if _STILL_IN_USE not in error.log_tail or time.monotonic() > deadline:
                    raise explained(error, self.data_dir) from None
            else:
                return

    def _is_ready(self) -> bool:
        # The server's own word for it: line 1 is the pid, line 8 the status.
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    @contextmanager
    def _superuser(self) -> Iterator[psycopg.Connection[Any]]:
        password = self._known_passwords().superuser
        with psycopg.connect(
            host=LOOPBACK, port=self.port, user=SUPERUSER, password=password, dbname="postgres", autocommit=True
        ) as connection:
            yield connection

    def _ensure_roles_and_database(self) -> None:
        """Make what is missing, and let the passwords be those that are known here.

        A first start that was interrupted is completed by the next.
        """
        passwords = self._known_passwords()
        with self._superuser() as connection:
            for role, password in ((OWNER_ROLE, passwords.owner), (APP_ROLE, passwords.app)):
                if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
                    attributes = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS")
                    connection.execute(sql.SQL("CREATE ROLE {} ").format(sql.Identifier(role)) + attributes)
                _set_password(connection, role, password)
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if exists is None:
            self.create_database(DATABASE)


def _set_password(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    # The verifier instead of the password: a failing statement would be written to the server's log.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
