"""The script of the Job that makes Helm wait: its own service account, a real API server, statuses as they come."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from apiserver.client import ApiRefusedError, Client
from apiserver.control_plane import ControlPlane
from charts.releases import Helm
from charts.scripts import FOLDER
from waiting import await_true

pytestmark = pytest.mark.usefixtures("operator")

_ENDS_WITHIN_S = 30.0


@dataclass
class Waiting:
    """The script at work, for the Switchboard ``main``."""

    client: Client
    namespace: str
    log: Path
    process: subprocess.Popen[bytes]

    def await_said(self, words: str) -> None:
        """Wait until it has said something."""
        await_true(lambda: words in self.log.read_text("utf-8"), f"{words!r} from the wait Job")

    def ended_with(self) -> int:
        """Wait until it ends; returns its exit status."""
        return self.process.wait(_ENDS_WITHIN_S)

    def report(self, status: str, reason: str, message: str) -> None:
        """Write a condition as the operator would, for the spec as it is now."""
        generation = self.client.get("Switchboard", self.namespace, "main")["metadata"]["generation"]
        condition = {
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": generation,
        }
        change = {"status": {"observedGeneration": generation, "conditions": [condition]}}
        self.client.patch("Switchboard", self.namespace, "main", change, subresource="status")


@pytest.fixture
def account(helm: Helm, client: Client, namespace: str, control_plane: ControlPlane, tmp_path: Path) -> Path:
    """What a pod of the wait Job finds of its service account."""
    helm.install_trial(namespace)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/main-wait/token"
    token = client.request("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(token["status"]["token"], "utf-8")
    (folder / "ca.crt").write_bytes(control_plane.certificates.authority.read_bytes())
    return folder


@pytest.fixture
def waiting(
    account: Path, client: Client, namespace: str, control_plane: ControlPlane, tmp_path: Path
) -> Iterator[Waiting]:
    """The script, started."""
    with started(control_plane.url, account, namespace, tmp_path / "wait.log") as process:
        yield Waiting(client, namespace, tmp_path / "wait.log", process)


@contextmanager
def started(url: str, account: Path, namespace: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    at = urlsplit(url)
    environment = {
        "PATH": os.environ["PATH"],
        "KUBERNETES_SERVICE_HOST": str(at.hostname),
        "KUBERNETES_SERVICE_PORT": str(at.port),
        "SERVICE_ACCOUNT_FOLDER": str(account),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(FOLDER / "wait.py"), namespace, "main"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(_ENDS_WITHIN_S)


def test_helm_waits_until_the_operator_says_ready(waiting: Waiting) -> None:
    waiting.await_said("Waiting for the operator")
    waiting.report("False", "RollingOut", "Waiting for main-api (0 of 2 ready).")
    waiting.await_said("RollingOut: Waiting for main-api (0 of 2 ready).")
    waiting.report("True", "Ready", "Release 0.1.0 serves.")

    assert waiting.ended_with() == 0
    assert "Ready: Release 0.1.0 serves." in waiting.log.read_text("utf-8")


def test_helm_is_told_of_a_failed_migration_at_once_and_why(waiting: Waiting) -> None:
    waiting.await_said("Waiting for the operator")
    waiting.report("False", "MigrationFailed", "Attempt 4 of 4 failed with exit code 1.")

    assert waiting.ended_with() == 1
    assert "MigrationFailed: Attempt 4 of 4 failed" in waiting.log.read_text("utf-8")


def test_helm_does_not_take_the_release_before_for_the_one_that_it_applied(waiting: Waiting, helm: Helm) -> None:
    waiting.report("False", "RollingOut", "Soon.")
    waiting.await_said("Soon.")
    helm.install_trial(waiting.namespace, "--set", "spec.version=0.2.0")
    change = [{"op": "replace", "path": "/status/conditions/0/status", "value": "True"}]
    waiting.client.patch("Switchboard", waiting.namespace, "main", change, subresource="status")
    waiting.await_said("Waiting for the operator to take it up")
    waiting.report("True", "Ready", "Release 0.2.0 serves.")

    assert waiting.ended_with() == 0


def test_the_account_may_read_its_switchboard_and_nothing_else(
    account: Path, namespace: str, control_plane: ControlPlane
) -> None:
    token = (account / "token").read_text("utf-8")
    root = f"/apis/switchboard.dev/v1alpha1/namespaces/{namespace}/switchboards"
    with Client(control_plane.url, token, control_plane.certificates.authority) as found:
        assert found.request("GET", f"{root}/main")["metadata"]["name"] == "main"
        for verb, path in (
            ("GET", root),
            ("GET", f"{root}/other"),
            ("DELETE", f"{root}/main"),
            ("GET", f"/api/v1/namespaces/{namespace}/secrets/main-trial"),
        ):
            with pytest.raises(ApiRefusedError, match="403"):
                found.request(verb, path)
