"""Bad input and broken surroundings: each a clear problem, nothing half-written."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text
from structlog.testing import capture_logs

from integration.api_support import NOBODY, RunningApi, Tenant, assert_problem, fresh_api, running_api
from migration_support import connected, migration_settings
from switchboard_api.auth import Agent, RuntimeDep
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.migrate import run_migrations

odd_routes = APIRouter(prefix="/test")


class Texts(BaseModel):
    """A body of any size."""

    texts: list[str]


@odd_routes.get("/fault")
def fault() -> None:
    """Fails as nobody foresaw."""
    msg = "the cause +14155550123"
    raise RuntimeError(msg)


@odd_routes.post("/texts")
def texts(body: Texts) -> int:
    """Takes a body without needing a key."""
    return len(body.texts)


@odd_routes.post("/tasks")
def create_task(caller: Agent, runtime: RuntimeDep) -> int:
    """Changes the domain, then enqueues a job whose type came with migration 104."""
    with runtime.database.tenant(caller.business_id) as session:
        session.execute(text("UPDATE businesses SET name = 'half-written'"))
        return runtime.tasks.create(session, "delete_leads", {}).id


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey, odd_routes, max_body_bytes=2048) as running:
        yield running


@pytest.fixture(scope="module")
def acme(api: RunningApi) -> Tenant:
    return api.tenant()


def test_an_unknown_path_is_a_problem(api: RunningApi) -> None:
    assert_problem(api.client().get("/api/nothing"), 404, "Not Found")


def test_a_wrong_method_says_which_are_right(acme: Tenant) -> None:
    response = acme.owner.put("/api/business", json={})
    assert "GET" in assert_problem(response, 405)["detail"]
    assert "GET" in response.headers["allow"]


def test_malformed_json_says_where(acme: Tenant) -> None:
    response = acme.owner.patch(
        "/api/business", content='{"call_cap": 3,,}', headers={"Content-Type": "application/json"}
    )
    assert "character 15" in assert_problem(response, 400, "Malformed JSON")["detail"]


def test_json_that_is_no_utf8_is_a_problem(acme: Tenant) -> None:
    response = acme.owner.patch(
        "/api/business", content=b'{"name": "\xff"}', headers={"Content-Type": "application/json"}
    )
    assert_problem(response, 400)


def test_a_nest_of_brackets_is_a_problem(acme: Tenant) -> None:
    nest = "[" * 1000 + "]" * 1000
    response = acme.owner.patch("/api/business", content=nest, headers={"Content-Type": "application/json"})
    assert_problem(response, 400)


def test_another_kind_of_body_is_told_to_be_json(acme: Tenant) -> None:
    assert_problem(acme.owner.post("/api/keys", data={"name": "x"}), 415, "Unsupported media type")


def test_no_body_at_all_is_named(acme: Tenant) -> None:
    body = assert_problem(acme.owner.post("/api/keys"), 422)
    assert body["errors"] == [{"field": "body", "message": "Field required"}]


def test_a_wrong_field_is_named_and_its_value_never_repeated(acme: Tenant) -> None:
    response = acme.owner.post("/api/keys", json={"name": "x", "role": "sbk_secret_in_the_wrong_place"})
    assert assert_problem(response, 422)["errors"][0]["field"] == "body.role"
    assert "sbk_secret" not in response.text


def test_a_wrong_query_is_named(acme: Tenant) -> None:
    body = assert_problem(acme.viewer.get("/api/tasks?status=done&limit=0"), 422)
    assert [error["field"] for error in body["errors"]] == ["query.limit", "query.status"]


def test_a_body_that_says_it_is_too_large_is_refused(api: RunningApi) -> None:
    response = api.client().post("/test/texts", json={"texts": ["x" * 3000]})
    assert assert_problem(response, 413, "Body too large")["limit"] == 2048


def test_a_body_that_does_not_say_its_size_is_counted(api: RunningApi) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"texts": ["'
        for _ in range(30):
            yield b"x" * 100
        yield b'"]}'

    headers = {"Content-Type": "application/json"}
    assert_problem(api.client().post("/test/texts", content=chunks(), headers=headers), 413, "Body too large")


def test_an_import_may_be_larger_than_other_bodies(api: RunningApi) -> None:
    """Whatever the route says of it, it is not the size of other bodies that stops it."""
    response = api.client().post("/api/leads/import", content=b"phone\n" + b"+14155550100\n" * 300)
    assert response.status_code != 413


def test_what_nobody_foresaw_has_an_error_id_that_the_log_knows(api: RunningApi) -> None:
    with capture_logs() as logs:
        body = assert_problem(api.client().get("/test/fault"), 500, "Internal error")
    assert "the cause" not in str(body)
    entry = next(entry for entry in logs if entry["event"] == "unexpected error")
    assert entry["error_id"] == body["error_id"]
    assert entry["log_level"] == "error"
    assert "the cause" in str(entry["exc_info"])


def test_each_request_has_an_id_and_one_log_line_without_its_query(api: RunningApi) -> None:
    with capture_logs() as logs:
        mine = api.client().get("/api/tasks?cursor=secret", headers={"X-Request-ID": "my-id.1"})
        odd = api.client().get("/api/tasks", headers={"X-Request-ID": "a b\tc"})
    assert mine.headers["x-request-id"] == "my-id.1"
    assert odd.headers["x-request-id"] not in {"", "a b\tc"}
    lines = [entry for entry in logs if entry["event"] == "request"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [("GET", "/api/tasks", 401)] * 2
    assert "secret" not in str(logs)


def test_metrics_count_requests_by_template(acme: Tenant) -> None:
    acme.viewer.get("/api/tasks/987654")
    metrics = acme.viewer.get("/metrics").text
    assert 'switchboard_http_requests_total{method="GET",route="/api/tasks/{task_id}",status="404"}' in metrics
    assert 'switchboard_http_request_duration_seconds_bucket{le="0.005",method="GET"' in metrics
    assert "987654" not in metrics


@pytest.fixture
def old_database_urls(empty_database_urls: DatabaseUrls) -> DatabaseUrls:
    """A database that migration 104 has not reached."""
    run_migrations(migration_settings(empty_database_urls), target="103")
    return empty_database_urls


def test_a_database_older_than_the_code_answers_503_and_keeps_nothing(
    old_database_urls: DatabaseUrls, redis_url: str
) -> None:
    with running_api(odd_routes, database_url=old_database_urls.app, redis_url=redis_url) as api:
        acme = api.tenant("Acme")
        body = assert_problem(acme.agent.post("/test/tasks"), 503)
        assert body["error"] == "Database migration required"
        assert body["details"] == "Contact administrator"
        assert acme.viewer.get("/api/business").json()["name"] == "Acme"
        run_migrations(migration_settings(old_database_urls))
        assert acme.agent.post("/test/tasks").status_code == 200


def test_a_column_that_is_not_there_yet_answers_503(database_urls: DatabaseUrls, redis_url: str) -> None:
    with running_api(database_url=database_urls.app, redis_url=redis_url) as api:
        acme = api.tenant()
        with connected(database_urls.owner) as connection:
            connection.execute(text("ALTER TABLE background_jobs RENAME COLUMN version TO later"))
        body = assert_problem(acme.viewer.get("/api/tasks"), 503)
        assert body["error"] == "Database migration required"


def test_a_database_that_is_away_answers_503_with_a_time_to_wait() -> None:
    with running_api() as api:
        response = api.client("sbk_any").get("/api/business")
        assert_problem(response, 503, "Database unavailable")
        assert response.headers["retry-after"] == "5"


def test_a_pool_that_is_used_up_answers_503(database_urls: DatabaseUrls, redis_url: str) -> None:
    pool = {"database_pool_size": 1, "database_pool_overflow": 0, "database_pool_timeout_seconds": 0.2}
    with running_api(database_url=database_urls.app, redis_url=redis_url, **pool) as api:
        acme = api.tenant()
        with api.runtime.database.tenant(acme.id) as session:
            session.execute(text("SELECT 1"))  # a transaction begins with its first statement
            assert_problem(acme.viewer.get("/api/business"), 503, "Database unavailable")
        assert acme.viewer.get("/api/business").status_code == 200


def test_the_process_lives_while_everything_else_is_away() -> None:
    with running_api() as api:
        assert api.client().get("/api/health").json() == {"status": "ok", "service": "api"}
        body = assert_problem(api.client().get("/api/ready"), 503, "Not ready")
    assert body["not_ready"] == ["database", "schema"]
    assert {name: check["ok"] for name, check in body["checks"].items()} == {
        "database": False,
        "schema": False,
        "redis": False,
    }


def test_ready_says_that_the_schema_is_missing(empty_database_urls: DatabaseUrls, redis_url: str) -> None:
    with running_api(database_url=empty_database_urls.app, redis_url=redis_url) as api:
        body = assert_problem(api.client().get("/api/ready"), 503, "Not ready")
    assert body["not_ready"] == ["schema"]
    assert "switchboard migrate" in body["detail"]


def test_redis_away_is_reported_and_does_no_harm(database_urls: DatabaseUrls) -> None:
    with running_api(database_url=database_urls.app, redis_url=f"redis://{NOBODY}/0") as api:
        ready = api.client().get("/api/ready")
        assert ready.status_code == 200
        assert not ready.json()["checks"]["redis"]["ok"]
        acme = api.tenant()
        assert acme.owner.patch("/api/business", json={"call_cap": 4}).json()["call_cap"] == 4


def test_ready_when_everything_is_there(api: RunningApi) -> None:
    ready = api.client().get("/api/ready").json()
    assert ready["status"] == "ready"
    assert all(check["ok"] for check in ready["checks"].values())


def test_a_client_that_leaves_in_the_middle_harms_nobody(api: RunningApi) -> None:
    host, port = httpx.URL(api.url).host, httpx.URL(api.url).port
    assert port is not None
    with socket.create_connection((host, port)) as connection:
        connection.sendall(
            b"POST /test/texts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    assert api.client().get("/api/health").status_code == 200


def test_every_operation_has_an_example_for_every_body(api: RunningApi) -> None:
    document = api.client().get("/openapi.json").json()
    bare = [
        f"{method} {path} {name}"
        for path, item in document["paths"].items()
        if not path.startswith("/test/")
        for method, operation in item.items()
        for name, media in _bodies(operation)
        if media.get("example") is None and "examples" not in media
    ]
    assert bare == []


def test_every_operation_is_described_and_its_errors_are_problems(api: RunningApi) -> None:
    document = api.client().get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith("/test/"):
                continue
            where = f"{method} {path}"
            assert operation.get("description"), where
            assert operation.get("tags"), where
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    page = ["text/html"] if path.startswith("/u/") and status == "404" else []
                    assert list(response["content"]) == [*page, "application/problem+json"], f"{where} {status}"
    assert "HTTPValidationError" not in str(document)


def test_the_documentation_is_served(api: RunningApi) -> None:
    assert "swagger" in api.client().get("/docs").text


def _bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from (("request", media) for media in operation.get("requestBody", {}).get("content", {}).values())
    for status, response in operation["responses"].items():
        yield from ((status, media) for media in response.get("content", {}).values())
