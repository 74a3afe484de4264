"""The cluster as a person sees it: ``kubectl``, in one namespace.

Everything goes through ``kubectl``, so that each step of a failed test can be repeated by hand.
"""

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]

_FORWARD_S = 30.0
_TERMINATE_S = 10.0


class ProgramError(AssertionError):
    """A command failed; the message holds what it was and what it said."""


@dataclass(frozen=True)
class Kube:
    """One namespace of one cluster.

    Attributes:
        kubectl: the binary.
        kubeconfig: of the cluster.
        namespace: that every command is about; empty for objects that say it themselves.
    """

    kubectl: Path
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> "Kube":
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a program to this cluster and to the project's ``kubectl``."""
        path = f"{self.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def command(self, *arguments: str) -> list[str]:
        """A command line of ``kubectl``."""
        where = [f"--namespace={self.namespace}"] if self.namespace else []
        return [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *where, *arguments]

    def try_run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command that may fail.

        Args:
            arguments: of ``kubectl``.
            stdin: what it reads.
            timeout: seconds.
        """
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Run a command and return what it printed.

        Raises:
            ProgramError: it failed.
        """
        ended = self.try_run(*arguments, stdin=stdin, timeout=timeout)
        if ended.returncode != 0:
            shown = " ".join(arguments)
            msg = f"kubectl {shown} (namespace {self.namespace}) ended with {ended.returncode}: {ended.stderr.strip()}"
            raise ProgramError(msg)
        return ended.stdout

    def get(self, kind: str, name: str) -> Json | None:
        """One object; None when there is none."""
        text = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        found: Json | None = json.loads(text) if text.strip() else None
        return found

    def list(self, kind: str, selector: str = "") -> list[Json]:
        """Objects of a kind that match a label selector."""
        found: list[Json] = json.loads(self.run("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Make objects, or bring them to what the manifests say."""
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self.run("apply", "-f", "-", stdin=items)

    def merge(self, kind: str, name: str, change: Mapping[str, Any]) -> None:
        """Change fields of an object as ``kubectl patch --type merge`` does."""
        self.run("patch", kind, name, "--type", "merge", "-p", json.dumps(change))

    def execute(self, where: str, *argv: str, stdin: str | None = None, timeout: float = 120.0) -> str:
        """Run a program inside a pod (``deploy/name`` picks one of a Deployment) and return what it printed."""
        with_input = ("-i",) if stdin is not None else ()
        return self.run("exec", *with_input, where, "--", *argv, stdin=stdin, timeout=timeout)

    def logs(self, pod: str, *more: str) -> str:
        """Everything that a pod has logged."""
        return self.run("logs", pod, *more)

    @contextmanager
    def forward(self, where: str, port: int) -> Iterator[int]:
        """Reach a port inside the cluster on loopback.

        Args:
            where: ``svc/name`` or ``pod/name``; of a service, one pod that lives as long as this is needed.
            port: over there.

        Yields:
            The port on 127.0.0.1.
        """
        command = self.command("port-forward", "--address=127.0.0.1", where, f":{port}")
        with _listening(command, r"127\.0\.0\.1:(\d+) ->") as local:
            yield local

    @contextmanager
    def proxy(self) -> Iterator[str]:
        """The API server as plain HTTP on loopback.

        Yields:
            Its URL.
        """
        with _listening(self.command("proxy", "--port=0"), r"Starting to serve on 127\.0\.0\.1:(\d+)") as local:
            yield f"http://127.0.0.1:{local}"


@contextmanager
def _listening(command: Sequence[str], says: str) -> Iterator[int]:
    """A command that runs as long as it is needed, and says at which port.

    Args:
        command: of ``kubectl``.
        says: pattern of the line, with the port as its group.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            yield _port_in(process.stdout, says, command)
        finally:
            process.terminate()
            try:
                process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _port_in(output: IO[str], says: str, command: Sequence[str]) -> int:
    deadline = time.monotonic() + _FORWARD_S
    said = ""
    while time.monotonic() < deadline:
        if not select.select([output], [], [], 0.5)[0]:
            continue
        line = output.readline()
        said += line
        if found := re.search(says, line):
            return int(found[1])
        if not line:
            break
    msg = f"{' '.join(command)} did not begin: {said.strip()}"
    raise ProgramError(msg)


def program(
    argv: Sequence[str | Path], environment: Mapping[str, str], *, timeout: float, stdin: str | None = None
) -> str:
    """Run a program of this machine and return what it printed.

    Args:
        argv: the program and its arguments.
        environment: its whole environment.
        timeout: seconds.
        stdin: what it reads.

    Raises:
        ProgramError: it failed.
    """
    ended = subprocess.run(
        [str(part) for part in argv],
        env=dict(environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if ended.returncode != 0:
        shown = " ".join(str(part) for part in argv)
        msg = f"{shown} ended with {ended.returncode}:\n{ended.stdout.strip()}\n{ended.stderr.strip()}"
        raise ProgramError(msg)
    return ended.stdout
