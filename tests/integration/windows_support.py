"""A stack whose workers are stopped at failpoints, one window at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import redis
from twilio.request_validator import RequestValidator

from invariants import assert_invariants
from stack import Stack
from switchboard_cli.devstack import ManagedProcess
from switchboard_core import failpoints
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

RUN = {"name": "Window", "message": "Hello {name}", "leads": {"all": True}, "record": False}

_worker_numbers = count(1)
_gates = count(1)
_numbers = count(2000)


@dataclass
class Window:
    """One business on a running stack without workers; the test starts those that it needs.

    Attributes:
        business_id: of this test alone.
        key: its owner's.
    """

    stack: Stack
    client: httpx.Client
    business_id: int
    key: str
    workers: list[ManagedProcess] = field(default_factory=list)

    def worker(self, failpoint: str = "", **env: str) -> ManagedProcess:
        """A further worker; ``failpoint`` such as ``before_send=stop``."""
        armed = {failpoints.VARIABLE: failpoint, failpoints.CONSENT_VARIABLE: failpoints.CONSENT} if failpoint else {}
        number = next(_worker_numbers)
        self.workers.append(self.stack.launch("worker", {**armed, **env}, number))
        return self.workers[-1]

    def lead(self, **script: object) -> str:
        """A lead with a number that no other test has; ``script`` is what the carrier does when it is called."""
        number = f"+1415555{next(_numbers)}"
        self.stack.add_leads(self.business_id, [number])
        if script:
            self.stack.sim("POST", "script", {"number": number, **script})
        return number

    def start(self, **order: object) -> dict[str, Any]:
        """Start a run of all leads."""
        answer = self.client.post("/api/outbound_calls/runs", json={**RUN, **order})
        made: dict[str, Any] = answer.raise_for_status().json()
        return made

    def attempts(self, number: str) -> list[dict[str, Any]]:
        """The attempts at a number, first to last."""
        return self.stack.rows("SELECT * FROM call_attempts WHERE to_number = %s ORDER BY created_at", number)

    def placed(self, number: str) -> list[dict[str, Any]]:
        """Those that are, or may be, a call: on a busy machine an attempt may miss its deadline and be made again."""
        return [attempt for attempt in self.attempts(number) if attempt["state"] != "not_placed"]

    def job(self, number: str) -> dict[str, Any]:
        """The call job of a number."""
        return self.stack.rows("SELECT * FROM outbound_call_jobs WHERE to_number = %s", number)[0]

    def await_job(self, number: str, *statuses: str) -> dict[str, Any]:
        """Wait until a number's job is in one of ``statuses``."""

        def there() -> bool:
            found = self.stack.rows("SELECT status FROM outbound_call_jobs WHERE to_number = %s", number)
            return bool(found) and found[0]["status"] in statuses

        self.stack.await_true(there, f"the call job to be {' or '.join(statuses)}")
        return self.job(number)

    def await_task(self, task_id: int, *statuses: str) -> dict[str, Any]:
        """Wait until a background job is in one of ``statuses``; its row."""

        def row() -> dict[str, Any]:
            return self.stack.rows("SELECT * FROM background_jobs WHERE id = %s", task_id)[0]

        self.stack.await_true(lambda: row()["status"] in statuses, f"task {task_id} to be {' or '.join(statuses)}", 60)
        return row()

    def calls_to(self, number: str) -> int:
        """How many calls the carrier has placed to a number."""
        return int(self.stack.sim("GET", "report")["calls_by_number"].get(number, 0))

    def webhook(self, attempt_id: object, call_sid: str, status: str) -> None:
        """A signed status callback, as the carrier sends it."""
        self.told("status", attempt_id, call_sid, CallStatus=status)

    def told(self, kind: str, attempt_id: object, call_sid: str, **said: str) -> None:
        """A signed callback about a call: ``status``, ``amd`` or ``recording``."""
        url = f"{self.stack.api_url}/webhooks/twilio/{kind}?attempt={attempt_id}&business={self.business_id}"
        form = {"CallSid": call_sid, "AccountSid": DEMO_ACCOUNT_SID, **said}
        signature = RequestValidator(DEMO_AUTH_TOKEN).compute_signature(url, form)
        httpx.post(url, data=form, headers={"X-Twilio-Signature": signature}, timeout=20).raise_for_status()

    def other_side_hangs_up(self, call_sid: str) -> None:
        """End a conversation at the carrier, which then says so itself."""
        url = f"{self.stack.simulator_url}/2010-04-01/Accounts/{DEMO_ACCOUNT_SID}/Calls/{call_sid}.json"
        carrier = (DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN)
        httpx.post(url, data={"Status": "completed"}, auth=carrier, timeout=20).raise_for_status()

    def check(self, *, at_rest: bool = True) -> None:
        """Hold every invariant against rows, Redis and carrier."""
        with redis.Redis.from_url(self.stack.redis_url) as client:
            assert_invariants(self.stack.urls.owner, client, self.stack.simulator_url, at_rest=at_rest, within_s=20)


@dataclass
class Gate:
    """Holds a process at a failpoint until it is opened."""

    stack: Stack
    path: Path

    def await_reached(self) -> None:
        """Wait until a process waits here."""
        self.stack.await_true(self.path.with_name(f"{self.path.name}.reached").exists, f"{self.path.name}")

    def open(self) -> None:
        """Let it go on."""
        self.path.touch()

    def at(self, point: str) -> str:
        """The failpoint that waits here."""
        return f"{point}=wait:{self.path}"


def gate(stack: Stack) -> Gate:
    """A gate of its own."""
    return Gate(stack, stack.folder / f"gate-{next(_gates)}")


def await_stopped(stack: Stack, process: ManagedProcess) -> None:
    """Wait until a process has stopped itself (SIGSTOP)."""

    def is_stopped() -> bool:
        pid, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
        return pid == process.pid and os.WIFSTOPPED(status)

    stack.await_true(is_stopped, f"{process.name} to stop itself")


@contextmanager
def window(stack: Stack) -> Iterator[Window]:
    """A new business on a stack; its workers are killed at the end, and its work is ended."""
    business_id, key = stack.business(calls_per_second=500)
    with stack.client(key) as client:
        made = Window(stack, client, business_id, key)
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.kill()
            # Nothing of this test may be left for the workers of the next one.
            stack.change("DELETE FROM businesses WHERE id = %s", business_id)
            with redis.Redis.from_url(stack.redis_url) as queues:
                queues.flushall()
            stack.sim("POST", "reset")
