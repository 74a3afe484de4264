"""Steady HTTP load on the api, from a pod beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.console import say
from e2e.history import History
from e2e.kube import Json, Kube
from e2e.manifests import plain_pod

SCRIPT = Path(__file__).with_name("load_script.py")
_NAME = "load"
_STOP_FILE = "/tmp/stop"


@dataclass
class Load:
    """What came of it; filled when the load has ended.

    Attributes:
        failures: one entry for each request that failed.
        summary: figures: ``requests``, ``failures``, ``seconds`` and latencies in seconds.
    """

    failures: list[Json] = field(default_factory=list)
    summary: Json = field(default_factory=dict)


@contextmanager
def steady_load(kube: Kube, history: History, *, url: str, key: str, image: str, per_second: float) -> Iterator[Load]:
    """Send requests as long as the body runs.

    Args:
        kube: the namespace.
        history: of it.
        url: of the api, as pods reach it.
        key: of a business.
        image: with Python and httpx.
        per_second: requests.
    """
    kube.apply(*_manifests(url, key, image, per_second))
    history.wait(lambda: _phase(history) == "Running", "the load to begin", 90)
    load = Load()
    try:
        yield load
    finally:
        kube.execute(f"pod/{_NAME}", "touch", _STOP_FILE)
        history.wait(lambda: _phase(history) == "Succeeded", "the load to end", 60)
        told = [json.loads(line) for line in kube.logs(_NAME).splitlines()]
        load.failures = [line for line in told if "problem" in line]
        load.summary = next(line for line in told if "summary" in line)
        kube.run("delete", "pod", _NAME, "--wait=false")
        say(f"load: {load.summary}")


def _phase(history: History) -> str | None:
    pod = history.one("pods", _NAME)
    return pod.get("status", {}).get("phase") if pod else None


def _manifests(url: str, key: str, image: str, per_second: float) -> list[Json]:
    script = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NAME},
        "data": {"load.py": SCRIPT.read_text(encoding="utf-8")},
    }
    env = {"URL": url, "KEY": key, "PER_SECOND": str(per_second), "STOP_FILE": _STOP_FILE, "PYTHONUNBUFFERED": "1"}
    pod = plain_pod(_NAME, image, ["python", "/script/load.py"], env)
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "script", "mountPath": "/script"})
    pod["spec"]["volumes"].append({"name": "script", "configMap": {"name": _NAME}})
    return [script, pod]
