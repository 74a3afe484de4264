"""The worked example of ``docs/background-jobs.md`` is taken from the page and run."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, select

from docs_pages import blocks
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.jobs.catalog import CATALOG, JobSpec
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.models import Lead
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import Settings, get_settings
from switchboard_core.tenancy.service import create_business

PAGE = "background-jobs.md"
NAME = "refresh_zones"


def _module(path_end: str, name: str) -> ModuleType:
    """A module made of the block that says it is this file."""
    block = next(block for block in blocks(PAGE) if block.first_line.endswith(path_end))
    module = ModuleType(name)
    exec(compile(block.content, f"{PAGE}:{Path(path_end).name}", "exec"), vars(module))
    return module


def _migration() -> ModuleType:
    return _module("expand_NNN_refresh_zones.py", "expand_NNN_refresh_zones")


@pytest.fixture
def migrated(database_urls: DatabaseUrls) -> DatabaseUrls:
    """A database that the page's migration has run on."""
    migration = _migration()
    with create_engine(database_urls.owner, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True), Operations.context(context):
            migration.upgrade()
    return database_urls


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's task, where its test imports it from, and the page's line of the catalog."""
    module = _module("tasks/zones.py", "switchboard_worker.tasks.zones")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    line = next(block.content for block in blocks(PAGE) if block.first_line.startswith("JobSpec("))
    monkeypatch.setitem(CATALOG, NAME, eval(line, {"JobSpec": JobSpec}))
    return module


@pytest.fixture
def runtime(migrated: DatabaseUrls, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.setenv("DATABASE_URL", migrated.app)  # admission reads the settings of its process
    get_settings.cache_clear()
    settings = Settings(_env_file=None, database_url=migrated.app, redis_url=redis_url)
    runtime = make_runtime(settings, name="docs-test")
    yield runtime
    runtime.close()
    get_settings.cache_clear()


def test_the_pages_migration_forbids_no_job_that_there_is() -> None:
    assert set(_migration().JOB_TYPES) == {*CATALOG, NAME}


@pytest.mark.usefixtures("task")
def test_the_pages_own_test_passes(database_urls: DatabaseUrls, redis_url: str) -> None:
    module = _module("tests/integration/test_refresh_zones.py", "test_refresh_zones")
    module.test_a_lead_gets_the_zone_of_its_number(database_urls, redis_url)


def test_the_pages_job_runs_under_the_kernel(runtime: Runtime, task: ModuleType) -> None:
    business = create_business(runtime.database, "Acme")
    with runtime.database.tenant(business.id) as session:
        phones = [f"+1212555{number:04d}" for number in range(100, 350)]
        session.add_all(Lead(business_id=business.id, phone=phone, timezone="UTC") for phone in phones)
        job_id = runtime.tasks.create(session, NAME, {"default": "UTC"}).id
    kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, {NAME: task.refresh_zones})
    while kernel.run_slice(job_id, budget_s=0.001) is Outcome.AGAIN:
        pass
    kernel.close()
    with runtime.database.tenant(business.id) as session:
        job = session.get_one(BackgroundJob, job_id)
        assert (job.status, job.done, job.failed) == (JobStatus.COMPLETED, len(phones), 0)
        assert set(session.scalars(select(Lead.timezone))) == {"America/New_York"}
