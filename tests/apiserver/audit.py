"""The API server's audit log: who wrote what when, in the order in which it happened."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from apiserver.client import Object

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        user: who made it.
        verb: ``get``, ``list``, ``watch``, or one of ``WRITES``.
        resource: plural, with its subresource.
        namespace: of the object.
        name: of the object; empty for lists.
        at: when it arrived.
        code: of the answer.
        body: that was sent, for writes whose content is logged.
    """

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    at: datetime
    code: int
    body: Any

    @classmethod
    def parse(cls, line: Object) -> Self:
        """Read one line."""
        target = line.get("objectRef", {})
        subresource = target.get("subresource")
        return cls(
            user=line["user"]["username"].rpartition(":")[2],
            verb=line["verb"],
            resource=target.get("resource", "") + (f"/{subresource}" if subresource else ""),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            at=datetime.fromisoformat(line["requestReceivedTimestamp"]),
            code=line.get("responseStatus", {}).get("code", 0),
            body=line.get("requestObject"),
        )

    @property
    def is_write(self) -> bool:
        """It changed something, or tried to."""
        return self.verb in WRITES

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S.%f} {self.user} {self.verb} {self.resource} {self.namespace}/{self.name} {self.code}"


class Audit:
    """Reads the log of one control plane.

    Args:
        path: of the log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> int:
        """Where the log ends now."""
        return self._path.stat().st_size

    def writes(self, namespace: str, mark: int = 0, *, user: str = "") -> list[Entry]:
        """Writes in a namespace.

        Args:
            namespace: of the objects.
            mark: where to begin.
            user: only of users whose name begins so.
        """
        return [
            entry
            for entry in self._read(mark, f'"namespace":"{namespace}"')
            if entry.is_write and entry.namespace == namespace and entry.user.startswith(user)
        ]

    def writes_of(self, user: str, mark: int = 0) -> list[Entry]:
        """Writes of one user, wherever they were."""
        return [entry for entry in self._read(mark, f':{user}"') if entry.is_write and entry.user == user]

    def _read(self, mark: int, needle: str) -> Iterator[Entry]:
        """Entries after a mark. The log has many megabytes: only lines with ``needle`` are parsed."""
        wanted = needle.encode()
        with self._path.open("rb") as log:
            log.seek(mark)
            for line in log:
                # A line that is just being written is not read.
                if wanted in line and line.endswith(b"\n"):
                    yield Entry.parse(json.loads(line))
