"""One process under supervision: started, awaited, stopped, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpx

from switchboard_cli.devstack.errors import DevstackError, StartError

_LAUNCHER = Path(__file__).with_name("_launch.py")
_POLL_SECONDS = 0.02
_TAIL_LINES = 20
_TAIL_BYTES = 8_192


class RunAs(NamedTuple):
    """The unprivileged user that root starts a process as."""

    name: str
    uid: int
    gid: int


def tied_to_starter(
    argv: Sequence[str], *, death_signal: signal.Signals | None, run_as: RunAs | None = None
) -> list[str]:
    """The command that becomes ``argv``, in the same process, so that it cannot outlive the one that starts it.

    Args:
        argv: program (a path) and its arguments.
        death_signal: sent by the kernel (Linux) when the starter ends in whatever way; None lets it live on.
        run_as: whom to become; only root may.
    """
    options = {
        "parent": os.getpid(),
        "death_signal": int(death_signal or 0),
        "uid": run_as.uid if run_as else None,
        "gid": run_as.gid if run_as else None,
    }
    return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(options), *argv]


class ManagedProcess:
    """A child process in a session of its own, whose output goes to a log file.

    Being in its own session it does not see the terminal's Ctrl-C: the starter decides the order in which things
    stop. On Linux the kernel ends it when the starter dies, however that happens.

    Args:
        name: what people call it, for messages.
        argv: program (a path) and its arguments.
        env: the whole environment of the process.
        log_path: file that its output is appended to; the pid is kept beside it, in ``<name of the log>.pid``.
        stop_signal: asks the process to end in good order.
        death_signal: sent by the kernel when the starter dies; None lets the process outlive it. The kernel takes the
            *thread* that called ``start`` for the starter, so call it from one that lives as long as the process.
        run_as: whom to become; only root may.
        cwd: working folder; the starter's by default.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log_path: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals | None = signal.SIGKILL,
        run_as: RunAs | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.env = dict(env)
        self.log_path = log_path
        self.pid_path = log_path.with_suffix(".pid")
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._run_as = run_as
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    @property
    def pid(self) -> int:
        """Its process id, also after it ended.

        Raises:
            DevstackError: it was never started.
        """
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, ``-signal`` when a signal ended it, None while it runs or before its start."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it and return at once.

        Raises:
            DevstackError: it is running already.
        """
        if self.running:
            raise DevstackError(f"{self.name} is already running with process id {self.pid}.")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        argv = tied_to_starter(self.argv, death_signal=self._death_signal, run_as=self._run_as)
        with self.log_path.open("ab") as log:
            self._log_offset = log.tell()
            self._process = subprocess.Popen(
                argv,
                env=self.env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid_path.write_text(f"{self._process.pid}\n", encoding="ascii")

    def wait_ready(self, ready: str | Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until it can be used.

        Args:
            ready: a URL that answers 2xx once it is ready, or a predicate.
            timeout: seconds.

        Raises:
            StartError: it ended, or was not ready in time; carries the end of its log.
        """
        is_ready = _http_probe(ready) if isinstance(ready, str) else ready
        deadline = time.monotonic() + timeout
        while not self.ended_within(_POLL_SECONDS):
            if is_ready():
                return
            if time.monotonic() > deadline:
                raise self._start_error(f"{self.name} was not ready within {timeout:g} s")
        raise self._start_error(f"{self.name} ended with status {self.returncode} before it was ready")

    def ended_within(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for its end; returns whether it ended."""
        try:
            self._started().wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self, grace: float = 10.0) -> int | None:
        """Ask it to end, and kill it and all its children when it has not after ``grace`` seconds.

        Returns:
            its exit status; None when it was never started.
        """
        if self._process is None:
            return None
        if self.running:
            self.send(self._stop_signal)
            self.resume()  # a paused process would not see the signal
            self.ended_within(grace)
        return self.kill()

    def kill(self) -> int | None:
        """End it and all processes of its group at once; returns its exit status, None when it was never started."""
        if self._process is None:
            return None
        self._send_group(signal.SIGKILL)
        status = self._process.wait()
        self.pid_path.unlink(missing_ok=True)
        return status

    def pause(self) -> None:
        """Stop the clock of the process and its children (SIGSTOP): alive, holding what it holds, doing nothing."""
        self._send_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._send_group(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its children; nothing happens when it ended."""
        self._started().send_signal(number)

    def log_tail(self) -> str:
        """The last lines written since the latest start."""
        try:
            with self.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_offset, end - _TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(deque(lines, maxlen=_TAIL_LINES))

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DevstackError(f"{self.name} has not been started.")
        return self._process

    def _send_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._started().pid, number)
        except (ProcessLookupError, PermissionError):
            # Nobody is left in the group; macOS reports a group of zombies as not permitted.
            return

    def _start_error(self, reason: str) -> StartError:
        return StartError(reason, self.log_path, self.log_tail())


def _http_probe(url: str) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            # trust_env: a proxy of the environment must not stand between us and loopback.
            return httpx.get(url, timeout=1.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    return is_ready
