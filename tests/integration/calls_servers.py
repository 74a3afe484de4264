"""The servers around the call pipeline of a test: the simulator as carrier, and the api that it calls back."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from integration.api_support import _Server
from integration.calls_support import CallsBench
from switchboard_api.app import create_app
from switchboard_api.server import bind, server_for
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.runtime import make_runtime
from switchboard_core.settings import Settings
from switchboard_simulator.server import running_simulator
from switchboard_simulator.settings import SimulatorSettings

DIAL_DEADLINE_S = 30.0
_database_numbers = itertools.count(1)


@contextmanager
def calls_bench(
    postgres: EmbeddedPostgres,
    template: str,
    valkey: EmbeddedValkey,
    *,
    business: dict[str, Any] | None = None,
    simulator: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[CallsBench]:
    """Start the carrier and the api on a database of their own, and make the parts of a worker.

    Args:
        postgres: the server.
        template: name of a migrated database.
        valkey: the server.
        business: fields of ``BusinessCreate``.
        simulator: settings of the carrier; calls last a fraction of a second and are answered.
        settings: of the process.
    """
    name = f"calls_{next(_database_numbers)}"
    urls = postgres.create_database(name, template=template)
    try:
        with _bench(urls, valkey.url, business or {}, simulator or {}, settings) as bench:
            yield bench
    finally:
        postgres.drop_database(name)


@contextmanager
def _bench(
    urls: DatabaseUrls, redis_url: str, business: dict[str, Any], simulator: dict[str, Any], settings: dict[str, Any]
) -> Iterator[CallsBench]:
    pace: dict[str, Any] = {
        "cps": 500,
        "dial_seconds": 0.0,
        "ring_seconds": 0.02,
        "talk_seconds": 0.03,
        "recording_seconds": 0.02,
        "detection_seconds": 0.02,
        "spread": 0.0,
        "mix": {"answer": 1},
    }
    listener = bind("127.0.0.1", 0)
    public = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with running_simulator(SimulatorSettings(port=0, **{**pace, **simulator})) as carrier:
        values: dict[str, Any] = {
            "database_url": urls.app,
            "redis_url": redis_url,
            "public_url": public,
            "twilio_base_url": carrier.url,
            "twilio_account_sid": carrier.account_sid,
            "twilio_auth_token": carrier.auth_token,
            "carrier_calls_per_second": 1000,
            # So long that a machine that is busy with other tests makes no attempt too old to be sent.
            "dial_deadline_seconds": DIAL_DEADLINE_S,
            "sweep_interval_seconds": 0.1,
            "database_pool_size": 20,
            "database_pool_overflow": 20,
            **settings,
        }
        runtime = make_runtime(Settings(_env_file=None, **values), name="calls-test")
        server = _Server(server_for(create_app(runtime)).config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api", daemon=True)
        thread.start()
        assert server.listening.wait(20), "the api did not start"
        bench = CallsBench(runtime, urls, carrier.url, business)
        try:
            yield bench
        finally:
            bench.close()
            server.should_exit = True
            thread.join(15)
            listener.close()
            runtime.close()
