"""The ledger over HTTP and from the command line: connect, import, list, sync, disconnect."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from accounting_server import TOKEN, AccountingServer, accounting_server
from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_cli.main import app
from switchboard_core.tenancy.models import Role

CONNECTIONS = "/api/ledger/connections"
AS_CSV = {"Content-Type": "text/csv"}
COMPANIES = "id,name,email,version\nC-1,Moreno Paper,books@moreno.example.com,1\nC-2,Ito Tools,,1\n"
BOOKED = """\
id;amount;currency;date;counterparty;description;version
T-1;119.90;EUR;2026-01-26;C-1;Invoice 1;1
T-2;-5;USD;2026-01-27;;Fee;1
T-3;one;EUR;2026-01-28;C-1;;1
T-4;1;EUR;2026-01-28;C-9;;1
"""


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey, max_import_bytes=100_000) as running:
        yield running


@pytest.fixture(scope="module")
def books() -> Iterator[AccountingServer]:
    with accounting_server() as made:
        yield made


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant("Acme")


def order(books: AccountingServer, **changes: Any) -> dict[str, Any]:
    return {"name": "Books", "kind": "api", "base_url": books.url, "token": TOKEN, **changes}


def connect(acme: Tenant, books: AccountingServer, **changes: Any) -> int:
    response = acme.owner.post(CONNECTIONS, json=order(books, **changes))
    assert response.status_code == 201, response.text
    return int(response.json()["id"])


def connect_files(acme: Tenant, name: str = "Files") -> int:
    return int(acme.owner.post(CONNECTIONS, json={"name": name, "kind": "csv"}).json()["id"])


def upload(acme: Tenant, connection_id: int, content: str, collection: str = "transactions", **headers: str) -> Any:
    params: dict[str, Any] = {"connection_id": connection_id, "collection": collection}
    return acme.agent.post("/api/ledger/import", params=params, content=content, headers=AS_CSV | headers)


# Connections


def test_a_connection_is_tried_kept_shown_and_deleted(acme: Tenant, books: AccountingServer) -> None:
    books.asked.clear()
    response = acme.owner.post(CONNECTIONS, json=order(books, base_url=f"{books.url}/"))
    made = response.json()
    assert response.headers["location"] == f"{CONNECTIONS}/{made['id']}"
    assert books.pages == ["counterparties"]
    assert (made["kind"], made["base_url"], made["state"], made["last_synced_at"]) == ("api", books.url, "ready", None)
    assert "token" not in response.text
    assert acme.viewer.get(f"{CONNECTIONS}/{made['id']}").json() == made
    assert acme.viewer.get(CONNECTIONS).json()["items"] == [made]
    assert acme.owner.delete(f"{CONNECTIONS}/{made['id']}").status_code == 204
    assert_problem(acme.viewer.get(f"{CONNECTIONS}/{made['id']}"), 404)
    audited = [event["action"] for event in acme.owner.get("/api/audit").json()["items"]]
    assert audited[:2] == ["ledger.disconnected", "ledger.connected"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token": "wrong"}, "does not accept the token"),
        ({"base_url": "http://127.0.0.1:9/api"}, "cannot be reached"),
        ({"base_url": "http://127.0.0.2/api"}, "has to begin with https"),
        ({"base_url": "https://127.0.0.2/api"}, "is an address inside the network"),
        ({"base_url": "https://no-such-host.invalid"}, "cannot be"),
    ],
)
def test_an_accounting_system_that_does_not_answer_is_not_kept(
    acme: Tenant, books: AccountingServer, changes: dict[str, str], says: str
) -> None:
    problem = assert_problem(acme.owner.post(CONNECTIONS, json=order(books, **changes)), 422)
    assert says in problem["detail"]
    assert acme.viewer.get(CONNECTIONS).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "x", "kind": "api"}, "needs base_url and token"),
        ({"name": "x", "kind": "csv", "token": "t"}, "neither base_url nor token"),
        ({"name": "x", "kind": "api", "base_url": "ftp://a", "token": "t"}, "has to be an address"),
        ({"name": "x", "kind": "api", "base_url": "https://me:pw@a", "token": "t"}, "without a user"),
        ({"name": "x", "kind": "api", "base_url": "https://a?b=c", "token": "t"}, "without a user, ? or #"),
        ({"name": "x", "kind": "api", "base_url": "https://a", "token": "t\n\u00e9"}, "printable ASCII"),
        ({"name": " ", "kind": "csv"}, "body.name"),
    ],
)
def test_an_impossible_connection_is_refused(acme: Tenant, body: dict[str, str], says: str) -> None:
    problem = assert_problem(acme.owner.post(CONNECTIONS, json=body), 422, "Invalid request")
    assert says in problem["detail"]
    assert "pw" not in json.dumps(problem)


def test_names_are_taken_once(acme: Tenant, books: AccountingServer) -> None:
    connect_files(acme, "Books")
    problem = assert_problem(acme.owner.post(CONNECTIONS, json=order(books)), 409, "Name taken")
    assert "choose another name" in problem["detail"]


def test_a_repeated_request_is_replayed_without_asking_the_accounting_system(
    acme: Tenant, books: AccountingServer
) -> None:
    key = {"Idempotency-Key": "books-1"}
    first = acme.owner.post(CONNECTIONS, json=order(books), headers=key)
    books.asked.clear()
    again = acme.owner.post(CONNECTIONS, json=order(books), headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert books.asked == []


def test_a_token_is_changed_only_for_one_that_works(acme: Tenant, books: AccountingServer) -> None:
    path = f"{CONNECTIONS}/{connect(acme, books)}/token"
    assert_problem(acme.owner.post(path, json={"token": "wrong"}), 422, "Accounting system refused")
    assert acme.owner.post(path, json={"token": TOKEN}).status_code == 200
    assert_problem(acme.owner.post(f"{CONNECTIONS}/{connect_files(acme)}/token", json={"token": TOKEN}), 409)


def test_roles_and_tenants_are_kept_apart(api: RunningApi, acme: Tenant, books: AccountingServer) -> None:
    connection_id = connect(acme, books)
    assert_problem(acme.agent.post(CONNECTIONS, json=order(books)), 403)
    assert_problem(acme.agent.delete(f"{CONNECTIONS}/{connection_id}"), 403)
    assert_problem(acme.viewer.post(f"{CONNECTIONS}/{connection_id}/sync"), 403)
    rival = api.tenant("Rival")
    for response in (
        rival.viewer.get(f"{CONNECTIONS}/{connection_id}"),
        rival.agent.post(f"{CONNECTIONS}/{connection_id}/sync"),
        rival.owner.delete(f"{CONNECTIONS}/{connection_id}"),
        rival.owner.post(f"{CONNECTIONS}/{connection_id}/token", json={"token": TOKEN}),
        upload(rival, connection_id, COMPANIES),
    ):
        assert_problem(response, 404)


# Sync


def test_a_sync_is_a_task_and_the_open_one_is_answered_again(acme: Tenant, books: AccountingServer) -> None:
    connection_id = connect(acme, books)
    response = acme.agent.post(f"{CONNECTIONS}/{connection_id}/sync")
    task = response.json()
    assert (response.status_code, task["job_type"], task["queue"]) == (202, "sync_ledger", "low")
    assert response.headers["location"] == f"/api/tasks/{task['id']}"
    assert acme.agent.post(f"{CONNECTIONS}/{connection_id}/sync").json()["id"] == task["id"]
    other = connect(acme, books, name="Other books")
    problem = assert_problem(acme.agent.post(f"{CONNECTIONS}/{other}/sync"), 409, "Ledger busy")
    assert f"task {task['id']}" in problem["detail"]
    assert_problem(acme.owner.delete(f"{CONNECTIONS}/{connection_id}"), 409, "Ledger busy")
    acme.agent.post(f"/api/tasks/{task['id']}/cancel")
    assert acme.owner.delete(f"{CONNECTIONS}/{connection_id}").status_code == 204


def test_files_cannot_be_synced(acme: Tenant) -> None:
    response = acme.agent.post(f"{CONNECTIONS}/{connect_files(acme)}/sync")
    assert "/api/ledger/import" in assert_problem(response, 409, "Wrong kind of connection")["detail"]


# CSV


def test_a_csv_is_imported_and_wrong_rows_are_reported(acme: Tenant) -> None:
    connection_id = connect_files(acme)
    first = upload(acme, connection_id, COMPANIES, "counterparties").json()
    assert (first["created"], first["rejected"]) == (2, 0)
    response = upload(acme, connection_id, BOOKED)
    report = response.json()
    assert response.status_code == 201, response.text
    counts = {name: report[name] for name in ("total", "created", "updated", "deleted", "unchanged", "rejected")}
    assert counts == {"total": 4, "created": 2, "updated": 0, "deleted": 0, "unchanged": 0, "rejected": 2}
    assert report["errors"] == [
        {"line": 4, "column": "amount", "message": "input should be a valid decimal"},
        {
            "line": 5,
            "column": None,
            "message": "counterparty: is not one of the counterparties of this connection",
        },
    ]
    again = upload(acme, connection_id, BOOKED).json()
    assert (again["created"], again["unchanged"], again["rejected"]) == (0, 2, 2)


def test_rows_without_a_version_are_newer_than_all_before(acme: Tenant) -> None:
    connection_id = connect_files(acme)
    upload(acme, connection_id, COMPANIES, "counterparties")
    report = upload(acme, connection_id, "id,name,deleted\nC-1,Moreno,\nC-2,,yes\nC-7,,yes\n", "counterparties").json()
    assert {name: report[name] for name in ("updated", "deleted", "unchanged")} == {
        "updated": 1,
        "deleted": 1,
        "unchanged": 1,
    }
    params: dict[str, Any] = {"connection_id": connection_id}
    listed = acme.viewer.get("/api/ledger/counterparties", params=params).json()["items"]
    assert [each["name"] for each in listed] == ["Moreno"]
    gone = acme.viewer.get("/api/ledger/counterparties", params={**params, "deleted": True}).json()["items"]
    assert [each["external_id"] for each in gone] == ["C-2"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "first line is empty"),
        ("name\nx\n", "The column id is missing"),
        ("id,colour\n1,red\n", "the file has 'colour'"),
        ("id,id\n1,1\n", "is there twice"),
        ('id,name\nC-1,"open\n', "never closed"),
        ("id,name\nC-1,ok\nC-2,\0\n", "NUL"),
    ],
)
def test_a_malformed_csv_imports_nothing(acme: Tenant, content: str, says: str) -> None:
    response = upload(acme, connect_files(acme), content, "counterparties")
    assert says in assert_problem(response, 422, "Malformed CSV")["detail"]
    assert acme.viewer.get("/api/ledger/counterparties").json()["items"] == []


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [
        ("C-1,a,b,c", None, "more cells than there are columns"),
        ("C-1,,", "name", "field required"),
        ("C-1,x,perhaps", "deleted", "is neither yes nor no"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(acme: Tenant, row: str, column: str | None, says: str) -> None:
    report = upload(acme, connect_files(acme), f"id,name,deleted\n{row}\nC-2,fine,\n", "counterparties").json()
    assert (report["created"], report["rejected"]) == (1, 1)
    assert report["errors"][0]["column"] == column
    assert says in report["errors"][0]["message"]


def test_a_repeated_import_is_replayed(acme: Tenant) -> None:
    connection_id = connect_files(acme)
    key = {"Idempotency-Key": "import-1"}
    first = upload(acme, connection_id, COMPANIES, "counterparties", **key)
    again = upload(acme, connection_id, COMPANIES, "counterparties", **key)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")


def test_a_csv_that_is_too_large_or_for_the_wrong_connection_is_refused(acme: Tenant, books: AccountingServer) -> None:
    assert_problem(upload(acme, connect_files(acme), "id\n" + "x" * 100_000), 413)
    assert_problem(upload(acme, connect(acme, books), COMPANIES), 409, "Wrong kind of connection")


# Lists


def test_transactions_are_filtered_and_paged(acme: Tenant) -> None:
    connection_id = connect_files(acme)
    rows = "".join(f"T-{n},{n}.5,{'EUR' if n % 2 else 'USD'},2026-01-{n:02},posted\n" for n in range(1, 10))
    upload(acme, connection_id, f"id,amount,currency,date,status\n{rows}T-99,1,EUR,2026-02-01,voided\n")

    def ids(**params: Any) -> list[str]:
        items = acme.viewer.get("/api/ledger/transactions", params=params).json()["items"]
        return [item["external_id"] for item in items]

    assert ids(currency="USD", booked_from="2026-01-04", booked_until="2026-01-07") == ["T-4", "T-6"]
    assert ids(status="voided") == ["T-99"]
    assert ids(connection_id=connection_id + 1) == []
    page = acme.viewer.get("/api/ledger/transactions", params={"limit": 4}).json()
    rest = acme.viewer.get("/api/ledger/transactions", params={"limit": 9, "cursor": page["next_cursor"]}).json()
    assert [item["external_id"] for item in page["items"] + rest["items"]][3:5] == ["T-4", "T-5"]
    assert page["items"][0]["amount"] == "1.5000"
    assert rest["next_cursor"] is None


# The command line


def run(api: RunningApi, acme: Tenant, *arguments: str, status: int = 0, token: str = TOKEN) -> Any:
    """Run ``switchboard ledger``; what it printed, as JSON where it is."""
    env = {
        "SWITCHBOARD_URL": api.url,
        "SWITCHBOARD_API_KEY": acme.secrets[Role.OWNER],
        "SWITCHBOARD_LEDGER_TOKEN": token,
    }
    with capture_logs():  # the api runs in this process, and its log is no part of what the command prints
        result = CliRunner().invoke(app, ["ledger", *arguments], env=env)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout) if "--json" in arguments and status == 0 else result.output


def test_the_command_line_connects_and_syncs(api: RunningApi, acme: Tenant, books: AccountingServer) -> None:
    made = run(api, acme, "connect", "Books", "--base-url", books.url, "--json")
    assert run(api, acme, "sync", str(made["id"]), "--json")["job_type"] == "sync_ledger"
    assert "Books" in run(api, acme, "connections")
    told = run(api, acme, "connect", "More", "--base-url", books.url, status=1, token="wrong")
    assert "does not accept the token" in told


def test_the_command_line_imports_and_lists(api: RunningApi, acme: Tenant, tmp_path: Path) -> None:
    made = str(run(api, acme, "connect", "Files", "--json")["id"])
    companies, booked = tmp_path / "companies.csv", tmp_path / "booked.csv"
    companies.write_text(COMPANIES)
    booked.write_text(BOOKED)
    into = ("--connection", made, "--collection")
    assert run(api, acme, "import", str(companies), *into, "counterparties", "--json")["created"] == 2
    told = run(api, acme, "import", str(booked), *into, "transactions")
    assert "input should be a valid decimal" in told
    assert [each["name"] for each in run(api, acme, "counterparties", "--search", "ito", "--json")] == ["Ito Tools"]
    assert "119.9000" in run(api, acme, "transactions", "--from", "2026-01-26", "--until", "2026-01-26")
    assert "cannot be read" in run(api, acme, "import", "/nowhere.csv", *into, "transactions", status=1)
