"""Nothing to do: then nothing is done, by a new process either."""

import json
from collections.abc import Iterator

import pytest

from apiserver.client import Object
from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.rbac import LEASE
from apiserver.replicas import Replicas, replicas_of
from apiserver.site import small_spec

_RENEWALS = 3


@pytest.fixture(scope="module")
def lone(control_plane: ControlPlane, kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """One running replica and an installed Switchboard that uses all kinds of objects."""
    with replicas_of(control_plane, kubelet, tmp_path_factory.mktemp("steady"), 1, ["steady"]) as found:
        found.processes[0].start()
        found.site.install(
            small_spec(
                networkPolicies={"enabled": True},
                storage={"volume": {}},
                recorder={"autoscaling": {"min": 1, "max": 3}},
                env=[{"name": "TZ", "value": "UTC"}],
            )
        )
        yield found


def await_renewals(replicas: Replicas, number: int) -> None:
    """Wait until the Lease was renewed so many times: the clock of a test that waits for nothing to happen."""
    seen: set[str] = set()

    def enough(found: Object) -> bool:
        seen.add(found["spec"]["renewTime"])
        return len(seen) > number

    replicas.site.await_object("Lease", LEASE, enough, f"{number} renewals", 60)


def writes(replicas: Replicas, mark: int) -> list[str]:
    """What operators wrote, the Lease left out."""
    return [str(entry) for entry in replicas.site.writes(mark) if entry.resource != "leases"]


def test_at_rest_nothing_but_the_lease_is_written(lone: Replicas) -> None:
    # The recorded contract Job is given its time to live after the last status write.
    await_renewals(lone, 1)
    mark = lone.site.audit.mark()

    await_renewals(lone, _RENEWALS)

    assert writes(lone, mark) == []


def test_a_new_operator_restarts_nothing_and_writes_nothing(lone: Replicas) -> None:
    (process,) = lone.processes
    pods = {pod["metadata"]["uid"] for pod in lone.site.pods()}
    mark = lone.site.audit.mark()

    assert process.terminate() == 0
    process.start()
    lone.await_leader(process)
    # It has looked at the Switchboard once somebody else's change to it was noted.
    lone.site.annotate("example.com/note", "looked at")
    await_renewals(lone, _RENEWALS)

    assert writes(lone, mark) == []
    assert {pod["metadata"]["uid"] for pod in lone.site.pods()} == pods


def test_every_line_of_the_log_is_json_and_no_secret_is_in_it(lone: Replicas) -> None:
    (process,) = lone.processes
    text = process.log.read_text("utf-8")

    lines = [json.loads(line) for line in text.splitlines()]
    assert {"started", "leading", "watching"} <= {line["event"] for line in lines}
    assert "postgresql://" not in text
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


def test_probes_and_metrics_are_served(lone: Replicas) -> None:
    (process,) = lone.processes

    assert process.ask("/healthz") == (200, "ok")
    assert process.ask("/readyz") == (200, "ready")
    status, metrics = process.ask("/metrics")
    assert status == 200
    assert "switchboard_operator_leader 1.0" in metrics
    condition = 'switchboard_operator_condition{condition="Ready",name="main",namespace="steady"} 1.0'
    assert condition in metrics
