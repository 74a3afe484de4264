"""Two replicas and a real Lease: one acts, the other takes over, and nobody writes after their time."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.replicas import Replicas, replicas_of
from switchboard_operator.lease import Timing

_TIMING = Timing()


@pytest.fixture(scope="module")
def both(control_plane: ControlPlane, kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two replicas, started by each test as it needs them, and an installed Switchboard."""
    with replicas_of(control_plane, kubelet, tmp_path_factory.mktemp("leadership"), 2, ["leadership"]) as found:
        found.processes[0].start()
        found.site.install()
        yield found


@pytest.fixture
def pair(both: Replicas) -> Replicas:
    """The same with both replicas running: the one that leads, then the one that stands by."""
    for process in both.processes:
        if not process.is_running():
            process.start()
    holder = both.await_any_leader()
    both.processes.sort(key=lambda process: process.identity != holder)
    for process in both.processes:
        process.await_watching()
    both.site.await_settled()
    return both


def give_work(pair: Replicas) -> None:
    """Change the spec: whoever leads has to note the new generation in the status."""
    replicas = pair.site.resource()["spec"]["api"]["replicas"]
    pair.site.change(api={"replicas": replicas % 2 + 1})


def await_noted(pair: Replicas, within_s: float) -> None:
    """Wait until the newest spec was noted."""
    pair.site.await_resource(
        lambda found: found["status"]["observedGeneration"] == found["metadata"]["generation"], "the change", within_s
    )


def test_only_the_leader_writes(pair: Replicas) -> None:
    mark = pair.site.audit.mark()

    give_work(pair)
    pair.site.await_settled()

    assert [entry for entry in pair.site.writes(mark) if entry.resource == "switchboards/status"]
    assert pair.intruders() == []
    lease = pair.lease()
    assert lease["leaseDurationSeconds"] == int(_TIMING.lease)
    assert datetime.fromisoformat(lease["renewTime"]) >= datetime.fromisoformat(lease["acquireTime"])


def test_the_leader_killed_the_other_acts_in_less_than_twenty_seconds(pair: Replicas) -> None:
    leader, other = pair.processes
    transitions = pair.lease()["leaseTransitions"]
    leader.kill()
    give_work(pair)

    await_noted(pair, 20.0)
    assert pair.lease()["holderIdentity"] == other.identity
    assert pair.lease()["leaseTransitions"] == transitions + 1


def test_a_leader_that_is_asked_to_go_hands_over_in_less_than_two_seconds(pair: Replicas) -> None:
    leader, other = pair.processes
    mark = pair.site.audit.mark()
    assert leader.terminate() == 0
    give_work(pair)
    await_noted(pair, 10.0)

    # The log of the API server is the clock: from the blanked Lease to the next holder's.
    leases = [entry for entry in pair.site.writes(mark) if entry.resource == "leases" and entry.code == 200]
    released = next(entry for entry in leases if not entry.body["spec"]["holderIdentity"])
    taken = next(entry for entry in leases if entry.body["spec"]["holderIdentity"] == other.identity)
    assert released.user == leader.identity
    assert timedelta(0) < taken.at - released.at < timedelta(seconds=2)
    assert [entry for entry in pair.writes_of(leader, mark) if entry.at > released.at] == []


def test_a_frozen_leader_writes_nothing_when_it_thaws_after_its_deadline(pair: Replicas) -> None:
    leader, other = pair.processes
    version = "1.1.0" if pair.site.status()["version"] == "1.0.0" else "1.0.0"
    # It is frozen with work in its hands.
    pair.site.change(version=version)
    pair.site.await_resource(lambda found: found["status"].get("gate") is not None, "the transition to begin")
    leader.freeze()
    pair.await_leader(other, within_s=30)
    pair.site.await_settled(version)
    mark = pair.site.audit.mark()

    leader.thaw()
    leader.await_log("not leading any more")
    give_work(pair)
    pair.site.await_settled(version)

    assert pair.writes_of(leader, mark) == []
    last_write = max(entry.at for entry in pair.writes_of(leader, 0))
    assert last_write <= pair.last_renewal(leader) + timedelta(seconds=_TIMING.deadline)
    assert pair.lease()["holderIdentity"] == other.identity
