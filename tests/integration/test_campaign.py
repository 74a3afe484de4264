"""A campaign through the real services: every lead is called, every counter equals its rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import Stack, running_stack
from switchboard_cli.devstack import DatabaseUrls

NUMBERS = [f"+1415555{n:04d}" for n in range(1000, 1040)]


@pytest.fixture
def stack(
    stack_folder: Path, database_urls: DatabaseUrls, redis_url: str, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    folder = stack_folder / request.node.name
    with running_stack(folder, database_urls, redis_url) as stack:
        yield stack


def test_a_campaign_calls_every_lead_and_keeps_every_recording(stack: Stack) -> None:
    business_id, key = stack.business(call_cap=5, calls_per_second=200)
    stack.add_leads(business_id, NUMBERS)
    with stack.client(key) as client:
        answer = client.post(
            "/api/outbound_calls/runs",
            json={
                "name": "Spring",
                "message": "Hello {name}",
                "leads": {"all": True},
                "retry_after_s": {"busy": 0.2, "no_answer": 0.2},
            },
        )
        assert answer.status_code == 201, answer.text
        run = answer.json()
        url = f"/api/outbound_calls/runs/{run['id']}"
        stack.await_true(lambda: client.get(url).json()["status"] == "completed", "the run's end", 60)
        view = client.get(url).json()
        task = client.get(f"/api/tasks/{view['job_id']}").json()
    assert view["counts"]["total"] == len(NUMBERS)
    assert view["counts"]["active"] == 0
    assert (task["done"] + task["failed"], task["total"]) == (len(NUMBERS), len(NUMBERS))
    report = stack.sim("GET", "report")
    assert report["attempts_called_more_than_once"] == []
    assert report["concurrent_max"]["business"][str(business_id)] <= 5
    recorded = report["recordings"]["completed"]
    stack.await_true(
        lambda: stack.value("SELECT count(*) FROM recordings WHERE status = 'completed'") == recorded,
        f"{recorded} recordings",
    )
