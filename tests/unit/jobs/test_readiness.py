"""What a worker or recorder answers to probes."""

from collections.abc import Iterator

import httpx
import pytest

from switchboard_cli.devstack import free_port
from switchboard_core.process import PortTakenError, Readiness, serve_health


@pytest.fixture
def probe() -> Iterator[tuple[Readiness, httpx.Client, int]]:
    readiness, port = Readiness("start"), free_port()
    server = serve_health(readiness, "127.0.0.1", port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield readiness, client, port
    server.shutdown()
    server.server_close()


Probe = tuple[Readiness, httpx.Client, int]


def test_it_is_alive_from_the_start_and_ready_when_nothing_is_missing(probe: Probe) -> None:
    readiness, client, _ = probe
    assert client.get("/api/health").json() == {"status": "ok"}
    for sentence in ("start", "Redis"):
        readiness.wait_for(sentence)
        answer = client.get("/api/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "waiting", "waiting_for": sentence})
    readiness.ready()
    answer = client.get("/api/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_it_shows_its_metrics(probe: Probe) -> None:
    answer = probe[1].get("/metrics")
    assert answer.status_code == 200
    assert "process_cpu_seconds_total" in answer.text


def test_there_is_nothing_else_to_see(probe: Probe) -> None:
    assert probe[1].get("/etc/passwd").status_code == 404


def test_a_taken_port_is_one_sentence(probe: Probe) -> None:
    with pytest.raises(PortTakenError, match=r"in use: stop what listens there or set METRICS_PORT to another port\.$"):
        serve_health(Readiness("start"), "127.0.0.1", probe[2])
