"""The files of a PostgreSQL server: made by initdb, and the reasons why a server refuses them."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from switchboard_cli.devstack.errors import DevstackError, DiskFullError, StartError
from switchboard_cli.devstack.folders import MINIMUM_FREE_BYTES
from switchboard_cli.devstack.pginstall import run_as
from switchboard_cli.devstack.process import RunAs

SUPERUSER = "postgres"
_TAIL_LINES = 20


def make_cluster(cluster: Path, programs: Path, user: RunAs | None, password: str, *, sync: bool) -> None:
    """Make the files of a new server.

    initdb works beside the final place, so that one that was interrupted is never taken for a cluster.

    Args:
        cluster: folder to make; its parent exists and can be entered by ``user``.
        programs: folder of ``initdb``.
        user: whom the server runs as.
        password: of the superuser.
        sync: whether to wait until the disk has it.

    Raises:
        DevstackError: initdb failed; says why.
    """
    unfinished = cluster.with_name(f"{cluster.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=cluster.parent, prefix="initdb-", encoding="utf-8") as password_file:
        password_file.write(password)
        password_file.flush()
        if user is not None:
            for path in (unfinished, password_file.name):
                os.chown(path, user.uid, user.gid)
        _initdb(programs, unfinished, Path(password_file.name), user, sync=sync)
    unfinished.rename(cluster)


def _initdb(programs: Path, cluster: Path, password_file: Path, user: RunAs | None, *, sync: bool) -> None:
    argv = [
        str(programs / "initdb"),
        f"--pgdata={cluster}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The same order and case rules on every machine, whatever locales it has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        *_sync_options(sync=sync),
    ]
    done = run_as(user, argv, cwd=cluster.parent, env=server_environment())
    if done.returncode != 0:
        log_path = cluster.with_name("initdb.log")
        log_path.write_bytes(done.stdout)
        tail = "\n".join(done.stdout.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
        raise explained(StartError("PostgreSQL's initdb failed", log_path, tail), cluster.parent)


def _sync_options(*, sync: bool) -> list[str]:
    if not sync:
        return ["--no-sync"]
    # One call for the whole file system instead of one for each of a thousand files: seconds on a slow disk.
    return ["--sync-method=syncfs"] if sys.platform == "linux" else []


def explained(error: StartError, data_dir: Path) -> DevstackError:
    """The sentence for causes that people can cure; the error itself for all others."""
    if "No space left on device" in error.log_tail:
        return DiskFullError(data_dir, shutil.disk_usage(data_dir).free, MINIMUM_FREE_BYTES)
    if 'lock file "postmaster.pid" already exists' in error.log_tail:
        return DevstackError(
            f"Another PostgreSQL server uses {data_dir}: stop the run that started it or choose another folder."
        )
    return error


def server_environment() -> dict[str, str]:
    """The starter's environment, in English and without PG* variables, which would redirect the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
