"""The operator as it runs in its pod: a process of its own, started, stopped, killed and frozen by signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from waiting import await_true

_STOP_S = 20.0


class OperatorProcess:
    """One replica.

    Args:
        identity: of the pod.
        kubeconfig: of its service account.
        home: namespace of the Lease.
        namespaces: that it watches; none for all.
        log: where its output is appended.
        lease: name of the Lease.
    """

    def __init__(
        self,
        identity: str,
        kubeconfig: Path,
        home: str,
        namespaces: tuple[str, ...],
        log: Path,
        lease: str = "switchboard-operator",
    ) -> None:
        self.identity = identity
        self.log = log
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": identity,
            "POD_NAMESPACE": home,
            "WATCH_NAMESPACES": ",".join(namespaces),
            "LEASE_NAME": lease,
            "HEALTH_PORT": "0",
            "LOG_LEVEL": "INFO",
            "LOG_FORMAT": "json",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it."""
        assert self._process is None
        self._log_begins = len(self.log.read_text("utf-8").splitlines()) if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "switchboard_operator"],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def terminate(self) -> int:
        """Ask it to end, as Kubernetes does, and wait; returns its exit code."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        code = process.wait(_STOP_S)
        self._process = None
        return code

    def await_end(self, within_s: float) -> int:
        """Wait until it ends by itself; returns its exit code."""
        code = self._running().wait(within_s)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash does; also one that is frozen, or that has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)
            self._process = None

    def freeze(self) -> None:
        """Stop its clock: everything in it stands still."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, as if no time had passed for it."""
        self._running().send_signal(signal.SIGCONT)

    def await_log(self, words: str, within_s: float = 20.0) -> None:
        """Wait until the newest process of this replica has said something."""
        await_true(lambda: any(words in line for line in self._lines()), f"{self.identity} to say {words!r}", within_s)

    def await_watching(self) -> None:
        """Wait until it is ready: it watches, whether it leads or not."""
        await_true(lambda: bool(self._started_at()), f"{self.identity} to start", 20.0)
        await_true(lambda: self.ask("/readyz")[0] == 200, f"{self.identity} to be ready", 20.0)

    def is_running(self) -> bool:
        """It was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of one of its pages: ``/healthz``, ``/readyz`` or ``/metrics``."""
        port = self._started_at()
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
        return answer.status_code, answer.text

    def _started_at(self) -> int:
        """Port on which the newest process of this replica serves its pages; 0 before it says so."""
        started = (json.loads(line) for line in self._lines() if '"event": "started"' in line)
        return next((int(line["health_port"]) for line in started), 0)

    def _lines(self) -> list[str]:
        return self.log.read_text("utf-8").splitlines()[self._log_begins :]

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._running().pid

    def has_ended(self) -> bool:
        """It has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the operator was not started"
        return self._process
