"""A business with a mail account, users and payments, and the workers' part of sending receipts."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from integration.kernel_support import Bench
from mail_server import MailServer
from switchboard_core.jobs.kernel import Kernel
from switchboard_core.jobs.queueing import queue_job
from switchboard_core.outbox import accounts
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.schemas import MailAccountIn
from switchboard_core.receipts import service
from switchboard_core.receipts.schemas import PaymentIn, ReceiptOut, UserIn
from switchboard_core.tenancy.service import create_business
from switchboard_worker.tasks.receipts import tasks

ARCHIVE = "archive@example.com"
_numbers = itertools.count(1)


@dataclass
class Office:
    """A business that sends receipts.

    Attributes:
        jobs: its database and its queues.
        server: the mail server of its account.
        business_id: in the database.
    """

    jobs: Bench
    server: MailServer
    business_id: int

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction of the business."""
        with self.jobs.runtime.database.tenant(self.business_id) as session:
            yield session

    def connect(self, **changes: Any) -> None:
        """Give it a mail account."""
        order = MailAccountIn.model_validate(self.server.account(**changes))
        with self.session() as session:
            accounts.put(session, self.jobs.runtime.settings, order)

    def payment(self, *, email: str | None = None, name: str = "Ada Moreno") -> tuple[int, int]:
        """A payment of a new user: the ids of both."""
        with self.session() as session:
            user = service.create_user(session, UserIn(name=name, email=email or f"user{next(_numbers)}@example.org"))
            order = PaymentIn(
                user_id=user.id,
                amount=Decimal("49.90"),
                currency="EUR",
                description="Subscription",
                paid_at=datetime(2026, 1, 26, 11, 5, 20, tzinfo=UTC),
            )
            return user.id, service.create_payment(session, order).id

    def enqueue(self, user_id: int, payment_id: int) -> int:
        """Enqueue the job by its name, as people do."""
        with self.session() as session:
            return queue_job(
                "send_payment_receipt_job",
                session=session,
                transport=self.jobs.runtime.transport,
                user_id=user_id,
                payment_id=payment_id,
            )

    def kernel(self) -> Kernel:
        """What a further worker process would have."""
        runtime = self.jobs.runtime
        kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks(runtime))
        self.jobs.kernels.append(kernel)
        return kernel

    def work(self, job_id: int, *, slices: int = 60) -> dict[str, Any]:
        """Run a job to its end, its sleeps cut short; its row."""
        kernel = self.kernel()
        for _ in range(slices):
            kernel.run_slice(job_id)
            row = self.jobs.job(job_id)
            if row["status"] in {"completed", "failed", "cancelled"}:
                return row
            self.wake(job_id)
        raise AssertionError(f"not over after {slices} slices: {row}")

    def wake(self, job_id: int) -> None:
        """Let the time pass that the job and its message wait for."""
        self.jobs.set(job_id, "run_after = least(run_after, clock_timestamp())")
        self.jobs.sql(
            "UPDATE outgoing_messages SET run_after = least(run_after, clock_timestamp()) WHERE business_id = %s",
            self.business_id,
        )

    def expire_leases(self) -> None:
        """Let the leases of messages run out."""
        self.jobs.sql(
            "UPDATE outgoing_messages SET lease_until = clock_timestamp() WHERE business_id = %s AND "
            "lease_until IS NOT NULL",
            self.business_id,
        )

    def send(self, *, email: str | None = None) -> tuple[dict[str, Any], ReceiptOut]:
        """Pay, enqueue and work: the job's row and the receipt."""
        user_id, payment_id = self.payment(email=email)
        job = self.work(self.enqueue(user_id, payment_id))
        return job, self.receipt_of(payment_id)

    def receipt_of(self, payment_id: int) -> ReceiptOut:
        """The receipt of a payment."""
        with self.session() as session:
            found = service.get_payment(session, payment_id).receipt_id
            assert found is not None, "the payment has no receipt"
            return service.get_receipt(session, found)

    def message(self, payment_id: int) -> OutgoingMessage:
        """The row of a payment's mail."""
        with self.session() as session:
            return session.scalars(
                select(OutgoingMessage).where(OutgoingMessage.dedupe_key == f"receipt:{payment_id}")
            ).one()


def office(jobs: Bench, server: MailServer) -> Office:
    """A new business that has a mail account without a login."""
    made = Office(jobs, server, create_business(jobs.runtime.database, "Acme").id)
    made.connect()
    return made
