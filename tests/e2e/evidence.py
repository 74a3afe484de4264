"""What a failed test leaves for a person to look at: a folder for each, below ``.tools/e2e``."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.history import History
from e2e.kube import Kube

ROOT = Path(__file__).parents[2] / ".tools" / "e2e"

_VIEWS = {
    "switchboards.yaml": ("get", "switchboards", "-o", "yaml"),
    "pods.txt": ("get", "pods", "-o", "wide"),
    "pods.yaml": ("get", "pods", "-o", "yaml"),
    "objects.txt": ("get", "deployments,replicasets,jobs,services,pvc,secrets,poddisruptionbudgets", "-o", "wide"),
    "events.txt": ("get", "events", "--sort-by=.lastTimestamp"),
}


def collect(test: str, opened: Sequence[tuple[Kube, History]]) -> Path:
    """Write down how things are.

    Args:
        test: its name.
        opened: namespaces, and what was told about each.

    Returns:
        The folder.
    """
    folder = ROOT / test
    for kube, history in opened:
        _look(folder / kube.namespace, kube)
        lines = [json.dumps({"at": each.at, "event": each.event, **each.body}) for each in history]
        (folder / kube.namespace / "history.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _look(folder: Path, kube: Kube) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in _VIEWS.items():
        _write(folder / name, kube, *arguments)
    pods = kube.try_run("get", "pods", "-o", "name").stdout.split()
    for pod in pods:
        name = pod.partition("/")[2]
        _write(folder / f"{name}.log", kube, "logs", name, "--all-containers")
        _write(folder / f"{name}.previous.log", kube, "logs", name, "--all-containers", "--previous")


def _write(path: Path, kube: Kube, *arguments: str) -> None:
    """What a command says; looking must not fail, whatever is wrong in the cluster."""
    try:
        ended = kube.try_run(*arguments)
    except subprocess.TimeoutExpired as error:
        path.write_text(str(error), encoding="utf-8")
        return
    if ended.returncode == 0 or not path.name.endswith(".previous.log"):
        path.write_text(ended.stdout + ended.stderr, encoding="utf-8")
