"""Ids of another business, tried on every route that the OpenAPI document has."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from integration.api_support import RunningApi, api_settings
from security.world import Marked, Operation, furnished_api, operations, rows_of
from switchboard_api.app import create_app
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.runtime import make_runtime


def routes() -> list[Operation]:
    """Every route that needs a key."""
    runtime = make_runtime(api_settings(), name="routes")
    try:
        return [found for found in operations(create_app(runtime).openapi()) if found.secured]
    finally:
        runtime.close()


ROUTES = routes()
WITH_IDS = [found for found in ROUTES if found.ids]


def queries() -> list[tuple[Operation, str]]:
    """Routes and the parameters of their queries that name a row."""
    return [(found, name) for found in ROUTES for name in found.query if name.endswith("_id")]


World = tuple[RunningApi, Sequence[Marked]]


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[World]:
    with furnished_api(postgres, migrated_template, valkey, 2) as made:
        yield made


PAYMENT = {"amount": "1.00", "currency": "EUR", "description": "x", "paid_at": "2026-01-26T11:05:20Z"}
RUN = {"name": "x", "message": "x"}
BROADCAST = {"name": "x", "channel": "sms", "body": "x"}


def send(
    client: httpx.Client, operation: Operation, path: str, query: dict[str, int | str] | None = None
) -> httpx.Response:
    if operation.body is None:
        return client.request(operation.method, path, params=query)
    media_type, example = operation.body
    if media_type == "application/json":
        return client.request(operation.method, path, params=query, json=example)
    return client.request(operation.method, path, params=query, content=example, headers={"Content-Type": media_type})


def test_there_are_routes_with_ids() -> None:
    assert len(WITH_IDS) > 25


@pytest.mark.parametrize("operation", WITH_IDS, ids=lambda operation: operation.name)
def test_an_id_of_another_business_is_not_found_and_nothing_happens(world: World, operation: Operation) -> None:
    api, (acme, rival) = world
    before = rows_of(api, rival.tenant.id)
    answer = send(acme.tenant.owner, operation, rival.path(operation))
    assert answer.status_code == 404, answer.text
    assert rival.mark not in answer.text
    assert rows_of(api, rival.tenant.id) == before


QUERIES = queries()


def test_every_query_that_names_a_row_is_tried() -> None:
    assert {name for _, name in QUERIES} >= {"mailbox_id", "connection_id", "import_id", "run_id", "user_id"}


@pytest.mark.parametrize(("operation", "name"), QUERIES, ids=lambda value: getattr(value, "name", value))
def test_an_id_of_another_business_in_a_query_shows_and_changes_nothing(
    world: World, operation: Operation, name: str
) -> None:
    api, (acme, rival) = world
    before = rows_of(api, rival.tenant.id)
    query = {name: rival.ids.get(name, 1), "collection": "transactions", "q": rival.mark}
    answer = send(acme.tenant.owner, operation, operation.path, query)
    assert answer.status_code < 500
    assert rival.mark not in answer.text.replace(f"q={rival.mark}", "")
    assert answer.status_code == 404 or operation.method == "get" or not answer.is_success
    if answer.is_success and answer.headers["content-type"].startswith("application/json"):
        assert answer.json()["items"] == []
    assert rows_of(api, rival.tenant.id) == before


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("/api/payments", lambda ids: {**PAYMENT, "user_id": ids["user_id"]}),
        ("/api/receipts/send", lambda ids: {"payment_id": ids["payment_id"]}),
        ("/api/leads/restore", lambda ids: {"task_id": ids["task_id"]}),
        ("/api/leads/count", lambda ids: {"created_by_import": ids["import_id"]}),
        ("/api/leads/bulk-delete", lambda ids: {"filter": {"import_id": ids["import_id"]}}),
        ("/api/leads/bulk-update", lambda ids: {"filter": {"ids": [ids["lead_id"]]}, "changes": {"add_tags": ["x"]}}),
        ("/api/outbound_calls/runs", lambda ids: {**RUN, "leads": {"ids": [ids["lead_id"]]}}),
        ("/api/broadcasts", lambda ids: {**BROADCAST, "filter": {"import_id": ids["import_id"]}}),
    ],
)
def test_an_id_of_another_business_in_a_body_reaches_none_of_its_rows(
    world: World, path: str, make: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    api, (acme, rival) = world
    before = rows_of(api, rival.tenant.id)
    answer = acme.tenant.owner.post(path, json=make(rival.ids))
    assert rival.mark not in answer.text
    if answer.is_success:
        # Accepted, because a filter may also match nothing: it has found nothing of the other's.
        assert answer.json().get("total", answer.json().get("count")) in {0, None}
    else:
        assert answer.status_code in {404, 409, 422}, answer.text
    assert rows_of(api, rival.tenant.id) == before


def test_the_same_ids_are_found_by_their_owner(world: World) -> None:
    _, (acme, _) = world
    # What deletes comes last, so that the rest finds what it names.
    last_deleting = sorted(WITH_IDS, key=lambda operation: (operation.method == "delete", "delete" in operation.path))
    answers = {found.name: send(acme.tenant.owner, found, acme.path(found)) for found in last_deleting}
    assert {name: answer.text for name, answer in answers.items() if answer.status_code in {404, 500}} == {}
