"""Whatever is interrupted, the same objects result, and the database is always ahead of the pods.

A scenario is prepared undisturbed, then its last act is interrupted: the operator is killed after an API call, and a
new one starts from what the API server knows.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from unit.operator.fake_cluster import FakeCluster

Interrupt = Callable[[int], bool]
Act = Callable[[FakeCluster], None]

QUEUES = ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"]


def upgrade(cluster: FakeCluster) -> None:
    cluster.change(version="1.1.0")


def go_back(cluster: FakeCluster) -> None:
    cluster.change(version="1.0.0")


def upgrade_badly(cluster: FakeCluster) -> None:
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")


def retry_repaired(cluster: FakeCluster) -> None:
    cluster.database.broken.clear()
    cluster.annotate("again")


def rearrange_pools(cluster: FakeCluster) -> None:
    cluster.change(workers=[{"name": "all", "queues": QUEUES, "replicas": 3}])


def change_password(cluster: FakeCluster) -> None:
    cluster.secrets["switchboard-redis"] = {"url": "bmV3"}


def nothing(_: FakeCluster) -> None:
    """The first installation needs no act."""


@dataclass(frozen=True)
class Scenario:
    name: str
    before: tuple[Act, ...]
    act: Act
    ready: bool = True


SCENARIOS = (
    Scenario("install", (), nothing),
    Scenario("upgrade", (nothing,), upgrade),
    Scenario("upgrade and back", (nothing, upgrade), go_back),
    Scenario("failing migration", (nothing,), upgrade_badly, ready=False),
    Scenario("failing migration, reverted", (nothing, upgrade_badly), go_back),
    Scenario("failing migration, retried", (nothing, upgrade_badly), retry_repaired),
    Scenario("pools rearranged", (nothing,), rearrange_pools),
    Scenario("Secret changed", (nothing,), change_password),
)
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@cache
def prepared(before: tuple[Act, ...]) -> FakeCluster:
    cluster = FakeCluster()
    for act in before:
        act(cluster)
        cluster.settle()
    return cluster


def played(scenario: Scenario, interrupt: Interrupt = lambda _: False) -> FakeCluster:
    cluster = copy.deepcopy(prepared(scenario.before))
    scenario.act(cluster)
    cluster.settle(interrupt)
    return cluster


@cache
def undisturbed(scenario: Scenario) -> FakeCluster:
    return played(scenario)


def assert_same_end(cluster: FakeCluster, scenario: Scenario) -> None:
    expected = undisturbed(scenario)
    assert cluster.lasting() == expected.lasting()
    assert cluster.versions() == expected.versions()
    assert cluster.state.transitions == expected.state.transitions
    assert [entry.outcome for entry in cluster.state.history] == [entry.outcome for entry in expected.state.history]
    assert cluster.condition("Ready")[0] == ("True" if scenario.ready else "False")


@each_scenario
def test_an_operator_that_dies_after_every_single_call_reaches_the_same_end(scenario: Scenario) -> None:
    assert_same_end(played(scenario, lambda _: True), scenario)


@pytest.mark.slow
@each_scenario
def test_an_operator_that_dies_after_any_one_call_reaches_the_same_end(scenario: Scenario) -> None:
    calls = undisturbed(scenario).writes - prepared(scenario.before).writes
    assert calls > 0

    for fatal in range(1, calls + 1):
        assert_same_end(played(scenario, fatal.__eq__), scenario)


@each_scenario
@pytest.mark.parametrize("seed", range(5))
def test_a_job_deleted_at_any_moment_is_neither_missed_nor_harmful(scenario: Scenario, seed: int) -> None:
    chance = random.Random(seed)
    cluster = copy.deepcopy(prepared(scenario.before))
    scenario.act(cluster)

    def sabotage(_: int) -> bool:
        if chance.random() < 0.3:
            cluster.delete_jobs()
        return chance.random() < 0.3

    cluster.settle(sabotage)

    assert_same_end(cluster, scenario)


@each_scenario
def test_a_settled_switchboard_is_written_to_no_more(scenario: Scenario) -> None:
    cluster = copy.deepcopy(undisturbed(scenario))

    cluster.settle()

    assert cluster.writes == undisturbed(scenario).writes


@each_scenario
def test_nothing_is_told_twice(scenario: Scenario) -> None:
    told = [event.key for event in played(scenario, lambda _: True).events]

    assert len(told) == len(set(told))
