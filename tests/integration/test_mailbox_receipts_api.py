"""The routes and commands about receipts in mailboxes."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_cli.main import app as cli
from switchboard_core.tenancy.models import Role
from switchboard_simulator.speech_library import SPEECH_DIR


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        yield running


@pytest.fixture
def tenant(api: RunningApi) -> Tenant:
    return api.tenant()


def sql(api: RunningApi, query: str, *values: object) -> Any:
    url = api.owner_url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url) as connection:
        row = connection.execute(query, values).fetchone()
    return row[0] if row else None


def mailbox(api: RunningApi, tenant: Tenant) -> int:
    credential = sql(
        api, "INSERT INTO credentials (business_id, kind, sealed) VALUES (%s, 'mailbox', '') RETURNING id", tenant.id
    )
    found = sql(
        api,
        "INSERT INTO mailboxes (business_id, name, host, port, username, credential_id) "
        "VALUES (%s, 'Office', 'imap.example.com', 993, 'office@example.com', %s) RETURNING id",
        tenant.id,
        credential,
    )
    return int(found)


@pytest.fixture
def filled(api: RunningApi, tenant: Tenant) -> Tenant:
    """A business with a receipt of each day of June, over as many euros, the 30th in dollars."""
    sql(
        api,
        "INSERT INTO mailbox_receipts (business_id, mailbox_id, identity, folder, sender_name, sender_address, "
        "subject, amount, currency, date, confidence) "
        "SELECT %s, %s, n::text::bytea, 'INBOX', '=Shop ' || n, 'shop@example.com', 'Receipt', n, "
        "CASE n WHEN 30 THEN 'USD' ELSE 'EUR' END, make_timestamptz(2026, 6, n, 23, 59, 0, 'UTC'), 0.9 "
        "FROM generate_series(1, 30) n RETURNING id",
        tenant.id,
        mailbox(api, tenant),
    )
    return tenant


def amounts(tenant: Tenant, query: str) -> list[int]:
    answer = tenant.viewer.get(f"/api/mailbox-receipts?{query}")
    assert answer.status_code == 200, answer.text
    return [int(float(item["amount"])) for item in answer.json()["items"]]


def test_a_sync_is_accepted_once_and_heeds_the_folder(api: RunningApi, tenant: Tenant) -> None:
    path = f"/api/mailboxes/{mailbox(api, tenant)}/receipts-sync"
    first, again = tenant.agent.post(path), tenant.agent.post(path)
    other = tenant.agent.post(path, json={"folder": "Receipts"})
    assert [answer.status_code for answer in (first, again, other)] == [202, 202, 202]
    assert first.headers["location"] == f"/api/tasks/{first.json()['id']}"
    assert first.json()["job_type"] == "receipts_sync"
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


def test_the_mailbox_of_another_business_does_not_exist(api: RunningApi, tenant: Tenant) -> None:
    theirs = mailbox(api, api.tenant("Rival"))
    assert_problem(tenant.agent.post(f"/api/mailboxes/{theirs}/receipts-sync"), 404)


def test_a_viewer_may_look_and_not_sync(filled: Tenant) -> None:
    assert_problem(filled.viewer.post("/api/mailboxes/1/receipts-sync"), 403)
    assert amounts(filled, "limit=1") == [30]


def test_a_folder_that_cannot_be_one_is_refused(api: RunningApi, tenant: Tenant) -> None:
    answer = tenant.agent.post(f"/api/mailboxes/{mailbox(api, tenant)}/receipts-sync", json={"folder": ""})
    assert_problem(answer, 422)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("currency=USD", [30]),
        ("since=2026-06-28&until=2026-06-29", [29, 28]),
        ("min_amount=2&max_amount=3.50", [3, 2]),
        ("sender=shop 17", [17]),
        ("sender=%25", []),
        ("mailbox_id=999999", []),
    ],
)
def test_receipts_are_filtered(filled: Tenant, query: str, expected: list[int]) -> None:
    if query == "sender=%25":
        assert_problem(filled.viewer.get(f"/api/mailbox-receipts?{query}"), 422)
        query = "sender=%25%25"
    assert amounts(filled, query) == expected


@pytest.mark.parametrize("query", ["currency=euro", "since=soon", "until=9999-12-31", "min_amount=-1", "mailbox_id=0"])
def test_a_wrong_filter_is_refused(tenant: Tenant, query: str) -> None:
    assert_problem(tenant.viewer.get(f"/api/mailbox-receipts?{query}"), 422)


def test_receipts_come_in_pages(filled: Tenant) -> None:
    first = filled.viewer.get("/api/mailbox-receipts?limit=20").json()
    second = filled.viewer.get(f"/api/mailbox-receipts?limit=20&cursor={first['next_cursor']}").json()
    found = [float(item["amount"]) for item in first["items"] + second["items"]]
    assert found == [float(number) for number in range(30, 0, -1)]
    assert second["next_cursor"] is None


def test_receipts_of_another_business_are_not_shown(api: RunningApi, filled: Tenant) -> None:
    del filled
    assert api.tenant("Rival").viewer.get("/api/mailbox-receipts").json()["items"] == []


def test_the_csv_has_them_all_and_no_formula(filled: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard_api.csvs.PAGE", 7)
    answer = filled.viewer.get("/api/mailbox-receipts.csv?currency=EUR")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [float(row["amount"]) for row in rows] == [float(number) for number in range(29, 0, -1)]
    assert rows[0]["sender_name"] == "'=Shop 29"
    assert rows[0]["date"] == "2026-06-29T23:59:00+00:00"


# The command line


def run(api: RunningApi, tenant: Tenant, *words: str) -> Any:
    with capture_logs():  # the api, which runs in this process too, would log to the command's own output
        return CliRunner().invoke(cli, [*words, "--url", api.url, "--api-key", tenant.secrets[Role.AGENT]])


def test_the_commands_sync_and_list(api: RunningApi, filled: Tenant) -> None:
    mailbox_id = sql(api, "SELECT id FROM mailboxes WHERE business_id = %s", filled.id)
    synced = run(api, filled, "mailbox", "receipts-sync", str(mailbox_id), "--folder", "Receipts", "--json")
    assert json.loads(synced.stdout)["job_type"] == "receipts_sync"
    listed = run(api, filled, "mailbox", "receipts", "--currency", "USD")
    assert listed.exit_code == 0
    assert "30.00 USD" in listed.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "either"),
        (("invoice", "--audio", "x.wav"), "either"),
        (("--audio", "no-such-file.wav"), "cannot be read"),
        (("--audio", str(SPEECH_DIR / "manifest.json")), "is not a WAV file"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_a_sentence(
    api: RunningApi, tenant: Tenant, words: tuple[str, ...], sentence: str
) -> None:
    ended = run(api, tenant, "mailbox", "search", *words)
    assert ended.exit_code != 0
    assert sentence in " ".join((ended.output + str(ended.exception)).split())
