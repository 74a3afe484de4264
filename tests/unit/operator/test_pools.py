"""Pools of workers: who decides on their replicas, and how one takes over from another."""

from switchboard_operator.actions import HandOverReplicas, Requeue
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

    actions = [action for action in cluster.plan() if isinstance(action, HandOverReplicas)]
    cluster.settle()

    assert actions == [HandOverReplicas(CALLS, 7)]
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
