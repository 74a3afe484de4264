"""What the API server told about a namespace, in its order: assertions about order read this, and waits wait on it.

One watch a kind, from before the first object is made. Every version of every object is kept, with the resource
version that etcd gave it: that is one counter for the whole cluster, so versions of different kinds can be compared.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from e2e.kube import Json, Kube

Found = TypeVar("Found")

_ASK_AGAIN_S = 0.5
KINDS = ("switchboards", "pods", "jobs", "deployments", "events")


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
        self._kinds = kinds
        self._changed = threading.Condition()
        self._versions: list[Version] = []
        self._live: dict[tuple[str, str], Json] = {}
        self._watches: dict[str, subprocess.Popen[str]] = {}
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self) -> Self:
        """Begin to watch."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watches."""
        self._end.set()
        for watch in list(self._watches.values()):
            watch.terminate()
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

    def _follow(self, kind: str) -> None:
        """Watch again whenever the API server ends a watch; what is told twice is kept once."""
        command = self._kube.command("get", kind, "--watch", "--output-watch-events", "-o", "json")
        while not self._end.is_set():
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
                self._watches[kind] = watch
                if self._end.is_set():
                    watch.terminate()
                assert watch.stdout is not None
                for line in watch.stdout:
                    self._note(kind, json.loads(line))
            # A kind that the API server does not know yet is asked for again in a moment.
            self._end.wait(_ASK_AGAIN_S)

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
