"""A customer's server and the official client, to hold the simulator against."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from switchboard_simulator.server import RunningSimulator, running_simulator
from switchboard_simulator.settings import SimulatorSettings

CALLER = "+14155550199"
SAY = "<Response><Say>Hello</Say></Response>"


@dataclass(frozen=True)
class Arrival:
    """One webhook, as it came in."""

    path: str
    query: dict[str, str]
    params: dict[str, str]
    token: str
    signed: bool


@dataclass
class Receiver:
    """What a customer's server got. ``closes`` counts requests that it still drops without an answer."""

    url: str
    arrivals: list[Arrival] = field(default_factory=list)
    closes: int = 0
    statuses: deque[int] = field(default_factory=deque)
    twiml: str = SAY

    def at(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.path == path]

    def statuses_of(self, sid: str) -> list[str]:
        return [a.params["CallStatus"] for a in self.at("/status") if a.params["CallSid"] == sid]


@contextmanager
def receiving(auth_token: str) -> Iterator[Receiver]:
    """Run a customer's server on a free port; it checks signatures with the official validator."""
    validator = RequestValidator(auth_token)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            params = dict(parse_qsl(body, keep_blank_values=True))
            address = f"{receiver.url}{self.path}"
            parts = urlsplit(self.path)
            arrival = Arrival(
                path=parts.path,
                query={name: values[0] for name, values in parse_qs(parts.query).items()},
                params=params,
                token=self.headers["I-Twilio-Idempotency-Token"],
                signed=validator.validate(address, params, self.headers["X-Twilio-Signature"]),
            )
            with lock:
                receiver.arrivals.append(arrival)
                close, receiver.closes = receiver.closes > 0, max(receiver.closes - 1, 0)
                status = receiver.statuses.popleft() if receiver.statuses else 200
            if close:
                self.close_connection = True
                return
            answer = receiver.twiml.encode() if parts.path == "/voice" else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Carrier:
    """A running simulator, the official client for it, and its own controls."""

    def __init__(self, simulator: RunningSimulator, twilio: Client, http: httpx.Client) -> None:
        self.account_sid = simulator.account_sid
        self.auth_token = simulator.auth_token
        self.url = simulator.url
        self.twilio = twilio
        self.http = http

    def script(self, *scripts: dict[str, Any]) -> None:
        self.http.post("/_sim/script", json=list(scripts)).raise_for_status()

    def faults(self, **faults: float) -> None:
        self.http.post("/_sim/faults", json=faults).raise_for_status()

    def settled_report(self) -> dict[str, Any]:
        """Wait until nothing is going on, then return the figures."""
        assert self.http.get("/_sim/idle", params={"timeout": 30}).json() == {"idle": True}
        return self.report()

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = self.http.get("/_sim/report").json()
        return report

    def call(self, to: str = "+14155550100", **wanted: Any) -> Any:
        return self.twilio.calls.create(to=to, from_=CALLER, **({"twiml": SAY} | wanted))


@contextmanager
def official_client(simulator: RunningSimulator, timeout: float = 20.0) -> Iterator[Client]:
    """Return the unmodified client, sent to the simulator."""
    http = TwilioHttpClient(timeout=timeout)
    assert http.session is not None
    with http.session:
        client = Client(simulator.account_sid, simulator.auth_token, http_client=http)
        client.api.base_url = simulator.url
        yield client


@contextmanager
def carrier_with(timeout: float = 20.0, **settings: Any) -> Iterator[Carrier]:
    """Run a simulator whose calls take fractions of a second, on a free port."""
    quick: dict[str, Any] = {
        "port": 0,
        "cps": 1000.0,
        "mix": {"answer": 1},
        "spread": 0,
        "dial_seconds": 0.01,
        "ring_seconds": 0.01,
        "talk_seconds": 0.05,
        "detection_seconds": 0.01,
        "recording_seconds": 0.01,
    }
    with (
        running_simulator(SimulatorSettings(**(quick | settings))) as simulator,
        official_client(simulator, timeout) as client,
        httpx.Client(base_url=simulator.url, timeout=40) as http,
    ):
        yield Carrier(simulator, client, http)
