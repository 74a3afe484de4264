"""The catalog of background jobs against what else names them: the schema, the queues, the worker."""

import re

import pytest

from switchboard_core.jobs.catalog import CATALOG, UnknownJobTypeError, spec_of
from switchboard_core.migrations.versions import expand_106_crm_job_types
from switchboard_core.runtime import make_runtime
from switchboard_core.settings import WORKER_QUEUES, Settings
from switchboard_worker.tasks.entry import tasks


@pytest.mark.parametrize("spec", CATALOG.values(), ids=lambda spec: spec.name)
def test_every_job_is_allowed_by_the_schema_and_has_a_queue_that_workers_consume(spec: object) -> None:
    assert spec.name in expand_106_crm_job_types.JOB_TYPES  # type: ignore[attr-defined]
    assert spec.queue in WORKER_QUEUES  # type: ignore[attr-defined]


def test_every_job_has_a_task_in_the_worker() -> None:
    settings = Settings(_env_file=None, database_url="postgresql+psycopg://nobody:none@127.0.0.1:9/none")
    runtime = make_runtime(settings, name="catalog-test")
    assert set(CATALOG) == set(tasks(runtime))
    runtime.close()


def test_bulk_changes_of_leads_are_maintenance() -> None:
    of_leads = ("delete_leads", "update_leads", "delete_imported_leads", "restore_leads")
    assert {spec_of(name).queue for name in of_leads} == {"maintenance"}


def test_what_is_under_way_outside_the_database_is_wound_down_by_its_own_task() -> None:
    ends_itself = {name for name, spec in CATALOG.items() if spec.ends_itself}
    assert ends_itself == {"enqueue_outbound_calls", "broadcast", "send_payment_receipt_job"}


@pytest.mark.parametrize("name", ["", "Delete_Leads", "delete_leads ", "delete_leads_1"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(UnknownJobTypeError, match=re.escape(f"Known jobs: {', '.join(sorted(CATALOG))}.")):
        spec_of(name)
