"""A POST that is sent twice has one effect and one answer."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text

from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from migration_support import connected
from switchboard_api.auth import Agent, RuntimeDep
from switchboard_api.idempotency import IdempotencyDep
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

slow_routes = APIRouter(prefix="/test")
entered, leave = threading.Event(), threading.Event()


class Made(BaseModel):
    """An answer."""

    made: str


@slow_routes.post("/slow")
def slow(caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Works until the test lets it end."""
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> Made:
            entered.set()
            assert leave.wait(5)
            return Made(made="slowly")

        return once.run(session, effect, status=202, headers=lambda _: {"Location": "/somewhere"})


@slow_routes.post("/things/{thing}")
def thing(thing: str, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """One route for many paths."""
    with runtime.database.tenant(caller.business_id) as session:
        return once.run(session, lambda: Made(made=thing))


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey, slow_routes) as running:
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant()


def create(tenant: Tenant, key: str, name: str = "CRM", role: str = "viewer") -> httpx.Response:
    return tenant.owner.post("/api/keys", json={"name": name, "role": role}, headers={"Idempotency-Key": key})


def names(tenant: Tenant) -> list[str]:
    return [item["name"] for item in tenant.owner.get("/api/keys").json()["items"] if item["name"] not in _ROLES]


_ROLES = {"owner", "agent", "viewer"}


def test_the_second_request_gets_the_first_answer(acme: Tenant) -> None:
    first, second = create(acme, "a"), create(acme, "a")
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.status_code == first.status_code == 201
    assert {**first.json(), "secret": None} == second.json(), "a secret is shown once"
    assert names(acme) == ["CRM"]


def test_an_answer_is_replayed_to_the_byte_with_its_headers(acme: Tenant) -> None:
    leave.set()
    first, second = (acme.agent.post("/test/slow", headers={"Idempotency-Key": "bytes"}) for _ in range(2))
    assert first.content == second.content
    assert first.status_code == second.status_code == 202
    assert first.headers["location"] == second.headers["location"] == "/somewhere"


def test_another_body_with_the_same_key_is_refused(acme: Tenant) -> None:
    create(acme, "a")
    assert_problem(create(acme, "a", name="Other"), 422, "Idempotency key reused")
    assert names(acme) == ["CRM"]


def test_another_path_of_the_route_with_the_same_key_is_refused(acme: Tenant) -> None:
    headers = {"Idempotency-Key": "path"}
    assert acme.agent.post("/test/things/one", headers=headers).status_code == 201
    assert_problem(acme.agent.post("/test/things/two", headers=headers), 422, "Idempotency key reused")


def test_a_key_counts_per_route_and_per_business(api: RunningApi, acme: Tenant) -> None:
    rival = api.tenant("Rival")
    assert create(acme, "a").json()["id"] != create(rival, "a", name="Theirs").json()["id"]
    assert acme.agent.post("/test/things/one", headers={"Idempotency-Key": "a"}).status_code == 201


def test_a_key_with_blanks_is_refused(acme: Tenant) -> None:
    body = assert_problem(create(acme, "a b"), 422)
    assert body["errors"][0]["field"] == "header.Idempotency-Key"


def test_the_first_request_still_at_work_answers_409(acme: Tenant) -> None:
    entered.clear()
    leave.clear()
    headers = {"Idempotency-Key": "slow"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(acme.agent.post, "/test/slow", headers=headers)
        assert entered.wait(5)
        meanwhile = acme.owner.post("/test/slow", headers=headers)
        leave.set()
        assert first.result().status_code == 202
    assert_problem(meanwhile, 409, "Request in flight")
    assert meanwhile.headers["retry-after"] == "1"


def test_of_many_at_once_exactly_one_has_an_effect(acme: Tenant) -> None:
    gate = threading.Barrier(8)

    def send(_: int) -> int:
        gate.wait(10)
        return create(acme, "race").status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(8)))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert names(acme) == ["CRM"]


def test_what_failed_is_not_remembered(acme: Tenant) -> None:
    order = {"name": "CRM", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}
    headers = {"Idempotency-Key": "again"}
    assert_problem(acme.owner.post("/api/keys", json=order, headers=headers), 422)
    assert create(acme, "again").status_code == 201


def test_an_expired_key_starts_anew(api: RunningApi, acme: Tenant) -> None:
    first = create(acme, "old")
    with connected(api.owner_url) as connection:
        connection.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    second = create(acme, "old", name="New")
    assert second.status_code == 201
    assert "idempotency-replayed" not in second.headers
    assert second.json()["id"] != first.json()["id"]
    assert create(acme, "old", name="New").headers["idempotency-replayed"] == "true"


def test_no_secret_is_remembered(api: RunningApi, acme: Tenant) -> None:
    secret = create(acme, "s").json()["secret"]
    with connected(api.owner_url) as connection:
        remembered = connection.execute(
            text("SELECT string_agg(response::text, '') FROM idempotency_keys")
        ).scalar_one()
    assert secret not in remembered
