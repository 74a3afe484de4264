"""Two replicas of the operator: one acts, and the other one does as soon as the first cannot."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.history import Version
from e2e.installation import Installation, seconds_to_correct
from e2e.kube import Json
from e2e.lab import OPERATOR_RELEASE, Lab, Operator

TAKEN_OVER_WITHIN_S = 20.0
HANDED_OVER_WITHIN_S = 2.0


def test_another_replica_acts_when_the_leader_hangs_and_the_old_one_writes_no_more(
    first: Installation, operator: Operator, lab: Lab
) -> None:
    leader = operator.leader()
    pod = operator.history.one("pods", leader)
    assert pod is not None
    with _frozen(lab, pod):
        assert seconds_to_correct(first) < TAKEN_OVER_WITHIN_S
        successor = operator.leader()
        assert successor != leader
        taken_over = _held_by(operator, successor)[0]
    # It goes on, or was restarted by its liveness probe; either way somebody else leads now.
    operator.await_replicas()
    assert seconds_to_correct(first) < TAKEN_OVER_WITHIN_S
    told = [each.body for each in first.history.versions("events") if each.number > taken_over.number]
    assert {event["reportingInstance"] for event in told if event["reason"] == "ScaleCorrected"} == {successor}


def test_a_leader_that_is_killed_is_replaced(first: Installation, operator: Operator, lab: Lab) -> None:
    pod = operator.history.one("pods", operator.leader())
    assert pod is not None
    lab.signal(pod, "KILL")
    assert seconds_to_correct(first) < TAKEN_OVER_WITHIN_S
    operator.await_replicas()


def test_a_leader_that_leaves_hands_over_at_once(operator: Operator) -> None:
    leader = operator.leader()
    last_held = _held_by(operator, leader)[-1].number
    operator.kube.run("delete", "pod", leader, "--wait=false")
    left = operator.history.wait(lambda: _lease(operator, last_held, held=False), "the Lease to be given up", 30)
    taken = operator.history.wait(lambda: _lease(operator, left.number, held=True), "a successor", 30)
    assert taken.at - left.at < HANDED_OVER_WITHIN_S
    operator.await_replicas()


@contextmanager
def _frozen(lab: Lab, pod: Json) -> Iterator[None]:
    """A process that hangs: it neither ends nor gives anything up."""
    lab.signal(pod, "STOP")
    try:
        yield
    finally:
        lab.signal(pod, "CONT")


def _held_by(operator: Operator, pod: str) -> list[Version]:
    return [each for each in operator.history.versions("leases") if each.body["spec"].get("holderIdentity") == pod]


def _lease(operator: Operator, after: int, *, held: bool) -> Version | None:
    """The first version of the Lease after another one that somebody holds, or nobody."""
    history = operator.history
    return history.after(
        after, "leases", OPERATOR_RELEASE, lambda lease: bool(lease["spec"].get("holderIdentity")) == held
    )
