"""``kubectl switchboard`` on a Switchboard that lives."""

import os
import tarfile
from pathlib import Path
from subprocess import CompletedProcess, run

from e2e.history import condition
from e2e.installation import Installation, secret_value
from e2e.lab import CHECKOUT

SCRIPTS = CHECKOUT / ".venv" / "bin"


def test_status_shows_everything_on_one_screen(first: Installation) -> None:
    said = _plugin(first, "status", first.name)
    assert said.returncode == 0, said.stdout + said.stderr
    for words in (first.name, "api", "worker", "recorder", "maintenance"):
        assert words in said.stdout
    assert len(said.stdout.splitlines()) < 60


def test_pause_is_told_and_resume_takes_it_back(first: Installation) -> None:
    assert _plugin(first, "pause", first.name).returncode == 0
    first.changed_elsewhere()
    first.await_reason("Progressing", "False", "Paused", 20)
    told = _plugin(first, "status", first.name)
    assert told.returncode == 1
    assert "resume" in told.stdout
    assert _plugin(first, "resume", first.name).returncode == 0
    first.changed_elsewhere()
    first.wait(lambda board: (condition(board, "Ready") or {})["status"] == "True", "it to be ready again", 60)


def test_a_report_for_support_holds_no_secret(first: Installation, tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    said = _plugin(first, "report", first.name, "--output", str(file))
    assert said.returncode == 0, said.stdout + said.stderr
    board = first.board()
    assert board is not None
    refs = [board["spec"]["database"]["secretRef"], board["spec"]["redis"]["secretRef"]]
    refs.append({"name": board["spec"]["carrier"]["secretRef"]["name"], "key": "authToken"})
    hidden = [secret_value(first.kube, ref["name"], ref["key"]).encode() for ref in refs]
    with tarfile.open(file) as archive:
        contents = [member.read() for each in archive if (member := archive.extractfile(each))]
    assert sum(map(len, contents)) > 1000
    assert not [secret for secret in hidden if any(secret in content for content in contents)]


def _plugin(installation: Installation, *arguments: str) -> "CompletedProcess[str]":
    """Run the plugin the way that people do, found on the PATH by kubectl."""
    kube = installation.kube
    env = kube.environment
    env["PATH"] = f"{SCRIPTS}{os.pathsep}{env['PATH']}"
    command = [str(kube.kubectl), "switchboard", arguments[0], "--namespace", kube.namespace, *arguments[1:]]
    return run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
