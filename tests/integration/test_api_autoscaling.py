"""``GET /internal/autoscaling/{pool}``: who may ask, for what, and what the answer is."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from integration.api_support import NOBODY, RunningApi, Tenant, assert_problem, fresh_api, running_api
from migration_support import connected, migration_settings
from switchboard_api.runnable import RunnableWork, count_runnable
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.migrate import run_migrations
from switchboard_core.settings import ALL_QUEUES

SECRET = "a-token-of-the-autoscaler"


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey, internal_token=SECRET, jobs_admitted_per_business=2) as running:
        # What a test changes is to be seen at once.
        running.app.state.runnable_work = RunnableWork(lambda: count_runnable(running.runtime), keep_s=0.0)
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Iterator[Tenant]:
    tenant = api.tenant()
    yield tenant
    with connected(api.owner_url) as connection:
        connection.execute(text("DELETE FROM businesses"))


def ask(api: RunningApi, pool: str = "bulk", queues: str = "low,maintenance") -> httpx.Response:
    return api.client(SECRET).get(f"/internal/autoscaling/{pool}", params={"queues": queues})


def add_jobs(api: RunningApi, tenant: Tenant, number: int) -> None:
    with api.runtime.database.tenant(tenant.id) as session:
        for _ in range(number):
            api.runtime.tasks.create(session, "delete_leads", {})


def test_the_work_of_all_tenants_is_counted_for_the_queues_of_a_pool(api: RunningApi, acme: Tenant) -> None:
    add_jobs(api, acme, 1)
    add_jobs(api, api.tenant("Rival"), 5)
    assert ask(api).json() == {"runnable": 1 + 2}
    assert ask(api, "calls", "high,default").json() == {"runnable": 0}


def test_an_emptied_redis_hides_no_work(api: RunningApi, acme: Tenant) -> None:
    add_jobs(api, acme, 1)
    api.runtime.redis.flushall()
    assert ask(api).json() == {"runnable": 1}


def test_work_is_counted_while_redis_is_away(database_urls: DatabaseUrls) -> None:
    with running_api(database_url=database_urls.app, redis_url=f"redis://{NOBODY}/0", internal_token=SECRET) as api:
        add_jobs(api, api.tenant(), 1)
        assert ask(api).json() == {"runnable": 1}


@pytest.mark.parametrize("queue", ALL_QUEUES)
def test_every_queue_has_its_work(api: RunningApi, queue: str) -> None:
    assert ask(api, "recorder", queue).json() == {"runnable": 0}


@pytest.mark.parametrize("secret", [None, "sbk_wrong", "a-token", SECRET + "x", "tökén"])
def test_nobody_else_may_ask(api: RunningApi, secret: str | None) -> None:
    headers = {b"Authorization": f"Bearer {secret}".encode()} if secret else {}
    response = api.client().get("/internal/autoscaling/bulk?queues=nonsense", headers=headers)
    body = assert_problem(response, 401, "Not authenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert SECRET not in body["detail"]


def test_a_key_of_a_tenant_is_no_internal_token(acme: Tenant) -> None:
    assert_problem(acme.owner.get("/internal/autoscaling/bulk?queues=low"), 401)


def test_a_refused_token_is_logged_without_it(api: RunningApi) -> None:
    with capture_logs() as lines:
        api.client("another").get("/internal/autoscaling/bulk?queues=low")
    assert [line for line in lines if line["event"].startswith("autoscaler refused")]
    assert "another" not in str(lines)


def test_without_a_token_of_its_own_the_api_serves_no_autoscaler(database_urls: DatabaseUrls, redis_url: str) -> None:
    with running_api(database_url=database_urls.app, redis_url=redis_url) as api:
        for client in (api.client(), api.client(SECRET), api.client("")):
            body = assert_problem(client.get("/internal/autoscaling/bulk?queues=low"), 404)
            assert "INTERNAL_TOKEN" in body["detail"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param("?queues=low,lwo", "unknown queue lwo; known are high, default, low", id="unknown"),
        pytest.param("?queues=,", "no queue is named; known are", id="empty"),
        pytest.param("", "query.queues: Field required", id="absent"),
    ],
)
def test_queues_have_to_be_known(api: RunningApi, query: str, words: str) -> None:
    body = assert_problem(api.client(SECRET).get(f"/internal/autoscaling/bulk{query}"), 422, "Invalid request")
    assert words in body["detail"]
    assert body["errors"][0]["field"] == "query.queues"


def test_a_name_that_is_no_pool_s_is_not_found(api: RunningApi) -> None:
    assert_problem(ask(api, "Not.A.Pool"), 404)


def test_autoscalers_are_no_part_of_the_rate_limit(database_urls: DatabaseUrls, redis_url: str) -> None:
    with running_api(
        database_url=database_urls.app, redis_url=redis_url, internal_token=SECRET, rate_limit_per_minute=1
    ) as api:
        assert [ask(api).status_code for _ in range(3)] == [200, 200, 200]


def test_the_last_answer_is_a_metric_and_no_line_of_the_log(api: RunningApi, acme: Tenant) -> None:
    add_jobs(api, acme, 2)
    with capture_logs() as lines:
        ask(api, "metered")
    assert 'switchboard_runnable_jobs{pool="metered"} 2.0' in api.client().get("/metrics").text
    assert [line for line in lines if line["event"] == "request" and line["log_level"] == "info"] == []


def test_the_route_is_not_in_the_public_description(api: RunningApi) -> None:
    assert not [path for path in api.client().get("/openapi.json").json()["paths"] if "internal" in path]


def test_a_database_without_the_function_asks_to_be_migrated(empty_database_urls: DatabaseUrls, redis_url: str) -> None:
    run_migrations(migration_settings(empty_database_urls), target="104")
    with running_api(database_url=empty_database_urls.app, redis_url=redis_url, internal_token=SECRET) as api:
        assert_problem(ask(api), 503, "Database migration required")
