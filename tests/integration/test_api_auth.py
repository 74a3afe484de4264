"""Keys, roles and tenants: who may do what, and that nobody sees what belongs to somebody else."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update
from structlog.testing import capture_logs

from integration.api_support import NOBODY, RunningApi, Tenant, assert_problem, fresh_api, running_api
from migration_support import connected
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.tenancy.models import ApiKey, Role
from switchboard_core.tenancy.service import create_api_key


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant("Acme")


@pytest.fixture
def rival(api: RunningApi) -> Tenant:
    return api.tenant("Rival")


def test_a_request_without_a_key_is_told_how_to_send_one(api: RunningApi) -> None:
    response = api.client().get("/api/business")
    assert_problem(response, 401, "Not authenticated")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("secret", ["sbk_wrong", "not-a-key", "sbk_" + "x" * 5000])
def test_an_unknown_key_opens_nothing(api: RunningApi, secret: str) -> None:
    body = assert_problem(api.client(secret).get("/api/business"), 401)
    assert secret not in body["detail"]


def test_an_expired_key_is_told_so(api: RunningApi, acme: Tenant) -> None:
    with api.runtime.database.tenant(acme.id) as session:
        key, secret = create_api_key(session, "old", Role.OWNER, datetime.now(UTC) + timedelta(hours=1))
        assert api.client(acme.secrets[Role.OWNER]).get("/api/business").status_code == 200
        session.execute(
            update(ApiKey).where(ApiKey.id == key.id).values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    assert "expired" in assert_problem(api.client(secret).get("/api/business"), 401)["detail"]


def test_a_revoked_key_stops_working_at_once(api: RunningApi, acme: Tenant) -> None:
    created = acme.owner.post("/api/keys", json={"name": "CRM", "role": "agent"}).json()
    client = api.client(created["secret"])
    assert client.get("/api/business").status_code == 200
    assert acme.owner.delete(f"/api/keys/{created['id']}").status_code == 204
    assert "revoked" in assert_problem(client.get("/api/business"), 401)["detail"]
    assert acme.owner.delete(f"/api/keys/{created['id']}").status_code == 204


def test_a_secret_is_shown_once_and_stored_as_a_hash(api: RunningApi, acme: Tenant) -> None:
    created = acme.owner.post("/api/keys", json={"name": "CRM", "role": "viewer"})
    secret = created.json()["secret"]
    assert created.status_code == 201
    assert secret not in acme.owner.get("/api/keys").text
    with connected(api.owner_url) as connection:
        stored = connection.execute(
            text("SELECT key_hash FROM api_keys WHERE id = :id"), {"id": created.json()["id"]}
        ).scalar_one()
    assert stored == hashlib.sha256(secret.encode()).digest()


def test_a_viewer_reads_and_changes_nothing(acme: Tenant) -> None:
    assert acme.viewer.get("/api/tasks").status_code == 200
    assert_problem(acme.viewer.post("/api/tasks/1/cancel"), 403, "Role too low")
    assert_problem(acme.viewer.patch("/api/business", json={"call_cap": 5}), 403)


def test_an_agent_works_and_manages_nothing(acme: Tenant) -> None:
    assert_problem(acme.agent.post("/api/tasks/1/cancel"), 404)
    for response in (
        acme.agent.get("/api/keys"),
        acme.agent.post("/api/keys", json={"name": "mine", "role": "owner"}),
        acme.agent.patch("/api/business", json={"call_cap": 5}),
        acme.agent.get("/api/audit"),
    ):
        assert_problem(response, 403, "Role too low")


def test_another_business_s_key_is_as_good_as_none(acme: Tenant, rival: Tenant) -> None:
    theirs = rival.owner.get("/api/keys").json()["items"][0]["id"]
    foreign = assert_problem(acme.owner.delete(f"/api/keys/{theirs}"), 404)
    missing = assert_problem(acme.owner.delete(f"/api/keys/{theirs + 1000}"), 404)
    assert foreign["detail"].replace(str(theirs), "") == missing["detail"].replace(str(theirs + 1000), "")
    assert theirs not in {key["id"] for key in acme.owner.get("/api/keys").json()["items"]}


@pytest.mark.parametrize("impossible", ["0", "-1", "abc", str(2**63), "9" * 40])
def test_an_id_that_cannot_be_is_not_found(acme: Tenant, impossible: str) -> None:
    assert_problem(acme.owner.delete(f"/api/keys/{impossible}"), 404)


def test_the_last_owner_key_cannot_be_revoked(acme: Tenant) -> None:
    keys = acme.owner.get("/api/keys").json()["items"]
    owner = next(key["id"] for key in keys if key["role"] == "owner")
    assert_problem(acme.owner.delete(f"/api/keys/{owner}"), 409, "Last owner key")
    another = acme.owner.post("/api/keys", json={"name": "second", "role": "owner"}).json()["id"]
    assert acme.owner.delete(f"/api/keys/{owner}").status_code == 204
    assert another


def test_a_key_cannot_be_born_expired(acme: Tenant) -> None:
    order = {"name": "old", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}
    body = assert_problem(acme.owner.post("/api/keys", json=order), 422)
    assert body["errors"][0]["field"] == "body.expires_at"


def test_settings_change_field_by_field_and_leave_a_trace(acme: Tenant) -> None:
    change = {
        "call_cap": 10,
        "caller_ids": ["+1 415-555-0100"],
        "calling_days": ["mon", "sun"],
        "calling_from": "08:30",
    }
    changed = acme.owner.patch("/api/business", json=change)
    assert changed.status_code == 200, changed.text
    business = acme.viewer.get("/api/business").json()
    assert business == changed.json()
    assert business["call_cap"] == 10
    assert business["caller_ids"] == ["+14155550100"]
    assert business["calling_days"] == ["mon", "sun"]
    assert (business["calling_from"], business["calling_until"]) == ("08:30", "20:00")
    event = acme.owner.get("/api/audit").json()["items"][0]
    assert event["action"] == "business.updated"
    assert event["detail"]["call_cap"] == {"from": 3, "to": 10}
    assert "+14155550100" not in str(event)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timezone": "Mars/Olympus"}, "body.timezone"),
        ({"caller_ids": ["+14155550100", "hello"]}, "body.caller_ids.1"),
        ({"call_cap": 1001}, "body.call_cap"),
        ({"calls_per_second": 0}, "body.calls_per_second"),
        ({"calling_days": []}, "body.calling_days"),
        ({"calling_from": "09:00:30"}, "body.calling_from"),
        ({"name": "\u0000"}, "body.name"),
        ({"surprise": 1}, "body.surprise"),
        ({"call_cap": None}, "body"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_changes(acme: Tenant, change: dict[str, object], field: str) -> None:
    before = acme.viewer.get("/api/business").json()
    body = assert_problem(acme.owner.patch("/api/business", json={"name": "New", **change}), 422)
    assert [error["field"] for error in body["errors"]] == [field]
    assert acme.viewer.get("/api/business").json() == before


def test_the_audit_log_shows_one_business_only(acme: Tenant, rival: Tenant) -> None:
    rival.owner.patch("/api/business", json={"call_cap": 7})
    actions = [event["action"] for event in acme.owner.get("/api/audit").json()["items"]]
    assert actions == ["api_key.created"] * 3 + ["business.created"]


def test_too_many_requests_are_asked_to_wait(database_urls: DatabaseUrls, redis_url: str) -> None:
    with running_api(database_url=database_urls.app, redis_url=redis_url, rate_limit_per_minute=3) as api:
        acme = api.tenant()
        answers = [acme.viewer.get("/api/business") for _ in range(4)]
        assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
        assert_problem(answers[3], 429, "Too many requests")
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        assert acme.agent.get("/api/business").status_code == 200, "another key has a limit of its own"


def test_nothing_is_limited_while_redis_is_away(database_urls: DatabaseUrls) -> None:
    with running_api(database_url=database_urls.app, redis_url=f"redis://{NOBODY}/0", rate_limit_per_minute=1) as api:
        acme = api.tenant()
        with capture_logs() as logs:
            statuses = {acme.viewer.get("/api/business").status_code for _ in range(3)}
    assert statuses == {200}
    said = [entry for entry in logs if entry["event"].startswith("requests are not rate-limited")]
    assert len(said) == 1
