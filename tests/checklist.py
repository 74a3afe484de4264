"""What happened on one running stack, gathered once for the many tests of the contract's checklist."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from stack import Stack
from switchboard_core.calls.semaphore import CallSemaphore
from switchboard_core.calls.states import CallStatus
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

Json = dict[str, Any]

SHORT, LONG = "+1415555", "+1202555"
"""Prefixes of numbers: calls to the second go on for ten minutes unless they are hung up."""

_TEXT_FIELD = re.compile(r"(\w+)=(\S+)")


_taken = count(1000)


def numbers(prefix: str, many: int) -> list[str]:
    """So many numbers of an area that no other campaign calls."""
    return [f"{prefix}{next(_taken):04d}" for _ in range(many)]


@dataclass
class Campaign:
    """A run of a business of its own."""

    stack: Stack
    business_id: int
    key: str
    phones: list[str]
    run: Json

    @property
    def job_id(self) -> int:
        """Its background job."""
        return int(self.run["job_id"])

    def post(self, path: str) -> Json:
        """A request about the campaign that has to succeed."""
        with self.stack.client(self.key) as client:
            answer: Json = client.post(path).raise_for_status().json()
            return answer

    def view(self) -> Json:
        """The run as people see it."""
        return self._get(f"/api/outbound_calls/runs/{self.run['id']}")

    def task(self) -> Json:
        """Its background job as people see it."""
        return self._get(f"/api/tasks/{self.job_id}")

    def await_status(self, status: str, timeout: float = 60.0) -> Json:
        """Wait until the run has this status; returns its view."""
        self.stack.await_true(lambda: self.view()["status"] == status, f"run {status}", timeout)
        return self.view()

    def await_live(self, calls: int) -> None:
        """Wait until so many of its calls are answered and go on."""
        self.stack.await_true(lambda: self.view()["counts"]["in_progress"] == calls, f"{calls} live calls", 60)

    def asleep(self) -> bool:
        """Whether no worker has a lease on its background job, and none is due."""
        query = "SELECT lease_until IS NULL AND run_after > clock_timestamp() FROM background_jobs WHERE id = %s"
        return bool(self.stack.value(query, self.job_id))

    def jobs(self) -> list[Json]:
        """The rows of its calls."""
        return self.stack.rows("SELECT * FROM outbound_call_jobs WHERE run_id = %s ORDER BY id", self.run["id"])

    def slots(self) -> tuple[set[str], set[str]]:
        """Who holds slots, by Redis and by the rows."""
        with Redis.from_url(self.stack.redis_url) as redis:
            members = CallSemaphore(redis).members(self.business_id)
        live = self.stack.rows(
            "SELECT id::text FROM call_attempts WHERE business_id = %s AND settled_at IS NULL", self.business_id
        )
        return members, {row["id"] for row in live}

    def calls_at_carrier(self) -> int:
        """How many calls the carrier had to its numbers."""
        called = self.stack.sim("GET", "report")["calls_by_number"]
        return sum(called.get(phone, 0) for phone in self.phones)

    def _get(self, path: str) -> Json:
        with self.stack.client(self.key) as client:
            answer: Json = client.get(path).raise_for_status().json()
            return answer


def start_campaign(stack: Stack, phones: list[str], *, cap: int = 3, **order: Any) -> Campaign:
    """A new business with these leads, and a run that calls all of them once."""
    business_id, key = stack.business(call_cap=cap, calls_per_second=100)
    stack.add_leads(business_id, phones)
    body = {"name": "Checklist", "message": "Hello {name}", "leads": {"all": True}, "retry_after_s": {}, **order}
    with stack.client(key) as client:
        run = client.post("/api/outbound_calls/runs", json=body).raise_for_status().json()
    return Campaign(stack, business_id, key, phones, run)


def closed_today() -> Json:
    """Calling hours that begin in three days."""
    return {"opens": "00:00", "closes": "00:00", "days": [f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()]}


def keep_busy(url: str) -> None:
    """Make requests to a service, eight at a time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: httpx.get(url, trust_env=False), range(16)))


def threads_of(pid: int) -> set[int]:
    """Ids of a process's threads (Linux)."""
    return {int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()}


def waiting_in_rq(stack: Stack, queue: str) -> list[str]:
    """Ids of the jobs that wait in a queue, as RQ itself reads it."""
    with Redis.from_url(stack.redis_url) as redis:
        return list(Queue(queue, connection=redis, serializer=JSONSerializer).job_ids)


def rq_job(stack: Stack, rq_id: str) -> Job:
    """A job as RQ itself reads it."""
    with Redis.from_url(stack.redis_url) as redis:
        return Job.fetch(rq_id, connection=redis, serializer=JSONSerializer)


def hang_up(stack: Stack, call_sid: str) -> None:
    """End a call as if the callee had hung up."""
    url = f"{stack.simulator_url}/2010-04-01/Accounts/{DEMO_ACCOUNT_SID}/Calls/{call_sid}.json"
    answer = httpx.post(url, data={"Status": "completed"}, auth=(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN), trust_env=False)
    answer.raise_for_status()


def transactions_of(stack: Stack, service: str) -> int:
    """How many connections of a service are in the middle of a transaction."""
    url = stack.urls.app.replace("postgresql+psycopg://", "postgresql://", 1)
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = %s AND state <> 'idle'"
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(query, (f"switchboard-{service}",)).fetchone()
    assert row is not None
    return int(row[0])


def allow_startup_cleanup(stack: Stack) -> None:
    """Forget when the last one was: it does not run twice within a minute."""
    stack.change("DELETE FROM maintenance_marks WHERE name = 'startup_cleanup'")


def abandon(campaign: Campaign) -> None:
    """Make its run look as if nobody had touched it for an hour, and no worker had been alive."""
    campaign.stack.change(
        "UPDATE outbound_call_runs SET heartbeat_at = now() - interval '1 hour' WHERE id = %s", campaign.run["id"]
    )
    campaign.stack.change("UPDATE worker_heartbeats SET seen_at = now() - interval '1 hour'")


def active(view: Json) -> int:
    """Calls that a run's view shows as going on, added up from its states; ``active`` has to say the same."""
    counts: dict[str, int] = view["counts"]
    total = sum(counts[status.value] for status in CallStatus if status.active)
    assert counts["active"] == total
    return total


def text_fields(line: str) -> dict[str, str]:
    """The fields of a line in text format."""
    return dict(_TEXT_FIELD.findall(line))


def await_task(stack: Stack, client: httpx.Client, task_id: int) -> Json:
    """Wait for the end of a task; returns it."""

    def task() -> Json:
        shown: Json = client.get(f"/api/tasks/{task_id}").raise_for_status().json()
        return shown

    stack.await_true(lambda: task()["status"] not in {"pending", "running"}, f"the end of task {task_id}")
    return task()
