"""A business with an accounting system of its own, and what the tests of the ledger do with both."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from accounting_server import TOKEN, AccountingServer, accounting_server
from integration.kernel_support import Bench, bench
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.egress import Egress
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.ledger import service
from switchboard_core.ledger.csv_import import import_ledger_csv
from switchboard_core.ledger.schemas import LedgerImportReport, NewConnection
from switchboard_core.ledger.states import Collection, ConnectionKind
from switchboard_core.ledger.sync import AsyncSyncService

PAGE_TIMEOUT_S = 1.0
JOB = "sync_ledger"


@dataclass
class LedgerBench:
    """A business, its accounting system, and a worker for its syncs."""

    jobs: Bench
    books: AccountingServer
    services: list[AsyncSyncService] = field(default_factory=list)

    def connect(self, business_id: int | None = None, *, base_url: str | None = None, name: str = "Books") -> int:
        """Connect the accounting system; the connection's id."""
        order = NewConnection(
            name=name, kind=ConnectionKind.API, base_url=base_url or self.books.url, token=SecretStr(TOKEN)
        )
        with self.jobs.runtime.database.tenant(business_id or self.jobs.business_id) as session:
            return service.connect(session, self.jobs.runtime.settings, order).id

    def connect_files(self, name: str = "Files") -> int:
        """Make room for CSV files; the connection's id."""
        with self.jobs.runtime.database.tenant(self.jobs.business_id) as session:
            order = NewConnection(name=name, kind=ConnectionKind.CSV)
            return service.connect(session, self.jobs.runtime.settings, order).id

    def load(self, connection_id: int, collection: Collection, content: str, **options: Any) -> LedgerImportReport:
        """Import a CSV."""
        with self.jobs.runtime.database.tenant(self.jobs.business_id) as session:
            return import_ledger_csv(
                session,
                self.jobs.runtime.settings,
                [content.encode()],
                connection_id=connection_id,
                collection=collection,
                **options,
            )

    def start(self, connection_id: int, business_id: int | None = None) -> int:
        """Start a sync as the api does; the job's id."""
        with self.jobs.runtime.database.tenant(business_id or self.jobs.business_id) as session:
            return service.start_sync(session, self.jobs.runtime, connection_id).id

    def service(self) -> AsyncSyncService:
        """What a further worker process would have."""
        runtime = self.jobs.runtime
        made = AsyncSyncService(
            runtime.database,
            Egress(runtime.settings.trusted_hosts),
            chance=random.Random(3),
            page_timeout_s=PAGE_TIMEOUT_S,
        )
        self.services.append(made)
        return made

    def kernel(self) -> Kernel:
        """A kernel of a worker process of its own."""
        return self.jobs.kernel(self.service().task, job_type=JOB)

    def run(self, job_id: int, kernel: Kernel | None = None, *, budget_s: float = 2.0) -> dict[str, Any]:
        """Run slices until the job has ended, its pauses cut short; its row."""
        worker = kernel or self.kernel()
        for _ in range(200):
            outcome = worker.run_slice(job_id, budget_s=budget_s)
            job = self.jobs.job(job_id)
            if job["finished_at"] is not None:
                return job
            if outcome is Outcome.FINISHED:
                self.jobs.set(job_id, "run_after = clock_timestamp() - interval '1 second'")
        raise AssertionError(f"the sync does not end: {job}")

    def sync(self, connection_id: int) -> dict[str, Any]:
        """Sync to the end in a worker of its own."""
        return self.run(self.start(connection_id))

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """What is in the ledger of the business, without ids and moments."""
        fields = {
            "counterparties": "external_id, name, email, deleted, source_version",
            "transactions": "external_id, amount, currency, booked_on, status, description, deleted, source_version, "
            "(SELECT c.external_id FROM counterparties c WHERE c.id = counterparty_id) AS counterparty",
        }
        query = f"SELECT {fields[table]} FROM {table} WHERE business_id = %s ORDER BY 1"
        return [tuple(row.values()) for row in self.jobs.sql(query, self.jobs.business_id)]

    def ids(self, table: str) -> list[str]:
        """Ids of the documents in the accounting system that are here."""
        return [row[0] for row in self.rows(table)]

    def connection(self, connection_id: int) -> dict[str, Any]:
        """The row of a connection."""
        return self.jobs.sql("SELECT * FROM ledger_connections WHERE id = %s", connection_id)[0]


@contextmanager
def ledger_bench(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[LedgerBench]:
    """A business without documents beside an empty accounting system."""
    with bench(urls, valkey) as jobs, accounting_server() as books:
        made = LedgerBench(jobs, books)
        try:
            yield made
        finally:
            for worker in made.services:
                worker.close()
