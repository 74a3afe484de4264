"""Leads over HTTP: uploads in both forms, every bad input a clear problem, nothing half-written."""

import io
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from sqlalchemy import text

from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from migration_support import connected
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_worker.tasks.leads import TASKS

MAX_IMPORT_BYTES = 2 * 1024 * 1024
ADA, BEN = "+14155550101", "+442079460102"
CSV = f"phone,name,tags,do_not_call\n{ADA},Ada,spring,\n{BEN},Ben,,yes\nwrong,Cy,,\n{BEN},Ben,,\n"
AS_CSV = {"Content-Type": "text/csv; charset=utf-8"}


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey, max_import_bytes=MAX_IMPORT_BYTES) as running:
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant("Acme")


@pytest.fixture
def rival(api: RunningApi) -> Tenant:
    return api.tenant("Rival")


def upload(client: httpx.Client, content: str | bytes = CSV, **options: str) -> httpx.Response:
    return client.post("/api/leads/import", content=content, headers=AS_CSV, params=options)


def has_no_leads(tenant: Tenant) -> bool:
    return not tenant.viewer.get("/api/leads").json()["items"]


def test_a_csv_as_the_body_is_imported_and_reported(acme: Tenant) -> None:
    response = upload(acme.agent, filename="january.csv")
    report = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/leads/imports/{report['id']}"
    counts = {name: report[name] for name in ("total", "created", "updated", "duplicates", "rejected", "do_not_call")}
    assert counts == {"total": 4, "created": 2, "updated": 0, "duplicates": 1, "rejected": 1, "do_not_call": 1}
    assert report["filename"] == "january.csv"
    assert report["errors"] == [
        {"line": 4, "column": "phone", "message": "'wrong' has letters: it is not a phone number"}
    ]
    assert acme.viewer.get(f"/api/leads/imports/{report['id']}").json() == report


def test_a_csv_in_a_form_is_imported_under_its_name(acme: Tenant) -> None:
    response = acme.agent.post("/api/leads/import", files={"file": ("february.csv", io.BytesIO(CSV.encode()))})
    assert response.status_code == 201, response.text
    assert (response.json()["filename"], response.json()["created"]) == ("february.csv", 2)


def test_an_upload_that_does_not_fit_in_memory_is_imported_too(acme: Tenant) -> None:
    note = "n" * 900
    rows = "".join(f"+1415{2_000_000 + index},{note}\n" for index in range(1_500))
    report = upload(acme.agent, "phone,attr_note\n" + rows).json()
    assert (report["created"], report["rejected"]) == (1_500, 0)


def test_national_numbers_are_of_the_region_that_is_named(acme: Tenant) -> None:
    assert upload(acme.agent, "phone\n(415) 555-0101\n", default_region="us").json()["created"] == 1
    assert acme.viewer.get("/api/leads").json()["items"][0]["phone"] == ADA


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "first line is empty"),
        ("name\nAda\n", "phone is missing"),
        (f"phone,shoe size\n{ADA},38\n", "attr_shoe_size"),
        (f'phone,name\n{ADA},"Ada\n', "line 2 is never closed"),
        (b"PK\x03\x04\0\0", "NUL"),
    ],
)
def test_a_malformed_csv_is_refused_and_writes_nothing(acme: Tenant, content: str | bytes, says: str) -> None:
    assert says in assert_problem(upload(acme.agent, content), 422, "Malformed CSV")["detail"]
    assert has_no_leads(acme)


def test_a_csv_that_is_too_large_is_refused(acme: Tenant) -> None:
    rows = f"{ADA},Ada\n".encode() * (MAX_IMPORT_BYTES // 16)

    def without_length() -> Iterator[bytes]:
        yield b"phone,name\n"
        yield rows
        yield rows

    assert_problem(upload(acme.agent, b"phone,name\n" + rows * 2), 413)
    assert_problem(acme.agent.post("/api/leads/import", content=without_length(), headers=AS_CSV), 413)
    assert has_no_leads(acme)


def test_other_media_types_are_told_which_ones_there_are(acme: Tenant) -> None:
    response = acme.agent.post("/api/leads/import", json={"phone": ADA})
    assert "text/csv" in assert_problem(response, 415)["detail"]


def test_a_form_without_the_file_says_where_it_belongs(acme: Tenant) -> None:
    response = acme.agent.post("/api/leads/import", files={"csv": ("x.csv", b"phone\n")})
    assert "`file`" in assert_problem(response, 422)["detail"]


def test_a_broken_form_is_a_problem(acme: Tenant) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(acme.agent.post("/api/leads/import", content=b"not a form", headers=headers), 400)


@pytest.mark.parametrize("options", [{"default_region": "USA"}, {"default_timezone": "Mars/Base"}])
def test_an_unknown_region_or_zone_is_refused(acme: Tenant, options: dict[str, str]) -> None:
    body = assert_problem(upload(acme.agent, **options), 422, "Invalid request")
    assert body["errors"][0]["field"] == f"query.{next(iter(options))}"
    assert has_no_leads(acme)


def test_an_import_that_is_sent_twice_with_one_key_happens_once(acme: Tenant) -> None:
    acme.agent.headers["Idempotency-Key"] = "import-1"
    first = acme.agent.post("/api/leads/import", files={"file": ("a.csv", CSV.encode())})
    again = acme.agent.post("/api/leads/import", files={"file": ("a.csv", CSV.encode())})
    other = acme.agent.post("/api/leads/import", files={"file": ("a.csv", CSV.encode() + b"+61491570156,,,\n")})
    assert (first.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert_problem(other, 422, "Idempotency key reused")


def test_all_errors_of_an_import_come_in_pages(acme: Tenant) -> None:
    report = upload(acme.agent, "phone\n" + "wrong\n" * 120).json()
    path = f"/api/leads/imports/{report['id']}/errors"
    first = acme.viewer.get(path, params={"limit": 100}).json()
    rest = acme.viewer.get(path, params={"limit": 100, "cursor": first["next_cursor"]}).json()
    assert len(report["errors"]) == len(first["items"]) == 100
    assert [error["line"] for error in first["items"] + rest["items"]] == list(range(2, 122))
    assert rest["next_cursor"] is None


def test_an_import_of_another_business_does_not_exist(acme: Tenant, rival: Tenant) -> None:
    import_id = upload(acme.agent).json()["id"]
    assert_problem(rival.owner.get(f"/api/leads/imports/{import_id}"), 404)
    assert_problem(rival.owner.get(f"/api/leads/imports/{import_id}/errors"), 404)
    assert has_no_leads(rival)


def test_leads_are_found_by_what_the_query_says(acme: Tenant) -> None:
    import_id = upload(acme.agent).json()["id"]

    def phones(**query: str | int) -> list[str]:
        return [lead["phone"] for lead in acme.viewer.get("/api/leads", params=query).json()["items"]]

    assert phones() == [ADA, BEN]
    assert phones(tag="spring") == [ADA]
    assert phones(search="ben") == phones(do_not_call="true") == phones(timezone="Europe/London") == [BEN]
    assert phones(import_id=import_id) == [ADA, BEN]
    assert phones(import_id=import_id + 1) == []


def test_leads_come_in_pages(acme: Tenant) -> None:
    upload(acme.agent)
    first = acme.viewer.get("/api/leads", params={"limit": 1}).json()
    rest = acme.viewer.get("/api/leads", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [lead["phone"] for lead in first["items"] + rest["items"]] == [ADA, BEN]


@pytest.mark.parametrize("query", [{"import_id": "0"}, {"timezone": "Mars"}, {"search": "x"}, {"tag": ""}])
def test_a_query_that_makes_no_sense_is_refused(acme: Tenant, query: dict[str, str]) -> None:
    assert_problem(acme.viewer.get("/api/leads", params=query), 422, "Invalid request")


def test_a_bulk_delete_is_accepted_with_the_number_of_leads(acme: Tenant) -> None:
    upload(acme.agent)
    response = acme.agent.post("/api/leads/bulk-delete", json={"filter": {"tags": ["spring"]}})
    task = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/api/tasks/{task['id']}"
    assert (task["job_type"], task["status"], task["total"]) == ("delete_leads", "pending", 1)
    assert acme.viewer.get(f"/api/tasks/{task['id']}").json()["total"] == 1


def test_a_bulk_update_is_accepted(acme: Tenant) -> None:
    upload(acme.agent)
    order = {"filter": {"all": True}, "changes": {"add_tags": ["called"]}}
    response = acme.agent.post("/api/leads/bulk-update", json=order)
    assert (response.status_code, response.json()["total"]) == (202, 2)


@pytest.mark.parametrize(
    ("path", "order", "says"),
    [
        ("bulk-delete", {}, "body.filter"),
        ("bulk-delete", {"filter": {}}, "the filter is empty"),
        ("bulk-delete", {"filter": {"all": True, "ids": [1]}}, "leave the other conditions out"),
        ("bulk-delete", {"filter": {"id": [1]}}, "body.filter.id"),
        ("bulk-update", {"filter": {"all": True}, "changes": {}}, "nothing to change"),
        ("bulk-update", {"filter": {"all": True}, "changes": {"phone": ADA}}, "body.changes.phone"),
    ],
)
def test_a_bulk_order_that_is_wrong_is_refused(acme: Tenant, path: str, order: object, says: str) -> None:
    body = assert_problem(acme.agent.post(f"/api/leads/{path}", json=order), 422, "Invalid request")
    assert says in body["detail"]
    assert acme.viewer.get("/api/tasks").json()["items"] == []


def finish(api: RunningApi, task_id: int) -> None:
    """Do a task's work as a worker would."""
    runtime = api.runtime
    with closing(Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, TASKS)) as kernel:
        while kernel.run_slice(task_id) is Outcome.AGAIN:
            pass


def test_a_count_shows_what_a_bulk_task_would_touch_and_touches_nothing(acme: Tenant) -> None:
    upload(acme.agent, "phone\n" + "".join(f"+1415555{number:04d}\n" for number in range(101, 108)))
    counted = acme.viewer.post("/api/leads/count", json={"filter": {"all": True}}).json()
    listed = acme.viewer.get("/api/leads", params={"limit": 5}).json()["items"]
    assert (counted["count"], counted["examples"]) == (7, listed)
    nobody = acme.viewer.post("/api/leads/count", json={"filter": {"tags": ["nobody"]}}).json()
    assert nobody == {"count": 0, "examples": []}
    assert acme.viewer.get("/api/tasks").json()["items"] == []


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({}, "name either filter or created_by_import"),
        ({"filter": {"all": True}, "created_by_import": 3}, "name either filter or created_by_import"),
        ({"filter": {}}, "the filter is empty"),
        ({"created_by_import": 0}, "body.created_by_import"),
    ],
)
def test_a_count_of_what_was_not_said_is_refused(acme: Tenant, order: object, says: str) -> None:
    body = assert_problem(acme.viewer.post("/api/leads/count", json=order), 422, "Invalid request")
    assert says in body["detail"]


def test_what_an_import_brought_in_is_counted_deleted_and_restored(api: RunningApi, acme: Tenant) -> None:
    upload(acme.agent, f"phone,name\n{BEN},Ben\n")
    report = upload(acme.agent).json()
    counted = acme.viewer.post("/api/leads/count", json={"created_by_import": report["id"]}).json()
    assert (counted["count"], [lead["phone"] for lead in counted["examples"]]) == (1, [ADA])
    response = acme.agent.post(f"/api/leads/imports/{report['id']}/delete")
    task = response.json()
    assert (response.status_code, task["job_type"], task["total"]) == (202, "delete_imported_leads", 1)
    assert response.headers["location"] == f"/api/tasks/{task['id']}"
    finish(api, task["id"])
    assert [lead["phone"] for lead in acme.viewer.get("/api/leads").json()["items"]] == [BEN]
    undo = acme.agent.post("/api/leads/restore", json={"task_id": task["id"]})
    assert (undo.status_code, undo.json()["job_type"], undo.json()["total"]) == (202, "restore_leads", 1)
    finish(api, undo.json()["id"])
    assert [lead["phone"] for lead in acme.viewer.get("/api/leads").json()["items"]] == [BEN, ADA]
    assert {"leads.deleted", "leads.restored"} <= {
        event["action"] for event in acme.owner.get("/api/audit").json()["items"]
    }


def test_an_import_that_is_another_s_or_not_there_is_neither_counted_nor_deleted(acme: Tenant, rival: Tenant) -> None:
    theirs = upload(rival.agent).json()["id"]
    for import_id in (theirs, 10**9):
        for response in (
            acme.agent.post(f"/api/leads/imports/{import_id}/delete"),
            acme.viewer.post("/api/leads/count", json={"created_by_import": import_id}),
        ):
            assert assert_problem(response, 404)["detail"] == f"There is no import {import_id}."


def test_an_undo_that_cannot_be_says_why(api: RunningApi, acme: Tenant) -> None:
    def undo(task_id: int) -> httpx.Response:
        return acme.agent.post("/api/leads/restore", json={"task_id": task_id})

    upload(acme.agent)
    task_id = acme.agent.post("/api/leads/bulk-delete", json={"filter": {"all": True}}).json()["id"]
    assert "has not ended" in assert_problem(undo(task_id), 409, "Not undoable")["detail"]
    finish(api, task_id)
    with connected(api.owner_url) as owner:
        owner.execute(text("UPDATE leads SET deleted_at = deleted_at - interval '31 days'"))
    assert "import them again" in assert_problem(undo(task_id), 410, "Undo expired")["detail"]
    assert_problem(undo(10**9), 404, "Not found")


def test_numbers_go_on_the_list_and_off_again(acme: Tenant) -> None:
    upload(acme.agent)
    order = {"phones": ["(415) 555-0101"], "default_region": "US", "reason": "asked on the phone"}
    added = acme.agent.post("/api/do-not-call", json=order)
    assert (added.status_code, added.json()["items"][0]["reason"]) == (201, "asked on the phone")
    check = {"phones": [ADA, "+61491570156"]}
    assert acme.viewer.post("/api/do-not-call/check", json=check).json() == {"listed": [ADA]}
    assert acme.owner.delete(f"/api/do-not-call/{added.json()['items'][0]['id']}").status_code == 204
    assert acme.viewer.post("/api/do-not-call/check", json=check).json() == {"listed": []}


def test_the_list_shows_hashes_and_never_numbers(acme: Tenant) -> None:
    phones = [f"+1415555{number:04d}" for number in range(101, 106)]
    acme.agent.post("/api/do-not-call", json={"phones": phones})
    first = acme.viewer.get("/api/do-not-call", params={"limit": 3}).json()
    rest = acme.viewer.get("/api/do-not-call", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert len({entry["id"] for entry in first["items"] + rest["items"]}) == 5
    assert "555" + "0101" not in str(first) + str(rest)


def test_each_wrong_number_is_named_by_its_place_and_none_is_listed(acme: Tenant) -> None:
    body = assert_problem(acme.agent.post("/api/do-not-call", json={"phones": [ADA, "12345", "nobody"]}), 422)
    assert [error["field"] for error in body["errors"]] == ["body.phones.1", "body.phones.2"]
    assert acme.viewer.get("/api/do-not-call").json()["items"] == []


def test_an_entry_of_another_business_does_not_exist(acme: Tenant, rival: Tenant) -> None:
    entry = acme.agent.post("/api/do-not-call", json={"phones": [ADA]}).json()["items"][0]["id"]
    assert_problem(rival.owner.delete(f"/api/do-not-call/{entry}"), 404)
    assert_problem(acme.owner.delete("/api/do-not-call/nonsense"), 404)
    assert acme.viewer.post("/api/do-not-call/check", json={"phones": [ADA]}).json() == {"listed": [ADA]}


def test_each_role_does_what_it_may(acme: Tenant) -> None:
    everybody = {"filter": {"all": True}}
    assert_problem(upload(acme.viewer), 403)
    assert_problem(acme.viewer.post("/api/leads/bulk-delete", json=everybody), 403)
    assert_problem(acme.viewer.post("/api/leads/imports/1/delete"), 403)
    assert_problem(acme.viewer.post("/api/leads/restore", json={"task_id": 1}), 403)
    assert_problem(acme.viewer.post("/api/do-not-call", json={"phones": [ADA]}), 403)
    entry = acme.agent.post("/api/do-not-call", json={"phones": [ADA]}).json()["items"][0]["id"]
    assert_problem(acme.agent.delete(f"/api/do-not-call/{entry}"), 403)


def test_the_audit_log_has_what_was_done_and_no_numbers(acme: Tenant) -> None:
    upload(acme.agent)
    acme.agent.post("/api/do-not-call", json={"phones": [ADA]})
    acme.agent.post("/api/leads/bulk-delete", json={"filter": {"all": True}})
    log = acme.owner.get("/api/audit").json()["items"]
    assert {"leads.imported", "do_not_call.added", "leads.deleted"} <= {event["action"] for event in log}
    assert ADA not in str(log)
