"""Broadcasts in one process: real PostgreSQL and Valkey, the simulator as carrier, the api for its webhooks.

The worker is the test itself: it runs slices one by one. Time that has to pass is taken off the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import psycopg

from integration.calls_carrier import DisturbedCarrier, KilledError, kill
from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, Row, make_business
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.broadcasts import delivery, service
from switchboard_core.broadcasts.schemas import BroadcastCreate, BroadcastView
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.outbox import accounts
from switchboard_core.outbox.schemas import MailAccountIn
from switchboard_worker.sweep import Sweep
from switchboard_worker.tasks.entry import tasks

OUR_NUMBER = "+14155550100"


@dataclass
class BroadcastsBench:
    """Servers, one business with a number to send from, and shorthands."""

    calls: CallsBench

    def reset(self) -> Self:
        """Forget everything, and begin with a new business."""
        calls = self.calls
        calls.sim("POST", "reset")
        with suppress(psycopg.errors.DeadlockDetected):
            # Far quicker than emptying every table. A last webhook of the test before may win: its rows harm nobody.
            calls.execute("DELETE FROM businesses")
        calls.runtime.redis.flushall()
        calls.sweep = Sweep(calls.runtime)
        calls.business_id = make_business(calls.runtime, **calls.business)
        return self

    @property
    def business_id(self) -> int:
        return self.calls.business_id

    # --- leads

    def add_leads(self, *numbers: str) -> None:
        self.calls.add_leads(*numbers)

    def add_addresses(self, *addresses: str | None) -> None:
        """Leads with these e-mail addresses."""
        for number, address in zip(numbers(len(addresses), 5_580_000), addresses, strict=True):
            self.calls.add_leads(number)
            self.calls.execute("UPDATE leads SET email = %s WHERE phone = %s", address, number)

    def connect(self, **account: Any) -> None:
        """Give the business a mail account."""
        with self.calls.session() as session:
            accounts.put(session, self.calls.runtime.settings, MailAccountIn.model_validate(account))

    # --- broadcasts

    def start(self, *, business_id: int | None = None, **order: Any) -> BroadcastView:
        """Start a broadcast that no worker has seen yet."""
        values = {"name": "Spring", "channel": "sms", "body": "Hello {name}", "filter": {"all": True}, **order}
        with self.calls.session(business_id) as session:
            made = service.start(session, self.calls.runtime, BroadcastCreate.model_validate(values))
            return service.view(session, made)

    def view(self, broadcast: BroadcastView) -> BroadcastView:
        with self.calls.session() as session:
            return service.view(session, service.get(session, broadcast.id))

    def task(self, broadcast: BroadcastView) -> Row:
        return self.calls.rows("SELECT * FROM background_jobs WHERE id = %s", broadcast.task_id)[0]

    def slice(
        self, broadcast: BroadcastView, *, budget_s: float = 2.0, **disturbances: Callable[[], object]
    ) -> Outcome:
        """Run one slice, perhaps with a carrier disturbed in one of the ways of ``DisturbedCarrier``."""
        assert broadcast.task_id is not None
        runtime = self.calls.runtime
        if disturbances:
            runtime = replace(runtime, carrier=DisturbedCarrier(runtime.carrier, **disturbances))
        kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks(runtime))
        try:
            return kernel.run_slice(broadcast.task_id, budget_s=budget_s)
        finally:
            kernel.close()

    def to_sending(self, broadcast: BroadcastView) -> None:
        """Run slices until every lead has its place and nothing was sent."""
        while (self.task(broadcast)["cursor"] or {}).get("phase") != "send":
            self.slice(broadcast)

    def die_sending(self, broadcast: BroadcastView, moment: str) -> None:
        """Be killed at a moment of ``DisturbedCarrier``, and let the leases run out."""
        disturbance: dict[str, Any] = {moment: kill}
        with suppress(KilledError):
            self.slice(broadcast, **disturbance)
            raise AssertionError("the worker lives")
        self.let_leases_run_out()

    def let_leases_run_out(self) -> None:
        self.calls.execute("UPDATE background_jobs SET lease_until = now() WHERE lease_until IS NOT NULL")
        self.calls.execute("UPDATE outgoing_messages SET lease_until = now() WHERE lease_until IS NOT NULL")

    def work(self, broadcast: BroadcastView, *, slices: int = 200, budget_s: float = 2.0) -> BroadcastView:
        """Run slices to the end; sleeps are cut short."""
        for _ in range(slices):
            if self.task(broadcast)["status"] in {"completed", "failed", "cancelled"}:
                return self.view(broadcast)
            self.slice(broadcast, budget_s=budget_s)
            self.wake()
        raise AssertionError(f"not over after {slices} slices: {self.task(broadcast)}")

    def cancel(self, broadcast: BroadcastView) -> None:
        """Cancel the task, as the api does."""
        assert broadcast.task_id is not None
        with self.calls.session() as session:
            self.calls.runtime.tasks.cancel(session, broadcast.task_id)

    def wake(self) -> None:
        """Let every sleep and every put-off message be over."""
        self.calls.execute("UPDATE background_jobs SET run_after = now() WHERE run_after > now()")
        self.calls.execute("UPDATE outgoing_messages SET run_after = now() WHERE run_after > now()")

    def settle(self) -> int:
        """Ask the carrier about everything that has left and has no last word, as the sweep does in time."""
        self.calls.execute("UPDATE broadcast_recipients SET check_at = now() WHERE check_at IS NOT NULL")
        return delivery.settle_silent_messages(self.calls.runtime)

    def age(self, seconds: float) -> None:
        """Let time go by for every message that has left."""
        self.calls.execute(
            "UPDATE broadcast_recipients SET released_at = released_at - make_interval(secs => %s), check_at = now() "
            "WHERE released_at IS NOT NULL",
            seconds,
        )

    def recipient(self, address: str) -> Row:
        """The newest recipient with this address, with its message."""
        return self.calls.rows(
            "SELECT r.*, m.state, m.reason, m.provider_id FROM broadcast_recipients r "
            "LEFT JOIN outgoing_messages m ON m.id = r.message_id WHERE r.address = %s ORDER BY r.id DESC",
            address,
        )[0]

    # --- the carrier

    def script(self, number: str, outcome: str, **details: Any) -> None:
        self.calls.sim("POST", "messages/script", {"number": number, "outcome": outcome, **details})

    def messages(self) -> dict[str, int]:
        """How many messages the carrier made, by number."""
        report: dict[str, int] = self.calls.sim("GET", "messages/report")["by_number"]
        return report

    def texts_to(self, number: str) -> list[str]:
        """What the carrier has for a number."""
        since = datetime(2000, 1, 1, tzinfo=UTC)
        return [found.body for found in self.calls.runtime.carrier.find_messages(number, OUR_NUMBER, since)]

    def text_us(self, number: str, body: str) -> None:
        """Somebody sends an SMS to our number; returns when the webhook was answered."""
        url = f"{self.calls.runtime.settings.public_url}/webhooks/twilio/message"
        self.calls.sim("POST", "messages/inbound", {"from": number, "to": OUR_NUMBER, "body": body, "url": url})
        self.calls.await_carrier()


def numbers(count: int, first: int = 5_560_000) -> Sequence[str]:
    """Numbers of leads that nobody has."""
    return [f"+1415{first + index}" for index in range(count)]


@contextmanager
def broadcasts_bench(
    postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey, **settings: Any
) -> Iterator[BroadcastsBench]:
    """Start the servers; messages take hundredths of a second and have no pace unless ``settings`` say so."""
    values: dict[str, Any] = {"sms_per_minute": 600_000, "broadcast_mails_per_minute": 600_000, **settings}
    simulator = {"mps": 1000, "message_seconds": 0.005}
    with calls_bench(postgres, template, valkey, simulator=simulator, **values) as calls:
        yield BroadcastsBench(calls)
