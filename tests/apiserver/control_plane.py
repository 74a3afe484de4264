"""A Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager on loopback."""

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import yaml

from apiserver.binaries import find_binary
from apiserver.certificates import make_certificates
from apiserver.client import Client

_START_S = 60.0
_STOP_S = 10.0

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "ttl-after-finished-controller",
)
"""What makes pods of Deployments and Jobs, and deletes what nobody owns any more."""

_WRITES = ["create", "update", "patch", "delete"]
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # The record of what was migrated and which pod was made when; of the rest, who did it.
        {
            "level": "Request",
            "verbs": _WRITES,
            "omitManagedFields": True,
            "resources": [
                {"group": "", "resources": ["pods"]},
                {"group": "batch", "resources": ["jobs", "jobs/status"]},
                {"group": "switchboard.dev", "resources": ["switchboards/status"]},
                {"group": "coordination.k8s.io", "resources": ["leases"]},
            ],
        },
        {"level": "Metadata", "verbs": _WRITES},
        {"level": "None"},
    ],
}


class StartError(Exception):
    """A server did not start; the message has its last words."""


@dataclass
class _Server:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """End of its log."""
        return self.log.read_text(errors="replace")[-2000:]


class ControlPlane:
    """Servers of one test session.

    Args:
        folder: for data, keys and logs; nothing of it is kept in use after ``stop``.
        controllers: start kube-controller-manager too.
    """

    def __init__(self, folder: Path, *, controllers: bool = True) -> None:
        self._folder = folder
        self._with_controllers = controllers
        self._servers: list[_Server] = []
        self._token = secrets.token_hex(16)
        self.certificates = make_certificates(folder / "keys")
        self.audit_log = folder / "audit.log"
        self.url = ""
        self._apiserver_command: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def admin(self) -> Client:
        """A client that may do everything."""
        return Client(self.url, self._token, self.certificates.authority)

    def kubeconfig(self, name: str, token: str, namespace: str = "default") -> Path:
        """Write a kubeconfig for a bearer of a token."""
        path = self._folder / f"{name}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {"server": self.url, "certificate-authority": str(self.certificates.authority)},
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "tests", "user": name, "namespace": namespace}}],
            "current-context": name,
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        path.chmod(0o600)
        return path

    def admin_kubeconfig(self) -> Path:
        """Kubeconfig of the administrator."""
        return self.kubeconfig("admin", self._token)

    def stop(self) -> None:
        """End every server that was started, the last one first; nothing of theirs is worth a clean end."""
        for server in reversed(self._servers):
            server.process.kill()
            server.process.wait(_STOP_S)
        self._servers = []

    def freeze_apiserver(self) -> None:
        """Let the API server accept connections and answer nothing."""
        self._apiserver().process.send_signal(signal.SIGSTOP)

    def thaw_apiserver(self) -> None:
        """Let it go on."""
        self._apiserver().process.send_signal(signal.SIGCONT)

    def kill_apiserver(self) -> None:
        """End it as a crash does; everything that it knew is in etcd."""
        server = self._apiserver()
        self._servers.remove(server)
        server.process.kill()
        server.process.wait(_STOP_S)

    def start_apiserver(self) -> None:
        """Start it, or start it again on the same port."""
        self._launch("kube-apiserver", *self._apiserver_command)
        self._await_ready()

    def _apiserver(self) -> _Server:
        return next(server for server in self._servers if server.name == "kube-apiserver")

    def _start(self) -> None:
        client_port, peer_port, port = _free_ports(3)
        etcd_url = f"http://127.0.0.1:{client_port}"
        peer_url = f"http://127.0.0.1:{peer_port}"
        self._launch(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            # The data live as long as the test.
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self.url = f"https://127.0.0.1:{port}"
        self._apiserver_command = self._apiserver_options(etcd_url, port)
        self.start_apiserver()
        if self._with_controllers:
            self._launch(
                "kube-controller-manager",
                f"--kubeconfig={self.admin_kubeconfig()}",
                f"--controllers={','.join(CONTROLLERS)}",
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                "--concurrent-gc-syncs=10",
            )

    def _apiserver_options(self, etcd_url: str, port: int) -> list[str]:
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f'{self._token},admin,admin,"system:masters"\n', encoding="utf-8")
        tokens.chmod(0o600)
        policy = self._folder / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY), encoding="utf-8")
        keys = self.certificates
        return [
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self._folder}",
            f"--tls-cert-file={keys.server}",
            f"--tls-private-key-file={keys.server_key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys.token_key}",
            f"--service-account-signing-key-file={keys.token_key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--event-ttl=1h",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            # Marks are positions in one file.
            "--audit-log-maxsize=10000",
            "--shutdown-delay-duration=0s",
        ]

    def _launch(self, name: str, *options: str) -> None:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(find_binary(name)), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # An interrupted test run stops them itself, in the right order.
                start_new_session=True,
            )
        self._servers.append(_Server(name, process, log))

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        with self.admin as client:
            while time.monotonic() < deadline:
                for server in self._servers:
                    if server.process.poll() is not None:
                        msg = f"{server.name} ended with {server.process.returncode}: {server.last_words()}"
                        raise StartError(msg)
                with contextlib.suppress(httpx.HTTPError):
                    if client.is_ready():
                        return
                # The one place where nothing can be waited on: nobody listens yet.
                time.sleep(0.05)
        msg = f"kube-apiserver is not ready after {_START_S:g} s: {self._servers[-1].last_words()}"
        raise StartError(msg)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
