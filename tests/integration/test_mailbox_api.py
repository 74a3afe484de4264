"""Mailboxes over HTTP and from the command line, with a real IMAP server behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from imap_server import HOST, PASSWORD, USER, ImapServer, imap_server, mail
from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from integration.kernel_support import bench, kernel_database
from integration.mailbox_support import RULES, MailboxBench
from switchboard_api.logins import AT_ONCE
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_cli.main import app
from switchboard_core.jobs.kernel import Kernel
from switchboard_core.mailbox import service
from switchboard_core.mailbox.errors import MailboxUnreachableError
from switchboard_core.mailbox.service import MailboxNotFoundError, NotAReferenceError, credentials_reference
from switchboard_core.tenancy.models import Role
from switchboard_worker.tasks import mailbox as tasks
from switchboard_worker.tasks.mailbox import background_sort_task


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        yield running


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        yield running


@pytest.fixture
def acme(api: RunningApi, server: ImapServer) -> Tenant:
    server.wipe()
    return api.tenant()


def order(server: ImapServer, **changes: Any) -> dict[str, Any]:
    login = {"kind": "password", "password": PASSWORD}
    known = {"host": HOST, "port": server.port, "security": "none", "username": USER, "login": login}
    return {**known, **changes}


def connect(tenant: Tenant, server: ImapServer, **changes: Any) -> dict[str, Any]:
    response = tenant.owner.post("/api/mailboxes", json=order(server, **changes))
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def test_a_slow_mailbox_that_is_connected_takes_no_thread_of_other_requests(
    acme: Tenant, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use: list[float] = []

    def slow(*_: object) -> None:
        in_use.append(AT_ONCE.borrowed_tokens)
        raise MailboxUnreachableError("It took too long.")

    monkeypatch.setattr(service, "check_login", slow)
    answer = acme.owner.post("/api/mailboxes", json=order(server))
    assert_problem(answer, 422, "Mailbox unreachable")
    assert in_use == [1]


def test_a_mailbox_is_connected_listed_shown_and_removed(acme: Tenant, server: ImapServer, api: RunningApi) -> None:
    made = connect(acme, server, name="Office")
    assert (made["name"], made["auth"], made["folder"], made["rules"]) == ("Office", "password", "INBOX", [])
    assert acme.viewer.get("/api/mailboxes").json()["items"] == [made]
    assert acme.viewer.get(f"/api/mailboxes/{made['id']}").json() == made
    assert acme.owner.delete(f"/api/mailboxes/{made['id']}").status_code == 204
    assert_problem(acme.viewer.get(f"/api/mailboxes/{made['id']}"), 404)
    with psycopg.connect(api.owner_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM credentials").fetchone() == (0,)


def test_the_password_is_stored_encrypted_and_never_shown(acme: Tenant, server: ImapServer, api: RunningApi) -> None:
    shown = json.dumps(connect(acme, server)) + acme.viewer.get("/api/mailboxes").text
    assert PASSWORD not in shown
    assert "credential" not in shown
    with psycopg.connect(api.owner_url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT to_jsonb(c), convert_from(sealed, 'utf8') FROM credentials c").fetchall()
        kept = connection.execute("SELECT to_jsonb(k) FROM idempotency_keys k").fetchall()
    assert rows
    assert PASSWORD not in repr(rows) + repr(kept)


def test_connecting_again_replaces_the_password_and_keeps_the_rules(acme: Tenant, server: ImapServer) -> None:
    made = connect(acme, server)
    acme.agent.put(f"/api/mailboxes/{made['id']}/rules", json={"rules": RULES})
    again = connect(acme, server, name="Renamed")
    assert (again["id"], again["name"], len(again["rules"])) == (made["id"], "Renamed", len(RULES))


@pytest.mark.parametrize(
    ("changes", "title", "words"),
    [
        ({"login": {"kind": "password", "password": "wrong"}}, "Wrong credentials", "does not accept"),
        ({"port": 9}, "Mailbox unreachable", "nothing answers"),
        ({"security": "starttls"}, "Mailbox refused", "no encryption"),
        ({"host": "169.254.169.254", "security": "tls"}, "Mailbox refused", "TRUSTED_HOSTS"),
        ({"folder": "No such folder"}, "Mailbox refused", "opening the folder"),
    ],
)
def test_what_does_not_work_is_explained_and_not_kept(
    acme: Tenant, server: ImapServer, changes: dict[str, Any], title: str, words: str
) -> None:
    problem = assert_problem(acme.owner.post("/api/mailboxes", json=order(server, **changes)), 422, title)
    assert words in problem["detail"]
    assert acme.viewer.get("/api/mailboxes").json()["items"] == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"name": "All", "match": {}, "action": {"move_to": "A"}}, "matches everything"),
        ({"name": "Nothing", "match": {"subject": "a"}, "action": {}}, "must do something"),
        ({"name": "Here", "match": {"subject": "a"}, "action": {"move_to": "inbox"}}, "the folder that is sorted"),
        ({"name": "Star", "match": {"subject": "a"}, "action": {"move_to": "A*"}}, "must not have"),
        ({"name": "Empty", "match": {"subject": "a"}, "action": {"move_to": "A//B"}}, "folder's name"),
        ({"name": "Future", "match": {"older_than_days": 0}, "action": {"move_to": "A"}}, "greater than"),
        ({"name": "Typo", "match": {"sbuject": "a"}, "action": {"move_to": "A"}}, "sbuject"),
        ({"name": "Invoices", "match": {"subject": "a"}, "action": {"move_to": "A"}}, "'Invoices'"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(
    acme: Tenant, server: ImapServer, rule: dict[str, Any], words: str
) -> None:
    path = f"/api/mailboxes/{connect(acme, server)['id']}/rules"
    problem = assert_problem(acme.agent.put(path, json={"rules": [*RULES, rule]}), 422, "Invalid request")
    assert words in problem["detail"]


def test_roles_and_tenants_are_kept_apart(acme: Tenant, server: ImapServer, api: RunningApi) -> None:
    made = connect(acme, server)
    rival = api.tenant("Rival")
    path = f"/api/mailboxes/{made['id']}"
    assert_problem(acme.agent.post("/api/mailboxes", json=order(server)), 403)
    assert_problem(acme.viewer.put(f"{path}/rules", json={"rules": []}), 403)
    assert_problem(acme.viewer.post("/sort"), 403)
    for response in (
        rival.viewer.get(path),
        rival.agent.put(f"{path}/rules", json={"rules": []}),
        rival.owner.delete(path),
        rival.agent.post(f"/sort?mailbox_id={made['id']}"),
    ):
        assert_problem(response, 404)
    assert rival.viewer.get("/api/mailboxes").json()["items"] == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_sort_answers_with_the_task(acme: Tenant, server: ImapServer, api: RunningApi, method: str) -> None:
    server.deliver(mail("<1@example.com>", subject="Invoice"), mail("<2@example.com>"))
    made = connect(acme, server)
    acme.agent.put(f"/api/mailboxes/{made['id']}/rules", json={"rules": RULES})
    response = acme.agent.request(method, "/sort")
    task = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"/api/tasks/{task['id']}")
    assert (task["job_type"], task["queue"], task["status"]) == ("background_sort_task", "default", "pending")
    assert acme.agent.request(method, "/sort").json()["id"] == task["id"]
    run_as_a_worker(api, task["id"])
    done = acme.viewer.get(f"/api/tasks/{task['id']}").json()
    assert (done["status"], done["done"], done["result"]["moved"]) == ("completed", 2, {"Receipts/2026": 1})
    assert server.contents() == {"INBOX": ["<2@example.com>"], "Receipts/2026": ["<1@example.com>"]}


def test_sort_says_what_is_missing(acme: Tenant, server: ImapServer) -> None:
    assert_problem(acme.agent.post("/sort"), 409, "No mailbox connected")
    made = connect(acme, server)
    assert_problem(acme.agent.get("/sort"), 409, "No rules")
    other = connect(acme, server, host="localhost")
    assert_problem(acme.agent.post("/sort"), 422, "Which mailbox")
    for mailbox in (made, other):
        acme.agent.put(f"/api/mailboxes/{mailbox['id']}/rules", json={"rules": RULES})
    tasks = [acme.agent.post(f"/sort?mailbox_id={mailbox['id']}").json()["id"] for mailbox in (made, other)]
    assert len(set(tasks)) == 2


def test_without_keys_nothing_is_entrusted(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey, server: ImapServer
) -> None:
    with fresh_api(postgres, migrated_template, valkey, credentials_keys="") as api:
        refused = api.tenant().owner.post("/api/mailboxes", json=order(server))
        assert "CREDENTIALS_KEYS" in assert_problem(refused, 503, "Secrets cannot be kept")["detail"]


def run_as_a_worker(api: RunningApi, task_id: int) -> None:
    runtime = api.runtime
    kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks.tasks(runtime))
    try:
        kernel.run_slice(task_id)
    finally:
        kernel.close()


def test_the_task_can_be_called_by_its_name(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    valkey: EmbeddedValkey,
    server: ImapServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.wipe()
    server.deliver(mail("<1@example.com>", subject="Invoice"))
    with kernel_database(postgres, migrated_template) as urls, bench(urls, valkey) as jobs:
        monkeypatch.setattr(tasks, "process_runtime", lambda: jobs.runtime)
        task = background_sort_task(credentials_reference(MailboxBench(jobs, server).mailbox()))
        assert (task.status, task.done) == ("completed", 1)
        assert server.contents() == {"Receipts/2026": ["<1@example.com>"]}
        with pytest.raises(MailboxNotFoundError):
            background_sort_task(credentials_reference(4711))


@pytest.mark.parametrize(
    "given",
    [
        '{"username": "anna", "password": "secret"}',
        '{"mailbox_id": 1, "password": "secret"}',
        '{"mailbox_id": "1"}',
        '{"mailbox_id": true}',
        '{"mailbox_id": -1}',
        "[]",
        "secret",
        "",
    ],
)
def test_only_a_reference_is_taken_never_credentials_themselves(given: str) -> None:
    with pytest.raises(NotAReferenceError) as caught:
        background_sort_task(given)
    assert "secret" not in str(caught.value)


def test_the_command_line_connects_sets_rules_sorts_and_removes(
    acme: Tenant, server: ImapServer, api: RunningApi, tmp_path: Path
) -> None:
    env = {"SWITCHBOARD_URL": api.url, "SWITCHBOARD_API_KEY": acme.secrets[Role.OWNER]}

    def run(*arguments: str, answer: str | None = None) -> Any:
        with capture_logs():  # of the api, which is in this process too
            result = CliRunner().invoke(app, ["mailbox", *arguments, "--json"], env=env, input=answer)
        assert result.exit_code == 0, result.output
        assert PASSWORD not in result.output
        return json.loads(result.stdout)

    where = (HOST, "--port", str(server.port), "--security", "none", "--user", USER)
    made = run("connect", *where, answer=f"{PASSWORD}\n")
    assert run("connect", *where, "--password-stdin", answer=f"{PASSWORD}\n")["id"] == made["id"]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(RULES))
    assert [rule["name"] for rule in run("rules", str(made["id"]), "--set", str(file))["rules"]] == [
        "Invoices",
        "News",
        "Alerts",
    ]
    assert len(run("rules", str(made["id"]))["rules"]) == 3
    assert [mailbox["id"] for mailbox in run("list")] == [made["id"]]
    assert run("sort")["job_type"] == "background_sort_task"
    assert run("remove", str(made["id"])) == {"removed": made["id"]}
    assert run("list") == []


@pytest.mark.parametrize(
    ("arguments", "answer", "words"),
    [
        (["connect", HOST, "--user", USER, "--password-stdin"], "", "standard input has no line"),
        (["connect", HOST, "--user", USER, "--token-url", "https://example.com/token"], "", "--client-id"),
        (["rules", "1", "--set", "/no/such/file"], "", "cannot be read"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments: list[str], answer: str, words: str) -> None:
    result = CliRunner().invoke(app, ["mailbox", *arguments], env={"SWITCHBOARD_API_KEY": "sbk_x"}, input=answer)
    assert result.exit_code != 0
    assert words in " ".join(result.output.split())
