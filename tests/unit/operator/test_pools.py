"""Pools of workers: who decides on their replicas, and how one takes over from another."""

import pytest

from switchboard_operator.actions import Action, HandOverReplicas, Requeue, WriteStatus
from unit.operator.fake_cluster import FakeCluster, installed
from unit.operator.samples import spec_dict

CALLS = "main-worker-calls"
ALL_QUEUES = ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"]
BULK = spec_dict()["workers"][1]


def scaled() -> FakeCluster:
    pool = {"name": "calls", "queues": ["high", "default"], "autoscaling": {"min": 0, "max": 20}}
    return installed(workers=[pool, BULK])


def test_the_built_in_autoscaler_scales_to_nothing_and_back() -> None:
    cluster = scaled()
    sizes = []
    for wanted in (0, 12, 0):
        cluster.recommendations = {"calls": wanted}
        cluster.settle()
        sizes.append(sum(pod.deployment == CALLS for pod in cluster.pods))

    assert sizes == [0, 12, 0]
    assert cluster.condition("Ready") == ("True", "Ready")
    assert "ScaleCorrected" not in cluster.told()


def test_a_recommendation_stays_within_the_limits() -> None:
    cluster = scaled()
    cluster.recommendations = {"calls": 99}

    cluster.settle()

    assert cluster.objects["Deployment", CALLS]["spec"]["replicas"] == 20


def test_keda_gets_the_replicas_without_a_pod_being_lost() -> None:
    cluster = scaled()
    cluster.recommendations = {"calls": 7}
    cluster.settle()
    cluster.keda, cluster.recommendations = True, {}
    handed_over: set[Action] = set()

    def watch(_: int) -> bool:
        handed_over.update(action for action in cluster.plan() if isinstance(action, HandOverReplicas))
        return False

    cluster.settle(watch)

    assert handed_over == {HandOverReplicas(CALLS, 7)}
    assert cluster.objects["Deployment", CALLS]["spec"]["replicas"] == 7
    assert ("ScaledObject", CALLS) in cluster.objects


def test_keda_is_not_fought_over_replicas() -> None:
    cluster = scaled()
    cluster.keda = True
    cluster.settle()
    cluster.objects["Deployment", CALLS]["spec"]["replicas"] = 15
    cluster.settle()

    assert cluster.objects["Deployment", CALLS]["spec"]["replicas"] == 15
    assert all(isinstance(action, Requeue) for action in cluster.plan())


def sizes_while_settling(cluster: FakeCluster) -> set[int]:
    """Every number that the Deployment has until all rests."""
    seen: set[int] = set()

    def watch(_: int) -> bool:
        seen.add(cluster.objects["Deployment", CALLS]["spec"]["replicas"])
        return False

    cluster.settle(watch)
    return seen


@pytest.mark.parametrize("version", ["1.0.0", ""], ids=["a spec", "a spec that cannot be used"])
def test_a_pool_keeps_its_pods_when_keda_is_removed(version: str) -> None:
    cluster = scaled()
    cluster.recommendations = {"calls": 7}
    cluster.settle()
    cluster.keda, cluster.recommendations = True, {}
    cluster.settle()
    cluster.objects["Deployment", CALLS]["spec"]["replicas"] = 15
    cluster.settle()
    forgotten = "calls" not in cluster.state.scaling
    cluster.keda = False
    cluster.change(version=version)

    assert forgotten
    assert sizes_while_settling(cluster) == {15}
    assert cluster.state.scaling["calls"] == 15


def test_a_deployment_that_somebody_has_deleted_comes_back_with_its_replicas() -> None:
    cluster = scaled()
    cluster.recommendations = {"calls": 7}
    cluster.settle()
    cluster.recommendations = {}
    del cluster.objects["Deployment", CALLS]

    cluster.settle()

    assert cluster.objects["Deployment", CALLS]["spec"]["replicas"] == 7


def test_what_was_recommended_before_a_pool_is_scaled_here_takes_no_pods_away() -> None:
    cluster = installed(workers=[{"name": "calls", "queues": ["high", "default"], "replicas": 8}, BULK])
    cluster.change(
        workers=[{"name": "calls", "queues": ["high", "default"], "autoscaling": {"min": 0, "max": 20}}, BULK]
    )
    cluster.recommendations = {"calls": 0}

    (write,) = [action for action in cluster.plan() if isinstance(action, WriteStatus)]

    assert write.state.scaling == {"calls": 8}


def test_a_pool_keeps_its_pods_when_its_fixed_number_becomes_autoscaling_and_back() -> None:
    cluster = installed(workers=[{"name": "calls", "queues": ["high", "default"], "replicas": 8}, BULK])
    cluster.change(
        workers=[{"name": "calls", "queues": ["high", "default"], "autoscaling": {"min": 0, "max": 20}}, BULK]
    )

    assert sizes_while_settling(cluster) == {8}
    cluster.change(workers=[{"name": "calls", "queues": ["high", "default"], "replicas": 3}, BULK])
    assert sizes_while_settling(cluster) == {8, 3}
    assert cluster.state.scaling == {}


def test_pods_that_an_autoscaler_asks_for_do_not_make_it_unready() -> None:
    cluster = scaled()
    cluster.frozen.add("1.0.0")
    for pod in cluster.pods:
        pod.ready = True
    cluster.frozen.clear()
    cluster.recommendations = {"calls": 5}
    ready = []

    def watch(_: int) -> bool:
        ready.append(cluster.condition("Ready")[0])
        return False

    cluster.settle(watch)

    assert set(ready) == {"True"}


def test_an_old_pool_works_until_the_new_one_does() -> None:
    cluster = installed()
    cluster.change(workers=[{"name": "all", "queues": ALL_QUEUES}])
    without_consumer = []

    def watch(_: int) -> bool:
        ready = {pod.deployment for pod in cluster.pods if pod.ready}
        without_consumer.append(not ready & {"main-worker-all"} and CALLS not in ready)
        return False

    cluster.settle(watch)

    assert not any(without_consumer)
    assert {name for kind, name in cluster.objects if kind == "Deployment"} == {
        "main-worker-all",
        "main-recorder",
        "main-api",
    }
