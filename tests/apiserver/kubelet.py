"""The node's part: makes pods that the real controllers created run, serve, fail and end, by a script.

Pods of Deployments become ready, migrate pods run against a model of the database. The rest is real: which pods there
are, what a Job counts as a failure and when a Deployment is rolled out is decided by kube-controller-manager.
"""

import contextlib
import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import httpx

from apiserver.client import ApiRefusedError, Client, Object
from switchboard_operator import names
from unit.operator.fake_database import RELEASES, Database

NODE = "node-1"
_PODS = "/api/v1/pods"
_WATCH_S = 300.0
_BETWEEN_LOOKS_S = 0.5


@dataclass
class Script:
    """What becomes of the pods of one namespace.

    Attributes:
        database: what migrate pods work on.
        frozen: versions whose service pods run and never become ready.
        unpullable: versions whose images cannot be had.
        address: of the pods.
        ready_after_s: how long a service pod takes to become ready.
        ends_after_s: how long a pod takes to end.
        held: steps (``1.1.0 expand``) whose pod runs until ``Kubelet.release``.
        too_early: service pods that started before the database was ready for them; must stay empty.
    """

    database: Database = field(default_factory=Database)
    frozen: set[str] = field(default_factory=set)
    unpullable: set[str] = field(default_factory=set)
    address: str = "127.0.0.1"
    ready_after_s: float = 0.05
    ends_after_s: float = 0.2
    held: set[str] = field(default_factory=set)
    too_early: list[str] = field(default_factory=list)


@dataclass(order=True)
class _Due:
    at: float
    number: int
    act: Callable[[], None] = field(compare=False)


class Kubelet:
    """Runs the pods of all namespaces.

    Args:
        client: of an administrator.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts: dict[str, Script] = {}
        self._changes: queue.Queue[tuple[str, Object] | None] = queue.Queue()
        self._timers: list[_Due] = []
        self._numbers = itertools.count()
        self._begun: set[tuple[str, str]] = set()
        self._waiting: dict[tuple[str, str], Object] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="kubelet-watch", daemon=True),
            threading.Thread(target=self._work, name="kubelet-work", daemon=True),
        ]
        self.failed: BaseException | None = None

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._changes.put(None)
        # The watch ends with the API server; its thread is a daemon and holds nothing.
        self._threads[1].join()

    def script(self, namespace: str) -> Script:
        """What becomes of the pods of a namespace; to be changed as a test goes on."""
        return self._scripts.setdefault(namespace, Script())

    def release(self, namespace: str, step: str) -> None:
        """Let the pod of a held step run on."""
        self.script(namespace).held.discard(step)
        for key, pod in list(self._waiting.items()):
            if key[0] == namespace:
                self._changes.put(("RELEASED", pod))

    # --- Threads ----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.is_set():
            # The API server may be stopped before this thread.
            with contextlib.suppress(httpx.HTTPError, ApiRefusedError):
                listed = self._client.request("GET", _PODS)
                for pod in listed["items"]:
                    self._changes.put(("ADDED", pod))
                for change in self._client.watch(_PODS, listed["metadata"]["resourceVersion"], _WATCH_S):
                    self._changes.put(change)
                    if self._stop.is_set():
                        return

    def _work(self) -> None:
        while not self._stop.is_set():
            wait_s = self._timers[0].at - time.monotonic() if self._timers else _BETWEEN_LOOKS_S
            try:
                change = self._changes.get(timeout=max(0.0, wait_s))
            except queue.Empty:
                self._act_when_due()
                continue
            if change is not None:
                self._do(partial(self._pod_changed, *change))
            self._act_when_due()

    def _act_when_due(self) -> None:
        while self._timers and self._timers[0].at <= time.monotonic():
            self._do(heapq.heappop(self._timers).act)

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, _Due(time.monotonic() + delay_s, next(self._numbers), act))

    def _do(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except ApiRefusedError as error:
            # The pod has changed or has gone meanwhile; the watch tells about it.
            if error.status not in {404, 409}:
                self.failed = error
        except httpx.HTTPError as error:
            if not self._stop.is_set():
                self.failed = error

    # --- Pods -------------------------------------------------------------------------------------------------------

    def _pod_changed(self, change: str, pod: Object) -> None:
        metadata = pod["metadata"]
        key = (metadata["namespace"], metadata["uid"])
        if change in {"DELETED", "ERROR", "BOOKMARK"}:
            self._begun.discard(key)
            self._waiting.pop(key, None)
            return
        if "deletionTimestamp" in metadata:
            if ("end", metadata["uid"]) not in self._begun:
                self._begun.add(("end", metadata["uid"]))
                self._later(self.script(key[0]).ends_after_s, lambda: self._remove(pod))
            return
        if change == "RELEASED":
            self._waiting.pop(key, None)
            self._migrate(pod)
            return
        if key in self._begun or pod.get("status", {}).get("phase") != "Pending":
            return
        self._begun.add(key)
        self._bind(pod)
        self._start(pod)

    def _bind(self, pod: Object) -> None:
        metadata = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        if not pod["spec"].get("nodeName"):
            self._client.request("POST", f"{_path(pod)}/binding", body)

    def _start(self, pod: Object) -> None:
        script, version = self.script(pod["metadata"]["namespace"]), _version(pod)
        if version in script.unpullable:
            self._say(pod, "Pending", {"waiting": {"reason": "ErrImagePull", "message": "not found"}}, ready=False)
        elif pod["metadata"]["labels"].get(names.ROLE_LABEL) == "migrate":
            self._migrate(pod)
        else:
            self._serve(pod, script, version)

    def _serve(self, pod: Object, script: Script, version: str) -> None:
        if script.database.seq < RELEASES[version].seq or script.database.min_seq > RELEASES[version].seq:
            script.too_early.append(pod["metadata"]["name"])
        running = {"running": {"startedAt": _now()}}
        if version in script.frozen:
            self._say(pod, "Running", running, ready=False)
        else:
            self._later(script.ready_after_s, lambda: self._say(pod, "Running", running, ready=True))

    def _migrate(self, pod: Object) -> None:
        namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
        script, version, step = self.script(namespace), _version(pod), _step(pod)
        if f"{version} {step}" in script.held:
            self._waiting[namespace, uid] = pod
            self._say(pod, "Running", {"running": {"startedAt": _now()}}, ready=True)
            return
        code, words = script.database.migrate(version, step, RELEASES[version])
        ended = {"exitCode": code, "message": words, "reason": "Completed" if code == 0 else "Error"}
        times = {"startedAt": _now(), "finishedAt": _now()}
        self._say(pod, "Succeeded" if code == 0 else "Failed", {"terminated": ended | times}, ready=False)

    def _say(self, pod: Object, phase: str, state: Object, *, ready: bool) -> None:
        container = pod["spec"]["containers"][0]
        script = self.script(pod["metadata"]["namespace"])
        is_ready = {"status": str(ready), "lastTransitionTime": _now()}
        status = {
            "phase": phase,
            "podIP": script.address,
            "podIPs": [{"ip": script.address}],
            "startTime": _now(),
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "ContainersReady", **is_ready},
                {"type": "Ready", **is_ready},
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": ready,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        self._client.request("PATCH", f"{_path(pod)}/status", {"status": status}, "application/merge-patch+json")

    def _remove(self, pod: Object) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._client.request("DELETE", _path(pod), body)


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _version(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"]).rpartition(":")[2]


def _step(pod: Object) -> str:
    words = pod["spec"]["containers"][0]["args"]
    if "--check" in words:
        return "check"
    return "contract" if "contract" in words else "expand"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
