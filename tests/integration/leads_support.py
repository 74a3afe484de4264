"""A business in a database of its own, and what the tests of leads do with it."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.leads.csv_import import import_csv
from switchboard_core.leads.models import Lead
from switchboard_core.leads.schemas import ImportReport
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import Settings, get_settings
from switchboard_core.tenancy.service import create_business
from switchboard_worker.tasks.leads import TASKS

_database_numbers = itertools.count(1)


@dataclass(frozen=True)
class LeadsBench:
    """One process's parts, and one business."""

    runtime: Runtime
    business_id: int
    kernel: Kernel

    @contextmanager
    def session(self, business_id: int | None = None) -> Iterator[Session]:
        """One transaction of the business, or of another one."""
        with self.runtime.database.tenant(business_id or self.business_id) as session:
            yield session

    def for_another_business(self) -> "LeadsBench":
        """The same parts, and a new business."""
        return LeadsBench(self.runtime, self.another_business(), self.kernel)

    def another_business(self) -> int:
        return create_business(self.runtime.database, "Rival").id

    def load(self, content: str | bytes | Iterable[bytes], **options: Any) -> ImportReport:
        """Import a CSV."""
        data = content.encode() if isinstance(content, str) else content
        stream = [data] if isinstance(data, bytes) else data
        with self.session() as session:
            return import_csv(session, stream, **{"filename": "leads.csv", "default_timezone": "UTC", **options})

    def lead(self, phone: str) -> Lead:
        """The live lead with this number."""
        with self.session() as session:
            return session.scalars(select(Lead).where(Lead.phone == phone, Lead.deleted_at.is_(None))).one()

    def count(self, model: type, *where: Any) -> int:
        with self.session() as session:
            return session.scalars(select(func.count()).select_from(model).where(*where)).one()

    def add_leads(self, number: int) -> Sequence[int]:
        """Leads ``+14155550000`` and so on; returns their ids, ascending."""
        with self.session() as session:
            leads = [
                Lead(business_id=self.business_id, phone=f"+1415{5550000 + index}", timezone="UTC", tags=["spring"])
                for index in range(number)
            ]
            session.add_all(leads)
            session.flush()
            return sorted(lead.id for lead in leads)

    def run_to_its_end(self, job_id: int, *, slices: int = 100, budget_s: float = 2.0) -> BackgroundJob:
        """Run slices as a worker would until the job has ended."""
        for _ in range(slices):
            outcome = self.kernel.run_slice(job_id, budget_s=budget_s)
            if outcome is Outcome.FINISHED:
                break
        job = self.job(job_id)
        assert job.status.terminal, f"still {job.status} after {slices} slices"
        return job

    def job(self, job_id: int) -> BackgroundJob:
        with self.session() as session:
            return session.get_one(BackgroundJob, job_id)


@contextmanager
def leads_bench(urls: DatabaseUrls, redis_url: str) -> Iterator[LeadsBench]:
    """A business in ``urls``, and the parts of a worker for it."""
    settings = Settings(_env_file=None, database_url=urls.app, redis_url=redis_url)
    with pytest.MonkeyPatch.context() as environment:
        # What enqueues a job reads some limits from the process's own settings.
        environment.setenv("DATABASE_URL", urls.app)
        get_settings.cache_clear()
        runtime = make_runtime(settings, name="leads-test")
        kernel = Kernel(settings, runtime.database, runtime.transport, runtime.tasks, TASKS)
        try:
            yield LeadsBench(runtime, create_business(runtime.database, "Acme").id, kernel)
        finally:
            kernel.close()
            runtime.close()
            get_settings.cache_clear()


@contextmanager
def fresh_leads_bench(postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey) -> Iterator[LeadsBench]:
    """A database that the tests of a module share, each with a business of its own."""
    name = f"leads_{next(_database_numbers)}"
    urls = postgres.create_database(name, template=template)
    try:
        with leads_bench(urls, valkey.url) as bench:
            yield bench
    finally:
        postgres.drop_database(name)
