"""The API server's audit log: who wrote what when, in the order in which it happened."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from apiserver.client import ApiRefusedError, Client, Object

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


_CATCH_UP_S = 30.0
_POLL_S = 0.005


class Audit:
    """Reads the log of one control plane.

    Args:
        path: of the log.
        client: of an administrator; what was answered before a reading began is in the log when it is read.
    """

    def __init__(self, path: Path, client: Client) -> None:
        self._path = path
        self._client = client

    def mark(self) -> int:
        """Where the log ends now."""
        return self._path.stat().st_size

    def catch_up(self) -> None:
        """Wait until the log has what was answered up to now.

        The API server answers, and shows a change to watchers, before it writes the line about it. So a request of our
        own goes after the others, and its line is awaited.

        Raises:
            TimeoutError: its line does not come.
        """
        mark, name = self.mark(), f"catch-up-{uuid4().hex}"
        try:
            self._client.request("DELETE", f"/api/v1/namespaces/default/configmaps/{name}")
        except ApiRefusedError as error:
            if error.status != 404:
                raise
        deadline = time.monotonic() + _CATCH_UP_S
        while not any(True for _ in self._read(mark, name)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the audit log has no line about {name}")
            time.sleep(_POLL_S)

    def writes(self, namespace: str, mark: int = 0, *, user: str = "") -> list[Entry]:
        """Writes in a namespace.

        Args:
            namespace: of the objects.
            mark: where to begin.
            user: only of users whose name begins so.
        """
        self.catch_up()
        return [
            entry
            for entry in self._read(mark, f'"namespace":"{namespace}"')
            if entry.is_write and entry.namespace == namespace and entry.user.startswith(user)
        ]

    def writes_of(self, user: str, mark: int = 0) -> list[Entry]:
        """Writes of one user, wherever they were."""
        self.catch_up()
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
