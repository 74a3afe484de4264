"""Holds the WebSockets of fan_out.py and writes down when what arrived on them: ``URL NUMBER FILE``."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop
from websockets.asyncio.client import connect

AT_ONCE = 25
"""Sockets that are being opened at a time."""


class Sockets:
    """All of them, in this one process."""

    def __init__(self, url: str, number: int, output: Path) -> None:
        self._url = url.replace("http", "ws", 1)
        self._number = number
        self._output = output
        self._tasks: list[int] = json.loads(os.environ["TASKS"])
        self._headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
        self._opening = asyncio.Semaphore(AT_ONCE)
        self._open = 0
        self._received: list[list[tuple[float, str]]] = []

    async def run(self) -> None:
        """Follow until every task has ended."""
        await asyncio.gather(*(self._follow(self._tasks[n % len(self._tasks)]) for n in range(self._number)))
        written = [self._versions(messages) for messages in self._received]
        self._output.with_suffix(".part").write_text(json.dumps(written), encoding="utf-8")
        self._output.with_suffix(".part").rename(self._output)

    @staticmethod
    def _versions(messages: list[tuple[float, str]]) -> dict[str, object]:
        """What one socket has seen, and when."""
        snapshots = [(at, found) for at, text in messages if (found := json.loads(text))["type"] == "snapshot"]
        return {"task": snapshots[0][1]["id"], "seen": [(found["version"], at) for at, found in snapshots]}

    async def _follow(self, task_id: int) -> None:
        received: list[tuple[float, str]] = []
        self._received.append(received)
        async with self._opening:
            socket = await connect(
                f"{self._url}/ws/tasks/{task_id}",
                additional_headers=self._headers,
                proxy=None,
                compression=None,
                open_timeout=60,
            )
            first = await socket.recv()
        received.append((time.monotonic(), str(first)))
        self._open += 1
        if self._open == self._number:
            self._output.with_suffix(".ready").touch()
        # Understood later: what costs time here would count as lag.
        received.extend([(time.monotonic(), str(message)) async for message in socket])


if __name__ == "__main__":
    uvloop.run(Sockets(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])).run())
