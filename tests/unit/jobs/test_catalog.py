"""The catalog of background jobs against what else names them: the schema, the queues, the worker."""

import pytest

from switchboard_core.jobs.catalog import CATALOG, UnknownJobTypeError, spec_of
from switchboard_core.migrations.versions import expand_104_job_types
from switchboard_core.settings import WORKER_QUEUES
from switchboard_worker.tasks.leads import TASKS


@pytest.mark.parametrize("spec", CATALOG.values(), ids=lambda spec: spec.name)
def test_every_job_is_allowed_by_the_schema_and_has_a_queue_that_workers_consume(spec: object) -> None:
    assert spec.name in expand_104_job_types.JOB_TYPES  # type: ignore[attr-defined]
    assert spec.queue in WORKER_QUEUES  # type: ignore[attr-defined]


def test_every_job_has_a_task_in_the_worker() -> None:
    assert set(CATALOG) == {"enqueue_outbound_calls", *TASKS}


def test_bulk_changes_of_leads_are_maintenance_and_campaigns_end_themselves() -> None:
    assert {name: spec.queue for name, spec in CATALOG.items()} == {
        "enqueue_outbound_calls": "default",
        "delete_leads": "maintenance",
        "update_leads": "maintenance",
    }
    assert [name for name, spec in CATALOG.items() if spec.ends_itself] == ["enqueue_outbound_calls"]


@pytest.mark.parametrize("name", ["", "Delete_Leads", "delete_leads ", "delete_leads_1"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(UnknownJobTypeError, match=r"Known jobs: delete_leads, enqueue_outbound_calls, update_leads\.$"):
        spec_of(name)
