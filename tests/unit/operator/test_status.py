"""Problems are named, with what to do; conditions keep their times."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from switchboard_operator import status
from switchboard_operator.diagnose import sentence_in
from switchboard_operator.gate import timestamp
from switchboard_operator.snapshot import JobView, Observed, PodView, tail
from switchboard_operator.state import State
from switchboard_operator.target import Target
from unit.operator.fake_cluster import FakeCluster, failing_upgrade
from unit.operator.samples import START, make_spec


def reported(cluster: FakeCluster, observed: Observed) -> State:
    target = Target.of(make_spec(), observed)
    return status.report(observed.state, target, observed, cluster.now, paused=False)


def reason(state: State, kind: str) -> str:
    return next(each.reason for each in state.conditions if each.type == kind)


@pytest.fixture
def cluster() -> FakeCluster:
    found = FakeCluster()
    found.settle()
    return found


def waiting(why: str, restarts: int = 0, message: str = "") -> PodView:
    return PodView(name="main-api-1", role="api", waiting=why, restarts=restarts, message=message)


def running(since: timedelta, restarts: int) -> PodView:
    return PodView(name="main-api-1", role="api", restarts=restarts, unready=True, begun=timestamp(START - since))


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (waiting("ImagePullBackOff: not found"), "ImagePullFailed"),
        (waiting("CreateContainerConfigError: secret missing"), "PodsFailing"),
        (waiting("CrashLoopBackOff: back-off", restarts=3, message="Settings are wrong."), "PodsFailing"),
        (waiting("CrashLoopBackOff: back-off", restarts=1), "AsExpected"),
        (running(timedelta(minutes=9), restarts=2), "PodsFailing"),
        (running(timedelta(minutes=9), restarts=1), "AsExpected"),
        (running(timedelta(minutes=11), restarts=2), "AsExpected"),
        (replace(running(timedelta(minutes=9), restarts=2), unready=False), "AsExpected"),
        (replace(waiting("ImagePullBackOff: not found"), finished=True), "AsExpected"),
        (PodView(name="p", role="api", unschedulable="0/3 nodes are available."), "AsExpected"),
    ],
)
def test_pods_in_trouble_are_named(cluster: FakeCluster, pod: PodView, expected: str) -> None:
    cluster.now = START
    observed = cluster.observe()

    state = reported(cluster, replace(observed, pods=(*observed.pods, pod)))

    assert reason(state, "Degraded") == expected


def test_a_hundred_pods_in_trouble_are_told_of_in_a_few_lines(cluster: FakeCluster) -> None:
    loops = (
        replace(waiting("CrashLoopBackOff: back-off", restarts=9, message="x" * 2000), name=f"main-api-{number:03}")
        for number in range(100)
    )
    observed = cluster.observe()

    state = reported(cluster, replace(observed, pods=(*observed.pods, *loops)))

    message = next(each.message for each in state.conditions if each.type == "Degraded")
    lines = message.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["main-api-000", "main-api-001", "main-api-002"]
    assert lines[3:] == ["... and 97 more pods (PodsFailing)."]


def test_no_text_is_too_long_to_be_told(cluster: FakeCluster) -> None:
    endless = "The webhook says no. " * 10_000

    state = status.with_error(cluster.state, "ApiRefused", endless, cluster.observe(), cluster.now)
    later = status.with_error(state, "ApiRefused", endless, cluster.observe(), cluster.now + timedelta(hours=1))

    assert later == state
    assert state.last_error
    assert state.last_error.message.endswith("…")


def test_a_pod_that_no_node_takes_matters_when_nothing_else_serves() -> None:
    cluster = FakeCluster()
    observed = replace(cluster.observe(), pods=(PodView(name="p", role="migrate", unschedulable="0/3 nodes."),))

    assert reason(reported(cluster, observed), "Degraded") == "Unschedulable"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"detail": "The database cannot be reached."}, "The database cannot be reached."),
        ({"status": "waiting", "waiting_for": "Redis"}, "Redis"),
        ({}, ""),
        ([], ""),
    ],
)
def test_a_pod_says_what_it_waits_for(answer: object, expected: str) -> None:
    assert sentence_in(answer) == expected


def test_what_pods_wait_for_is_told_when_nothing_serves(cluster: FakeCluster) -> None:
    sentence = "The database cannot be reached: check that it runs."
    cluster.objects["Deployment", "main-api"]["status"]["availableReplicas"] = 0
    observed = replace(cluster.observe(), unready={"main-api-1": sentence, "main-api-2": sentence})

    state = reported(cluster, observed)

    assert reason(state, "Available") == "PodsUnavailable"
    assert reason(state, "Ready") == "PodsNotReady"
    assert state.last_error
    assert state.last_error.message == f"Not ready: main-api-1, main-api-2. {sentence}"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}, "RolloutStalled"),
        ({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}, "PodsRefused"),
        ({"type": "Available", "status": "True", "reason": "x"}, "AsExpected"),
    ],
)
def test_deployments_in_trouble_are_named(cluster: FakeCluster, condition: dict[str, str], expected: str) -> None:
    cluster.objects["Deployment", "main-api"]["status"]["conditions"] = [condition]

    assert reason(reported(cluster, cluster.observe()), "Degraded") == expected


@pytest.mark.parametrize(
    ("minimum", "since", "unavailable"),
    [
        (0, status.WAKES_WITHIN / 2, ()),
        (0, status.WAKES_WITHIN, ("main-worker-bulk",)),
        (1, timedelta(0), ("main-worker-bulk",)),
    ],
)
def test_a_pool_that_wakes_from_zero_has_time_for_that(
    cluster: FakeCluster, minimum: int, since: timedelta, unavailable: tuple[str, ...]
) -> None:
    pools = [each.dump() for each in make_spec().workers]
    pools[1] |= {"autoscaling": {"min": minimum, "max": 5}}
    lost = {"type": "Available", "status": "False", "lastTransitionTime": timestamp(cluster.now - since)}
    cluster.objects["Deployment", "main-worker-bulk"]["status"] |= {"availableReplicas": 0, "conditions": [lost]}
    observed = cluster.observe()

    fleet = status.fleet_of(observed.state, Target.of(make_spec(workers=pools), observed), observed, cluster.now)

    assert fleet.unavailable == unavailable


def test_a_condition_keeps_its_time_until_its_status_changes(cluster: FakeCluster) -> None:
    cluster.now += timedelta(hours=1)
    observed = cluster.observe()

    again = reported(cluster, observed)

    assert again == observed.state
    assert all(condition.last_transition_time < timestamp(cluster.now) for condition in again.conditions)


def test_conditions_carry_the_generation_that_they_are_about(cluster: FakeCluster) -> None:
    assert {condition.observed_generation for condition in cluster.state.conditions} == {cluster.generation}


def test_replicas_are_counted_per_role(cluster: FakeCluster) -> None:
    roles = cluster.state.roles

    assert (roles["api"].available, roles["worker"].available, roles["recorder"].available) == (2, 3, 1)


def test_the_last_error_stays_when_it_is_over(cluster: FakeCluster) -> None:
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle()
    cluster.change(version="1.0.0")
    cluster.settle()

    assert cluster.condition("Degraded")[0] == "False"
    assert cluster.state.last_error
    assert cluster.state.last_error.reason == "MigrationFailed"


def test_a_refusal_of_the_api_server_is_shown(cluster: FakeCluster) -> None:
    state = status.with_error(cluster.state, "ApiRefused", "exceeded quota", cluster.observe(), cluster.now)
    again = status.with_error(
        state, "ApiRefused", "exceeded quota", cluster.observe(), cluster.now + timedelta(hours=1)
    )

    assert reason(state, "Degraded") == reason(state, "Ready") == "ApiRefused"
    assert again == state


def test_a_refusal_is_about_the_spec_of_now(cluster: FakeCluster) -> None:
    cluster.change(logging={"level": "DEBUG"})

    state = status.with_error(cluster.state, "ApiRefused", "exceeded quota", cluster.observe(), cluster.now)

    assert state.observed_generation == cluster.generation


def test_the_last_lines_of_a_log_end_with_the_reason() -> None:
    lines = "\n".join([*(f"line {number}" for number in range(30)), '{"ok": false, "reason": "The lock is held."}'])

    assert tail(lines).splitlines()[-1] == "The lock is held."
    assert len(tail(lines).splitlines()) == 10
    assert tail("") == ""
    assert tail("{broken") == "{broken"


def test_a_pod_is_read() -> None:
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "labels": {"switchboard.dev/role": "migrate", "job-name": "j"}},
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"state": {"terminated": {"exitCode": 4, "message": "too old"}}, "restartCount": 0}],
        },
    }

    assert PodView.parse(pod) == PodView(
        name="p", role="migrate", job="j", finished=True, exit_code=4, message="too old"
    )


def test_a_crash_loop_tells_why_it_crashed() -> None:
    pod: dict[str, Any] = {
        "metadata": {"name": "p"},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                    "lastState": {"terminated": {"exitCode": 1, "message": "Settings are wrong."}},
                    "restartCount": 5,
                }
            ],
        },
    }
    found = PodView.parse(pod)

    assert (found.waiting, found.message, found.restarts) == ("CrashLoopBackOff: back-off", "Settings are wrong.", 5)


def test_what_a_pod_waits_for_is_told_in_short() -> None:
    container = {"state": {"waiting": {"reason": "CreateContainerError", "message": "no " * 10_000}}}

    found = PodView.parse({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}})

    assert found.waiting.startswith("CreateContainerError: no no")
    assert len(found.waiting) == 500


def test_a_pod_that_has_come_back_and_is_not_ready_is_read() -> None:
    container = {"state": {"running": {"startedAt": "2026-01-26T11:00:00Z"}}, "ready": False, "restartCount": 4}

    found = PodView.parse({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}})

    assert (found.unready, found.begun, found.restarts) == (True, "2026-01-26T11:00:00Z", 4)


def test_nothing_serves_before_the_first_api_does() -> None:
    cluster = FakeCluster()
    seen: set[tuple[str, str]] = set()

    def watch(_: int) -> bool:
        applied = cluster.state.applied
        if applied and applied.stage == "workers":
            seen.add(cluster.condition("Available"))
        return False

    cluster.settle(watch)

    assert seen == {("False", "PodsUnavailable")}
    assert cluster.condition("Available") == ("True", "PodsAvailable")


def test_a_release_that_is_held_back_tells_what_serves_meanwhile() -> None:
    first = FakeCluster()
    first.database.broken.add("1.0.0")
    first.settle()

    assert "the release before goes on serving" in failing_upgrade().message("Progressing")
    assert "nothing runs yet" in first.message("Progressing")


def test_a_job_is_read() -> None:
    job: dict[str, Any] = {
        "metadata": {"name": "j", "uid": "u"},
        "spec": {},
        "status": {"failed": 2, "conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]},
    }
    found = JobView.parse(job)

    assert (found.finished, found.failed, found.failures, found.reason) == (True, True, 2, "DeadlineExceeded")
