"""The api behind a real server on loopback, with businesses and keys in a real database."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import redis
import uvicorn
from fastapi import APIRouter, FastAPI
from websockets.sync.client import ClientConnection, connect

from secrets_for_tests import CREDENTIALS_KEY
from switchboard_api.app import create_app
from switchboard_api.server import bind, server_for
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import Settings, get_settings
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key, create_business

TOKEN = "a-token-of-the-tests"
_database_numbers = itertools.count(1)

NOBODY = "127.0.0.1:9"
"""An address where nothing listens."""


class _Server(uvicorn.Server):
    """A server on a thread of its own, which leaves signals alone and says when it is there."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@dataclass(frozen=True)
class Tenant:
    """A business and a client for each role."""

    id: int
    secrets: dict[Role, str]
    owner: httpx.Client
    agent: httpx.Client
    viewer: httpx.Client


@dataclass
class RunningApi:
    url: str
    app: FastAPI
    runtime: Runtime
    stack: ExitStack = field(repr=False)
    owner_url: str = ""

    def client(self, secret: str | None = None) -> httpx.Client:
        """A client with this key, closed with the api."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return self.stack.enter_context(httpx.Client(base_url=self.url, headers=headers, timeout=20, verify=False))

    def tenant(self, name: str = "Acme") -> Tenant:
        """A new business with a key of each role."""
        business = create_business(self.runtime.database, name)
        with self.runtime.database.tenant(business.id) as session:
            secrets = {role: create_api_key(session, role.value, role)[1] for role in Role}
        clients = {role.value: self.client(secret) for role, secret in secrets.items()}
        return Tenant(business.id, secrets, **clients)

    def follow(self, path: str, secret: str | None = None) -> ClientConnection:
        """A WebSocket, closed with the api at the latest."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        url = self.url.replace("http", "ws", 1) + path
        return self.stack.enter_context(connect(url, additional_headers=headers, proxy=None, close_timeout=0.5))


def api_settings(**values: Any) -> Settings:
    """Settings of an api, whatever the environment says; by default nothing it needs is there."""
    defaults = {
        "database_url": f"postgresql+psycopg://nobody:none@{NOBODY}/none",
        "redis_url": f"redis://{NOBODY}/0",
        "twilio_auth_token": TOKEN,
        "credentials_keys": CREDENTIALS_KEY,
        "trusted_hosts": "127.0.0.1,localhost",
    }
    return Settings(_env_file=None, **{**defaults, **values})


@contextmanager
def running_api(*routers: APIRouter, **values: Any) -> Iterator[RunningApi]:
    """Serve the api on a free port, with further routes where a test needs some."""
    settings = api_settings(**values)
    runtime = make_runtime(settings, name="switchboard-api-test")
    app = create_app(runtime)
    for router in routers:
        app.include_router(router)
    environment = pytest.MonkeyPatch()
    # Admission reads the settings of its process, which here are the test's.
    environment.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    get_settings.cache_clear()
    listener = bind("127.0.0.1", 0)
    server = _Server(server_for(app).config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api", daemon=True)
    thread.start()
    try:
        assert server.listening.wait(20), "the api did not start"
        with ExitStack() as stack:
            yield RunningApi(f"http://127.0.0.1:{listener.getsockname()[1]}", app, runtime, stack)
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()
        runtime.close()
        environment.undo()
        get_settings.cache_clear()
    assert not thread.is_alive(), "the api did not stop"


@contextmanager
def fresh_api(
    postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey, *routers: APIRouter, **values: Any
) -> Iterator[RunningApi]:
    """Serve the api on a database of its own and an empty Valkey, for tests that share it with a tenant each."""
    name = f"api_{next(_database_numbers)}"
    urls = postgres.create_database(name, template=template)
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    try:
        with running_api(*routers, database_url=urls.app, redis_url=valkey.url, **values) as api:
            api.owner_url = urls.owner
            yield api
    finally:
        postgres.drop_database(name)


def assert_problem(response: httpx.Response, status: int, title: str | None = None) -> dict[str, Any]:
    """Check that this is a problem (RFC 9457) and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:switchboard:problem:")
    assert body["detail"].endswith((".", "…`.")), body["detail"]
    if title is not None:
        assert body["title"] == title
    return body
