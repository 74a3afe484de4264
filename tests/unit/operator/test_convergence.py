"""Whatever is interrupted, the same objects result, and the database is always ahead of the pods."""

import random
from collections.abc import Callable

import pytest

from unit.operator.fake_cluster import FakeCluster

Scenario = Callable[[FakeCluster, Callable[[int], bool]], None]


def install(cluster: FakeCluster, interrupt: Callable[[int], bool]) -> None:
    cluster.settle(interrupt)


def upgrade(cluster: FakeCluster, interrupt: Callable[[int], bool]) -> None:
    cluster.settle(interrupt)
    cluster.change(version="1.1.0")
    cluster.settle(interrupt)


def upgrade_and_back(cluster: FakeCluster, interrupt: Callable[[int], bool]) -> None:
    upgrade(cluster, interrupt)
    cluster.change(version="1.0.0")
    cluster.settle(interrupt)


def fail_and_revert(cluster: FakeCluster, interrupt: Callable[[int], bool]) -> None:
    cluster.settle(interrupt)
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle(interrupt)
    cluster.change(version="1.0.0")
    cluster.settle(interrupt)


def fail_and_retry(cluster: FakeCluster, interrupt: Callable[[int], bool]) -> None:
    cluster.settle(interrupt)
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle(interrupt)
    cluster.database.broken.clear()
    cluster.annotate("again")
    cluster.settle(interrupt)


def rearrange_pools(cluster: FakeCluster, interrupt: Callable[[int], bool]) -> None:
    cluster.settle(interrupt)
    queues = ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"]
    cluster.change(workers=[{"name": "all", "queues": queues, "replicas": 3}])
    cluster.settle(interrupt)


SCENARIOS: list[Scenario] = [install, upgrade, upgrade_and_back, fail_and_revert, fail_and_retry, rearrange_pools]


def outcome(scenario: Scenario, interrupt: Callable[[int], bool] = lambda _: False) -> FakeCluster:
    cluster = FakeCluster()
    scenario(cluster, interrupt)
    return cluster


def assert_same_end(cluster: FakeCluster, undisturbed: FakeCluster) -> None:
    assert cluster.lasting() == undisturbed.lasting()
    assert cluster.versions() == undisturbed.versions()
    assert cluster.state.transitions == undisturbed.state.transitions
    assert [entry.outcome for entry in cluster.state.history] == [entry.outcome for entry in undisturbed.state.history]
    assert cluster.condition("Ready") == undisturbed.condition("Ready") == ("True", "Ready")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_interrupting_after_every_single_action_leads_to_the_same_end(scenario: Scenario) -> None:
    assert_same_end(outcome(scenario, lambda _: True), outcome(scenario))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_interrupting_after_any_one_action_leads_to_the_same_end(scenario: Scenario) -> None:
    undisturbed = outcome(scenario)
    last = undisturbed.writes

    for stop in range(1, last + 1):
        assert_same_end(outcome(scenario, stop.__eq__), undisturbed)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", range(10))
def test_a_job_deleted_at_a_random_moment_is_neither_missed_nor_harmful(scenario: Scenario, seed: int) -> None:
    chance = random.Random(seed)
    cluster = FakeCluster()

    def sabotage(_: int) -> bool:
        for key in [key for key in cluster.objects if key[0] == "Job"]:
            if chance.random() < 0.1:
                cluster._delete(key)
        return chance.random() < 0.3

    scenario(cluster, sabotage)

    assert_same_end(cluster, outcome(scenario))


def test_a_settled_switchboard_is_written_to_no_more() -> None:
    cluster = outcome(upgrade)
    writes = cluster.writes

    cluster.settle()

    assert cluster.writes == writes
