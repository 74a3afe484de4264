"""``/ws/tasks/{id}``: a task's progress as it happens, for those who may see it."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import redis
from sqlalchemy import func, text, update
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from integration.api_support import NOBODY, RunningApi, Tenant, assert_problem, fresh_api, running_api
from migration_support import connected
from switchboard_api import live
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Kernel
from switchboard_core.jobs.manager import CHANNEL, BackgroundTaskManager
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.schemas import snapshot
from switchboard_core.jobs.slices import Cursor, ItemError, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.transport import Transport
from switchboard_core.tenancy.models import Role


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        eventually(running.app.state.feed.connected.is_set)
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant()


@pytest.fixture
def task_id(api: RunningApi, acme: Tenant) -> int:
    with api.runtime.database.tenant(acme.id) as session:
        return api.runtime.tasks.create(session, "delete_leads", {}, total=50).id


@pytest.fixture
def elsewhere(valkey: EmbeddedValkey) -> Iterator[BackgroundTaskManager]:
    """The manager of another process: it reaches the api through Redis only."""
    with redis.Redis.from_url(valkey.url) as client:
        yield BackgroundTaskManager(client, Transport(client), admit_limit=16)


def change(api: RunningApi, tenant: Tenant, task_id: int, tell: BackgroundTaskManager | None, **values: Any) -> None:
    """Change the task as a worker would, and tell of it."""
    with api.runtime.database.tenant(tenant.id) as session:
        row = session.scalars(
            update(BackgroundJob)
            .where(BackgroundJob.id == task_id)
            .values(version=BackgroundJob.version + 1, **values)
            .returning(BackgroundJob)
        ).one()
        if tell is not None:
            tell.publish_after_commit(session, row)


def receive(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(timeout=10))
    return message


def closed_with(socket: ClientConnection) -> int:
    """The code that the server closes with, pings and snapshots passed over."""
    with suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=10)
    assert socket.close_code is not None
    return socket.close_code


def eventually(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_a_snapshot_comes_first_and_then_what_other_processes_do(
    api: RunningApi, acme: Tenant, task_id: int, elsewhere: BackgroundTaskManager
) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    first = receive(socket)
    assert (first["type"], first["id"], first["version"], first["status"]) == ("snapshot", task_id, 1, "pending")
    assert "business_id" not in first
    change(api, acme, task_id, elsewhere, done=20, status=JobStatus.RUNNING)
    second = receive(socket)
    assert (second["version"], second["done"]) == (2, 20)


def test_the_socket_and_the_poller_see_the_same_numbers(api: RunningApi, acme: Tenant) -> None:
    def slices(ctx: SliceContext, _payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        number = cursor["number"] if cursor else 1
        ctx.done += 100
        ctx.errors.append(ItemError(str(number), "It cannot be changed."))
        return Slice(next_cursor={"number": number + 1} if number < 3 else None, total=303, result={"number": number})

    runtime = api.runtime
    with runtime.database.tenant(acme.id) as session:
        task_id = runtime.tasks.create(session, "update_leads", {}).id
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    tasks = {"update_leads": slices}
    with closing(Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks)) as kernel:
        shown: list[dict[str, Any]] = []
        while not shown or shown[-1]["status"] != "completed":
            kernel.run_slice(task_id)
            polled = acme.viewer.get(f"/api/tasks/{task_id}").json()
            while (seen := receive(socket))["version"] < polled["version"]:
                pass
            shown.append({name: value for name, value in seen.items() if name != "type"})
            assert shown[-1] == polled
    assert [(task["done"], task["failed"]) for task in shown] == [(100, 1), (200, 2), (300, 3)]


def test_the_socket_closes_after_the_end(
    api: RunningApi, acme: Tenant, task_id: int, elsewhere: BackgroundTaskManager
) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    change(api, acme, task_id, elsewhere, done=50, status=JobStatus.COMPLETED, finished_at=func.now())
    assert receive(socket)["status"] == "completed"
    assert closed_with(socket) == 1000
    eventually(lambda: api.runtime.tasks.subscriber_count(task_id) == 0)


def test_a_task_that_is_over_is_shown_and_closed(api: RunningApi, acme: Tenant, task_id: int) -> None:
    change(api, acme, task_id, None, status=JobStatus.FAILED, reason="it broke", finished_at=func.now())
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    assert receive(socket)["reason"] == "it broke"
    assert closed_with(socket) == 1000


def test_what_is_old_or_doubled_is_not_sent(
    api: RunningApi, acme: Tenant, task_id: int, elsewhere: BackgroundTaskManager
) -> None:
    with api.runtime.database.tenant(acme.id) as session:
        old = snapshot(session.get_one(BackgroundJob, task_id))
    change(api, acme, task_id, None, done=1)
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    assert receive(socket)["version"] == 2
    elsewhere.publish(old)
    change(api, acme, task_id, elsewhere, done=2)
    assert receive(socket)["version"] == 3


def test_rubbish_on_the_channel_harms_nobody(
    api: RunningApi, acme: Tenant, task_id: int, elsewhere: BackgroundTaskManager, valkey: EmbeddedValkey
) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    with redis.Redis.from_url(valkey.url) as client:
        client.publish(CHANNEL, b"\xff{")
    change(api, acme, task_id, elsewhere, done=2)
    assert receive(socket)["done"] == 2


def test_a_lost_subscription_is_made_again(
    api: RunningApi, acme: Tenant, task_id: int, elsewhere: BackgroundTaskManager, valkey: EmbeddedValkey
) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    with redis.Redis.from_url(valkey.url) as client, capture_logs() as logs:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        eventually(lambda: any(entry["event"] == "live updates connected" for entry in logs))
    change(api, acme, task_id, elsewhere, done=3)
    assert receive(socket)["done"] == 3


def test_a_ticket_opens_its_task_once(api: RunningApi, acme: Tenant, task_id: int) -> None:
    ticket = acme.viewer.post(f"/api/tasks/{task_id}/ticket").json()
    assert ticket["expires_in_s"] == 30
    assert receive(api.follow(ticket["url"]))["id"] == task_id
    assert closed_with(api.follow(ticket["url"])) == 4401


def test_a_ticket_opens_no_other_task(api: RunningApi, acme: Tenant, task_id: int) -> None:
    with api.runtime.database.tenant(acme.id) as session:
        other = api.runtime.tasks.create(session, "delete_leads", {}).id
    ticket = acme.viewer.post(f"/api/tasks/{other}/ticket").json()["ticket"]
    assert closed_with(api.follow(f"/ws/tasks/{task_id}?ticket={ticket}")) == 4401


def test_a_ticket_expires(acme: Tenant, task_id: int, valkey: EmbeddedValkey) -> None:
    ticket = acme.viewer.post(f"/api/tasks/{task_id}/ticket").json()["ticket"]
    with redis.Redis.from_url(valkey.url) as client:
        assert 0 < client.ttl(f"switchboard:ticket:{ticket}") <= 30


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=wrong"])
def test_nobody_gets_in_without_key_or_ticket(api: RunningApi, task_id: int, query: str) -> None:
    assert closed_with(api.follow(f"/ws/tasks/{task_id}{query}")) == 4401


def test_a_wrong_key_gets_nobody_in(api: RunningApi, task_id: int) -> None:
    assert closed_with(api.follow(f"/ws/tasks/{task_id}", "sbk_wrong")) == 4401


def test_another_business_s_task_does_not_exist(api: RunningApi, task_id: int) -> None:
    rival = api.tenant("Rival")
    assert closed_with(api.follow(f"/ws/tasks/{task_id}", rival.secrets[Role.OWNER])) == 4404
    assert api.runtime.tasks.subscriber_count(task_id) == 0


@pytest.mark.parametrize("impossible", ["abc", "0", "-1", "9" * 30, "²"])
def test_an_id_that_cannot_be_does_not_exist(api: RunningApi, acme: Tenant, impossible: str) -> None:
    assert closed_with(api.follow(f"/ws/tasks/{impossible}", acme.secrets[Role.VIEWER])) == 4404


def test_a_client_that_leaves_leaves_no_subscription(api: RunningApi, acme: Tenant, task_id: int) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    assert api.runtime.tasks.subscriber_count(task_id) == 1
    socket.close()
    eventually(lambda: api.runtime.tasks.subscriber_count(task_id) == 0)


def test_a_client_that_vanishes_leaves_no_subscription(api: RunningApi, acme: Tenant, task_id: int) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    socket.socket.close()
    eventually(lambda: api.runtime.tasks.subscriber_count(task_id) == 0)


def test_an_error_is_logged_closes_the_socket_and_leaves_no_subscription(
    api: RunningApi, acme: Tenant, task_id: int
) -> None:
    with connected(api.owner_url) as connection, capture_logs() as logs:
        connection.execute(text("ALTER TABLE background_jobs RENAME COLUMN total TO whole"))
        try:
            socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
            assert closed_with(socket) == 1011
        finally:
            connection.execute(text("ALTER TABLE background_jobs RENAME COLUMN whole TO total"))
    assert api.runtime.tasks.subscriber_count(task_id) == 0
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["event"] for entry in errors] == ["WebSocket error"]


def test_whatever_goes_wrong_under_way_leaves_no_subscription(
    api: RunningApi, acme: Tenant, task_id: int, elsewhere: BackgroundTaskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(live._Follower, "_send", broken)
    with capture_logs() as logs:
        change(api, acme, task_id, elsewhere, done=20)
        assert closed_with(socket) == 1011
    assert api.runtime.tasks.subscriber_count(task_id) == 0
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["WebSocket error"]


@pytest.fixture
def impatient(api: RunningApi) -> Iterator[None]:
    """The api waits for a twentieth of a second only."""
    usual = api.app.state.live_quiet_s
    api.app.state.live_quiet_s = 0.05
    yield
    api.app.state.live_quiet_s = usual


@pytest.mark.usefixtures("impatient")
def test_silence_is_filled_with_pings_and_a_look_at_the_database(api: RunningApi, acme: Tenant, task_id: int) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    assert receive(socket)["type"] == "snapshot"
    assert receive(socket) == {"type": "ping"}
    change(api, acme, task_id, None, done=7)  # nobody is told
    while (message := receive(socket))["type"] == "ping":
        pass
    assert (message["done"], message["version"]) == (7, 2)


def test_without_redis_there_is_no_ticket_but_a_word_about_polling(database_urls: DatabaseUrls) -> None:
    with running_api(database_url=database_urls.app, redis_url=f"redis://{NOBODY}/0") as api:
        acme = api.tenant()
        with api.runtime.database.tenant(acme.id) as session:
            task_id = api.runtime.tasks.create(session, "delete_leads", {}).id
        body = assert_problem(acme.viewer.post(f"/api/tasks/{task_id}/ticket"), 503, "Live updates unavailable")
        assert f"GET /api/tasks/{task_id}" in body["detail"]
        assert receive(api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER]))["id"] == task_id


def test_many_sockets_share_one_subscription(
    api: RunningApi, acme: Tenant, task_id: int, valkey: EmbeddedValkey
) -> None:
    sockets = [api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER]) for _ in range(5)]
    assert [receive(socket)["id"] for socket in sockets] == [task_id] * 5
    with redis.Redis.from_url(valkey.url) as client:
        assert client.pubsub_numsub(CHANNEL) == [(CHANNEL.encode(), 1)]
    assert api.runtime.tasks.subscriber_count(task_id) == 5


def test_a_session_is_given_back_while_the_socket_stays_open(api: RunningApi, acme: Tenant, task_id: int) -> None:
    socket = api.follow(f"/ws/tasks/{task_id}", acme.secrets[Role.VIEWER])
    receive(socket)
    # The message may arrive a moment before the api has ended the transaction that it was read in.
    eventually(lambda: _open_transactions(api) == 0)


def _open_transactions(api: RunningApi) -> int:
    """Transactions in the api's database that wait for their client, other than the one that asks."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
    with connected(api.owner_url) as connection:
        return int(connection.execute(text(query)).scalar_one())
