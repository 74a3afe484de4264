"""PostgreSQL as the main process: prepared out of reach first, so that whoever can connect finds everything there."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg

from switchboard_cli.devstack import APP_ROLE, LOOPBACK, OWNER_ROLE, EmbeddedPostgres, require_free_port
from switchboard_cli.devstack.cluster import SUPERUSER, server_environment
from switchboard_cli.devstack.postgres import DATABASE
from switchboard_cli.stopping import stops_interrupt
from switchboard_cli.trial.foreground import run_in_foreground

# A killed server reads its log again before it answers: minutes on a slow disk.
_START_SECONDS = 600.0
_PROBE_SECONDS = 2

_ACCESS = f"""\
# The superuser from inside the container only; everybody else with a password, from everywhere.
host all {SUPERUSER} {LOOPBACK}/32 scram-sha-256
host all {SUPERUSER} all reject
host all all all scram-sha-256
"""


def run_postgresql(data: Path, port: int, *, owner_password: str, app_password: str, say: Callable[[str], None]) -> int:
    """Run PostgreSQL until SIGTERM, on all addresses, with the database ``switchboard`` and its two roles.

    Data is kept and used again. The passwords are set at every start.

    Args:
        data: folder for everything that is kept; made when missing.
        port: TCP port.
        owner_password: of ``switchboard_owner``, who owns the database.
        app_password: of ``switchboard_app``, whom the services connect as.
        say: told what is being done.

    Returns:
        the exit status of the server.

    Raises:
        DevstackError: the port is in use or the files cannot be prepared; says why.
    """
    require_free_port(port, "PostgreSQL")
    server = EmbeddedPostgres(
        data / "postgresql",
        passwords={OWNER_ROLE: owner_password, APP_ROLE: app_password},
        start_timeout=_START_SECONDS,
    )
    with stops_interrupt(), ExitStack() as cleanup:
        # Before the start: one that is interrupted half way leaves something to stop, too.
        cleanup.callback(server.stop)
        say("preparing the database and its roles")
        server.start()
    access = server.data_dir / "pg_hba.conf"
    access.write_text(_ACCESS, encoding="ascii")
    say(f"PostgreSQL for trials and tests only, on port {port}")
    command = server.command(
        {
            "listen_addresses": "*",
            "port": str(port),
            "hba_file": str(access),
            # Parallel queries need more shared memory than containers are given (64 MB).
            "max_parallel_workers": "0",
        }
    )
    return run_in_foreground(command, server_environment(), stop_signal=signal.SIGINT)  # SIGINT: a fast shutdown


def why_not_ready(port: int, app_password: str) -> str | None:
    """Say why the services could not use PostgreSQL on this machine now; None when they could."""
    try:
        psycopg.connect(
            host=LOOPBACK,
            port=port,
            dbname=DATABASE,
            user=APP_ROLE,
            password=app_password,
            connect_timeout=_PROBE_SECONDS,
        ).close()
    except psycopg.Error as error:
        return str(error)
    return None
