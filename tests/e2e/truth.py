"""The database, the queue and the carrier themselves, past everything that is tested.

Reached through ``kubectl port-forward``; read with the same checks as on one machine (``tests/invariants.py``).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
from psycopg.rows import dict_row
from redis import Redis

from e2e.kube import Json, Kube
from invariants import assert_invariants, carrier_report

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Truth:
    """How to reach what knows the truth; all of it on loopback.

    Attributes:
        owner_url: the database for its owner.
        redis_url: the queue.
        simulator_url: the carrier.
    """

    owner_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    simulator_url: str

    def rows(self, query: str, *values: object) -> list[Json]:
        """Read the database, past row-level security."""
        with psycopg.connect(self.owner_url, row_factory=dict_row) as connection:
            return connection.execute(query, values or None).fetchall()

    def value(self, query: str, *values: object) -> Any:
        """The only value of the only row."""
        return next(iter(self.rows(query, *values)[0].values()))

    def change(self, statement: str, *values: object) -> int:
        """Change the database; returns how many rows were changed."""
        with psycopg.connect(self.owner_url) as connection:
            return connection.execute(statement, values or None).rowcount

    def simulator(self, method: str, path: str, body: object = None) -> Any:
        """Talk to the simulator's controls."""
        answer = httpx.request(method, f"{self.simulator_url}/_sim/{path}", json=body, timeout=60, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def until(self, look: Callable[[], Any], what: str, timeout: float) -> Any:
        """Look again and again until something is found, and return it.

        Args:
            look: a false value means not yet.
            what: is awaited, in words.
            timeout: seconds.
        """
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout:g} s in vain for {what}; the rows: {self._progress()}")
            time.sleep(_LOOK_EVERY_S)
        return found

    def calls(self) -> int:
        """Calls that the carrier has made so far."""
        count: int = carrier_report(self.simulator_url)["calls"]
        return count

    def check_at_rest(self) -> None:
        """Fail unless everything has ended, once, and rows, queue and carrier agree on it."""
        with Redis.from_url(self.redis_url) as redis:
            assert_invariants(self.owner_url, redis, self.simulator_url, at_rest=True, within_s=30.0)

    def _progress(self) -> list[Json]:
        return self.rows(
            "SELECT status, count(*) FROM outbound_call_jobs GROUP BY status"
            " UNION ALL SELECT job_type || ' ' || status, count(*) FROM background_jobs GROUP BY job_type, status"
        )


@contextmanager
def opened(kube: Kube, *, owner_url: str, redis_url: str, simulator_url: str) -> Iterator[Truth]:
    """Open the ways to the truth.

    Args:
        kube: the namespace.
        owner_url: as pods know it.
        redis_url: as pods know it.
        simulator_url: as pods know it.
    """
    with ExitStack() as stack:
        urls = [stack.enter_context(_through(kube, url)) for url in (owner_url, redis_url, simulator_url)]
        yield Truth(urls[0].replace("postgresql+psycopg://", "postgresql://", 1), urls[1], urls[2])


@contextmanager
def _through(kube: Kube, url: str) -> Iterator[str]:
    """The same URL on loopback."""
    parts = urlsplit(url)
    assert parts.hostname, f"no host in {parts.scheme} URL"
    port = parts.port or {"http": 80, "redis": 6379}.get(parts.scheme, 5432)
    with kube.forward(f"svc/{parts.hostname.partition('.')[0]}", port) as local:
        userinfo, at, _ = parts.netloc.rpartition("@")
        yield urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{local}"))
