"""Running other programs, and holding a lock so that two runs do not build the same thing twice."""

import fcntl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.console import say
from cluster.errors import ClusterError

LINES_SHOWN = 15


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float = 1800.0,
) -> str:
    """Run a program to its end and return what it wrote to standard output.

    Args:
        command: the program and its arguments.
        env: its whole environment; this process's own by default.
        cwd: where it runs.
        stdin: what it reads.
        timeout: seconds after which it is killed.

    Raises:
        ClusterError: it failed, is missing or took too long; the text holds the end of what it said.
    """
    words = [str(word) for word in command]
    try:
        ended = subprocess.run(
            words, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed or not on the PATH.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(words[:4])}` did not end within {timeout:g} s.") from error
    if ended.returncode != 0:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-LINES_SHOWN:]
        raise ClusterError("\n".join([f"`{' '.join(words[:4])}` failed with exit code {ended.returncode}:", *said]))
    return ended.stdout


def succeeds(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float = 60.0) -> bool:
    """Return whether a program ends well."""
    try:
        run(command, env=env, timeout=timeout)
    except ClusterError:
        return False
    return True


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock between processes while the body runs; the system drops it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that holds {path} …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
