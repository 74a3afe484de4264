"""Tasks over HTTP: list, show, cancel, errors."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, update

from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant()


def create(api: RunningApi, tenant: Tenant, job_type: str = "delete_leads", **columns: Any) -> int:
    """A task of the tenant, with these columns."""
    with api.runtime.database.tenant(tenant.id) as session:
        task_id = api.runtime.tasks.create(session, job_type, {}).id
        if columns:
            session.execute(update(BackgroundJob).where(BackgroundJob.id == task_id).values(**columns))
    return task_id


def test_a_list_is_paged_by_cursor_and_new_rows_shift_nothing(api: RunningApi, acme: Tenant) -> None:
    tasks = [create(api, acme) for _ in range(5)]
    page = acme.viewer.get("/api/tasks", params={"limit": 2}).json()
    seen = [task["id"] for task in page["items"]]
    while page["next_cursor"]:
        create(api, acme)
        page = acme.viewer.get("/api/tasks", params={"limit": 2, "cursor": page["next_cursor"]}).json()
        seen += [task["id"] for task in page["items"]]
    assert seen == tasks[::-1]


@pytest.mark.parametrize("cursor", ["x", "e30", "eyJpZCI6LTF9", "ä", "eyJpZCI6ICJ4In0", "W10", "a" * 150])
def test_what_is_no_cursor_is_refused(acme: Tenant, cursor: str) -> None:
    body = assert_problem(acme.viewer.get("/api/tasks", params={"cursor": cursor}), 422)
    assert body["errors"][0]["field"] == "query.cursor"


def test_filters_narrow_the_list(api: RunningApi, acme: Tenant) -> None:
    create(api, acme)
    done = create(api, acme, status=JobStatus.COMPLETED, finished_at=func.now())
    updating = create(api, acme, "update_leads")
    by_status = acme.viewer.get("/api/tasks", params={"status": "completed"}).json()["items"]
    by_type = acme.viewer.get("/api/tasks", params={"job_type": "update_leads"}).json()["items"]
    assert [task["id"] for task in by_status] == [done]
    assert [task["id"] for task in by_type] == [updating]


def test_a_task_shows_its_numbers_and_not_its_business(api: RunningApi, acme: Tenant) -> None:
    task = acme.viewer.get(f"/api/tasks/{create(api, acme, total=50, done=20)}").json()
    assert (task["total"], task["done"], task["status"], task["version"]) == (50, 20, "pending", 1)
    assert "business_id" not in task


def test_another_business_s_task_does_not_exist(api: RunningApi, acme: Tenant) -> None:
    theirs = create(api, api.tenant("Rival"))
    for response in (
        acme.viewer.get(f"/api/tasks/{theirs}"),
        acme.agent.post(f"/api/tasks/{theirs}/cancel"),
        acme.viewer.get(f"/api/tasks/{theirs}/errors.csv"),
        acme.viewer.post(f"/api/tasks/{theirs}/ticket"),
    ):
        assert assert_problem(response, 404)["detail"] == f"There is no task {theirs}."
    assert acme.viewer.get("/api/tasks").json() == {"items": [], "next_cursor": None}


def test_a_cancel_is_noted_once_and_may_be_repeated(api: RunningApi, acme: Tenant) -> None:
    task_id = create(api, acme)
    first = acme.agent.post(f"/api/tasks/{task_id}/cancel")
    second = acme.agent.post(f"/api/tasks/{task_id}/cancel")
    assert first.status_code == second.status_code == 200
    assert first.json()["cancel_requested"]
    assert first.json()["version"] == second.json()["version"]
    assert acme.owner.get("/api/audit").json()["items"][0]["subject"] == f"task {task_id}"


def test_a_task_that_is_over_stays_as_it_is(api: RunningApi, acme: Tenant) -> None:
    task_id = create(api, acme, status=JobStatus.COMPLETED, finished_at=func.now())
    task = acme.agent.post(f"/api/tasks/{task_id}/cancel").json()
    assert (task["status"], task["cancel_requested"]) == ("completed", False)


def test_cancelling_a_campaign_s_task_cancels_the_campaign(acme: Tenant) -> None:
    order = {"name": "Spring", "message": "Hello", "leads": {"all": True}, "caller_ids": ["+14155550100"]}
    run = acme.agent.post("/api/outbound_calls/runs", json=order)
    assert run.status_code == 201, run.text
    task = acme.agent.post(f"/api/tasks/{run.json()['job_id']}/cancel")
    assert task.status_code == 200, task.text
    assert acme.viewer.get(f"/api/outbound_calls/runs/{run.json()['id']}").json()["status"] == "cancelled"


def test_errors_download_as_csv_that_no_spreadsheet_executes(api: RunningApi, acme: Tenant) -> None:
    errors = [
        {"item": "4711", "message": 'The lead, as "it" was'},
        {"item": '=HYPERLINK("x")', "message": "@SUM(1)"},
        {"item": "-1", "message": "\t=1"},
    ]
    task_id = create(api, acme, errors=errors)
    answer = acme.viewer.get(f"/api/tasks/{task_id}/errors.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="task-{task_id}-errors.csv"'
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [
        ["item", "message"],
        ["4711", 'The lead, as "it" was'],
        ['\'=HYPERLINK("x")', "'@SUM(1)"],
        ["'-1", "'\t=1"],
    ]
