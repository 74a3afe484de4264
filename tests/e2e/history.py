"""What the API server told about a namespace, in its order: assertions about order read this, and waits wait on it.

One watch a kind, from before the first object is made. Every version of every object is kept, with the resource
version that etcd gave it: that is one counter for the whole cluster, so versions of different kinds can be compared.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import httpx

from e2e.kube import Json, Kube

Found = TypeVar("Found")

KINDS = ("switchboards", "pods", "jobs", "deployments", "events")
PATHS = {
    "deployments": "apis/apps/v1",
    "events": "api/v1",
    "jobs": "apis/batch/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "pods": "api/v1",
    "scaledobjects": "apis/keda.sh/v1alpha1",
    "switchboards": "apis/switchboard.dev/v1alpha1",
}
_WATCH = {"watch": "1", "timeoutSeconds": "3600"}
_WATCH_AGAIN_S = 0.5
_BEGIN_S = 30.0


@dataclass(frozen=True)
class Version:
    """One version of an object.

    Attributes:
        at: when it was told, in seconds on the monotonic clock.
        event: ``ADDED``, ``MODIFIED`` or ``DELETED``.
        kind: plural, as in ``KINDS``.
        body: the object.
    """

    at: float
    event: str
    kind: str
    body: Json

    @property
    def name(self) -> str:
        """Of the object."""
        name: str = self.body["metadata"]["name"]
        return name

    @property
    def number(self) -> int:
        """The resource version."""
        return int(self.body["metadata"]["resourceVersion"])


class History:
    """Watches a namespace until it is closed.

    Args:
        kube: the namespace.
        kinds: plural names of what is watched.
    """

    def __init__(self, kube: Kube, kinds: tuple[str, ...] = KINDS) -> None:
        self._kube = kube
        self._changed = threading.Condition()
        self._versions: list[Version] = []
        self._live: dict[tuple[str, str], Json] = {}
        self._end = threading.Event()
        self._begun = {kind: threading.Event() for kind in kinds}
        self._proxy = ExitStack()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Begin to watch; everything that happens from now on is told."""
        url = self._proxy.enter_context(self._kube.proxy())
        self._threads = [threading.Thread(target=self._follow, args=(url, kind), daemon=True) for kind in self._begun]
        for thread in self._threads:
            thread.start()
        late = [kind for kind, begun in self._begun.items() if not begun.wait(_BEGIN_S)]
        if late:
            self._stop()
            msg = f"the watches of {', '.join(late)} in {self._kube.namespace} did not begin"
            raise AssertionError(msg)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watches."""
        self._stop()

    def _stop(self) -> None:
        self._end.set()
        self._proxy.close()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[Version]:
        """Everything that was told, in the order of the watches."""
        with self._changed:
            return iter(list(self._versions))

    @property
    def last(self) -> int:
        """The newest resource version that was told."""
        return max((each.number for each in self), default=0)

    def versions(self, kind: str, name: str | None = None) -> list[Version]:
        """All versions of the objects of a kind, or of one object, oldest first."""
        with self._changed:
            found = [each for each in self._versions if each.kind == kind and name in {None, each.name}]
        return sorted(found, key=lambda each: each.number)

    def after(self, number: int, kind: str, name: str, holds: Callable[[Json], object]) -> Version | None:
        """The first version of an object after another version, its own or not, of which something holds."""
        told = (each for each in self.versions(kind, name) if each.number > number)
        return next((each for each in told if holds(each.body)), None)

    def live(self, kind: str) -> list[Json]:
        """The objects of a kind that exist now."""
        with self._changed:
            return [body for (other, _), body in self._live.items() if other == kind]

    def one(self, kind: str, name: str) -> Json | None:
        """An object that exists now."""
        with self._changed:
            return self._live.get((kind, name))

    def wait(self, look: Callable[[], Found | None], what: str, timeout: float) -> Found:
        """Wait until ``look`` finds something; it is asked again whenever anything has changed.

        Args:
            look: reads this history; a false value means not yet.
            what: is awaited, in words.
            timeout: seconds.

        Returns:
            What was found.

        Raises:
            AssertionError: nothing was found in time.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (found := look()):
                left = deadline - time.monotonic()
                if left <= 0:
                    msg = f"waited {timeout:g} s in vain for {what}\n{self._summary()}"
                    raise AssertionError(msg)
                self._changed.wait(left)
            return found

    def _summary(self) -> str:
        """What a person looks at first: conditions, and pods that are not as they should be."""
        lines = [
            f"  {board['metadata']['name']}: {each['type']}={each['status']} {each['reason']}: {each['message']}"
            for board in self.live("switchboards")
            for each in board.get("status", {}).get("conditions", [])
        ]
        for pod in self.live("pods"):
            status = pod.get("status", {})
            ready = [each.get("ready") for each in status.get("containerStatuses", [])]
            lines.append(f"  pod {pod['metadata']['name']}: {status.get('phase')}, ready {ready}")
        return "\n".join(lines)

    def _follow(self, url: str, kind: str) -> None:
        """Watch again whenever the API server ends a watch; what is told twice is kept once."""
        path = f"{url}/{PATHS[kind]}/namespaces/{self._kube.namespace}/{kind}"
        timeout = httpx.Timeout(_BEGIN_S, read=None)
        with httpx.Client(timeout=timeout, trust_env=False) as client:
            while not self._end.is_set():
                # The end of the proxy is the end of a watch.
                with suppress(httpx.TransportError), client.stream("GET", path, params=_WATCH) as told:
                    told.raise_for_status()
                    self._begun[kind].set()
                    for line in told.iter_lines():
                        self._note(kind, json.loads(line))
                self._end.wait(_WATCH_AGAIN_S)

    def _note(self, kind: str, told: Json) -> None:
        version = Version(time.monotonic(), told["type"], kind, told["object"])
        if version.event not in {"ADDED", "MODIFIED", "DELETED"}:
            return
        key = (kind, version.name)
        with self._changed:
            known = self._live.get(key)
            if known and known["metadata"]["resourceVersion"] == version.body["metadata"]["resourceVersion"]:
                return
            self._versions.append(version)
            if version.event == "DELETED":
                self._live.pop(key, None)
            else:
                self._live[key] = version.body
            self._changed.notify_all()


def condition(board: Json | None, kind: str) -> Json | None:
    """A condition of a resource."""
    found: list[Json] = (board or {}).get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == kind), None)


def is_true(board: Json | None, kind: str) -> bool:
    """Whether a condition holds, and was looked at for the newest spec."""
    found = condition(board, kind)
    assert board is not None or found is None
    if board is None or found is None:
        return False
    is_newest = found["observedGeneration"] >= board["metadata"]["generation"]
    return bool(found["status"] == "True" and is_newest)
