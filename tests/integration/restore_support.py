"""A campaign on real processes whose database is backed up in the middle and brought back later."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import redis

from cli_support import ran
from stack import Stack, running_stack
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

DATABASE, BACKUP = "restored", "backup_of_restored"
SETTINGS = {
    "LEASE_SECONDS": "3",
    "SETTLE_AFTER_SECONDS": "1",
    "DIAL_DEADLINE_SECONDS": "2",
    "UNKNOWN_OUTCOME_AFTER_SECONDS": "4",
    "SWEEP_INTERVAL_SECONDS": "0.2",
}
SERVICES = ("worker-0", "api")


@dataclass
class Campaign:
    """One business that calls each of its leads once."""

    stack: Stack
    postgres: EmbeddedPostgres
    business_id: int
    key: str
    backed_up_at: datetime | None = None

    def start(self, leads: int) -> int:
        """Start a run; its id."""
        self.stack.add_leads(self.business_id, [f"+1415555{number}" for number in range(3000, 3000 + leads)])
        order = {"name": "Spring", "message": "Hi", "leads": {"all": True}, "record": False, "retry_after_s": {}}
        with self.stack.client(self.key) as client:
            return int(client.post("/api/outbound_calls/runs", json=order).raise_for_status().json()["id"])

    def calls(self) -> dict[str, int]:
        """How often the carrier has called each number."""
        found: dict[str, int] = self.stack.sim("GET", "report")["calls_by_number"]
        return found

    def await_calls(self, number: int) -> None:
        """Wait until so many calls were placed."""
        self.stack.await_true(lambda: sum(self.calls().values()) >= number, f"{number} calls")

    def stop(self) -> None:
        """Kill every service, in the middle of whatever they do."""
        for name in SERVICES:
            self.stack.processes[name].kill()

    def go_on(self) -> None:
        """Start every service again."""
        for name in SERVICES:
            self.stack.start(name)

    def back_up(self) -> None:
        """Keep a copy of the database as it is now."""
        self.backed_up_at = datetime.now(UTC)
        self._copy(DATABASE, BACKUP)

    def restore(self) -> None:
        """Bring the copy back; Redis is emptied, as the runbook says."""
        self.postgres.drop_database(DATABASE)
        self._copy(BACKUP, DATABASE)
        with redis.Redis.from_url(self.stack.redis_url) as client:
            client.flushall()

    def _copy(self, source: str, target: str) -> None:
        def copied() -> bool:
            # Connections of what was killed take a moment to go.
            with suppress(psycopg.errors.ObjectInUse):
                self.postgres.create_database(target, template=source)
                return True
            return False

        self.stack.await_true(copied, f"the copy of {source}")

    def reconcile(self) -> dict[str, Any]:
        """``switchboard reconcile`` as a person runs it."""
        assert self.backed_up_at is not None
        done = ran("reconcile", "--since", self.backed_up_at.isoformat(), "--yes", "--json", **self.stack.env)
        assert done.status == 0, done.err
        report: dict[str, Any] = done.json
        return report

    def await_slice(self) -> None:
        """Wait until the run's task was worked on since the restore."""
        attempt = "SELECT attempt FROM background_jobs"
        before = self.stack.value(attempt)
        with self.stack.client(self.key) as client:
            assert client.get("/api/outbound_calls/runs").is_success
        self.stack.change("UPDATE background_jobs SET run_after = clock_timestamp()")
        self.stack.await_true(lambda: self.stack.value(attempt) > before, "a slice")

    def resume(self, run_id: int) -> None:
        """Go on with the run."""
        with self.stack.client(self.key) as client:
            client.post(f"/api/outbound_calls/runs/{run_id}/resume").raise_for_status()

    def await_end(self, run_id: int) -> None:
        """Wait until the run is over."""
        ended = "SELECT finished_at IS NOT NULL FROM outbound_call_runs WHERE id = %s"
        self.stack.await_true(lambda: bool(self.stack.value(ended, run_id)), "the run's end", 60)


@contextmanager
def restorable(folder: Path, postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey) -> Iterator[Campaign]:
    """Everything running, on a database of its own."""
    urls = postgres.create_database(DATABASE, template=template)
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    try:
        with running_stack(
            folder / DATABASE,
            urls,
            valkey.url,
            recorders=0,
            settings=SETTINGS,
            simulator={"SIMULATOR_MIX": '{"answer": 1}', "SIMULATOR_TALK_SECONDS": "0.3"},
        ) as stack:
            business_id, key = stack.business(calls_per_second=500)
            yield Campaign(stack, postgres, business_id, key)
    finally:
        for name in (DATABASE, BACKUP):
            postgres.drop_database(name)
