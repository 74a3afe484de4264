"""Steady requests from inside the cluster; runs in a pod with nothing but the api image's Python and httpx.

Every request opens a connection of its own, as a client behind a proxy does that does not know about pods: so each one
meets the Service as it is at that moment. A client that keeps connections has to repeat requests anyway, because any
server may close a connection that is idle just then.

Prints one JSON line per failed request, and a summary when the file ``STOP_FILE`` appears.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from typing import Any

import httpx

STARTED = time.monotonic()
TIMEOUT_S = 15.0


def request_of(number: int) -> tuple[str, str, dict[str, Any]]:
    """Method, path and the rest of the nth request: three that read, one that writes."""
    if number % 4 == 3:
        body = {"phones": [f"+1415556{number % 10_000:04d}"], "reason": "load"}
        return "POST", "/api/do-not-call", {"json": body, "headers": {"Idempotency-Key": str(uuid.uuid4())}}
    path = ("/api/leads?limit=1", "/api/tasks?limit=5", "/api/outbound_calls/runs?limit=5")[number % 4]
    return "GET", path, {}


def say(told: dict[str, Any]) -> None:
    """Print one line."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


class Load:
    """Sends requests and counts."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
        self.latencies: list[float] = []
        self.failures = 0

    async def send(self, client: httpx.AsyncClient, number: int) -> None:
        """One request; whatever is no success is a failure."""
        method, path, rest = request_of(number)
        headers = {**self._headers, **rest.pop("headers", {})}
        began = time.monotonic()
        try:
            answer = await client.request(method, self._url + path, headers=headers, **rest)
            problem = "" if answer.is_success else f"{answer.status_code} {answer.text[:300]}"
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
        took = time.monotonic() - began
        self.latencies.append(took)
        if problem:
            self.failures += 1
            told = {"at": round(began - STARTED, 3), "took": round(took, 3), "request": f"{method} {path}"}
            say({**told, "problem": problem})

    def summary(self) -> dict[str, Any]:
        """The figures."""
        ordered = sorted(self.latencies)
        at = [round(ordered[int(share * (len(ordered) - 1))], 3) for share in (0.5, 0.99, 1.0)] if ordered else []
        return {
            "summary": True,
            "seconds": round(time.monotonic() - STARTED, 1),
            "requests": len(ordered),
            "failures": self.failures,
            "p50_p99_max": at,
        }


async def main() -> None:
    """Send at a steady rate until the file appears; a slow answer delays no other request."""
    load = Load(os.environ["URL"], os.environ["KEY"])
    pause, stop_file = 1 / float(os.environ["PER_SECOND"]), os.environ["STOP_FILE"]
    limits = httpx.Limits(max_keepalive_connections=0)
    under_way: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False) as client:
        number = 0
        while not os.access(stop_file, os.F_OK):
            task = asyncio.create_task(load.send(client, number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            await asyncio.sleep(max(0.0, STARTED + number * pause - time.monotonic()))
        await asyncio.gather(*under_way)
    say(load.summary())


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
