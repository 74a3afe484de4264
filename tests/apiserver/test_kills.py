"""The operator killed at seeded random moments of an install and an upgrade, while finished Jobs are deleted.

Each Switchboard is one repetition. Five belong to every test run; ``SWITCHBOARD_OPERATOR_KILLS=50`` makes it fifty
(``make faults``). One operator serves them all, so every kill hits each of them at another moment.
"""

import os
import random
from collections.abc import Iterator

import pytest

from apiserver.client import ApiRefusedError
from apiserver.conftest import Sites
from apiserver.control_plane import ControlPlane
from apiserver.kubelet import Kubelet
from apiserver.replicas import Replicas, replicas_of
from apiserver.site import Site, is_settled, small_spec
from waiting import await_true

REPETITIONS = int(os.environ.get("SWITCHBOARD_OPERATOR_KILLS", "5"))
SEED = 20260126
VERSIONS = ("1.0.0", "1.1.0")
STEPS = ("check", "expand", "contract")

_WRITES_OF_A_LIFE = (1, 10)
"""Writes for each Switchboard after which the operator dies: a release takes about 25."""
_LONGEST_LIFE_S = 3.0
_LIVES_AT_MOST = 60
_SETTLED_S = 30.0 + 10.0 * REPETITIONS


@pytest.fixture(scope="module")
def replicas(
    control_plane: ControlPlane, kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """One replica, not running, and namespaces with the Secrets that a Switchboard needs."""
    namespaces = [f"kills-{number}" for number in range(REPETITIONS)]
    with replicas_of(control_plane, kubelet, tmp_path_factory.mktemp("kills"), 1, namespaces) as found:
        for site in found.sites:
            site.add_secrets()
        yield found


@pytest.fixture(scope="module")
def undisturbed(sites: Sites) -> Site:
    """A Switchboard of an operator that nobody kills; it goes the same way."""
    found = sites.empty()
    found.add_secrets()
    return found


@pytest.fixture(scope="module")
def killed(replicas: Replicas, undisturbed: Site) -> list[Site]:
    """Switchboards that were installed and upgraded by an operator that was killed all the time."""
    dice, lives = random.Random(SEED), 0
    for site in (undisturbed, *replicas.sites):
        site.create(small_spec(VERSIONS[0]))
    for version in VERSIONS:
        lives += die_often(replicas, version, dice)
        undisturbed.await_settled(version)
        if version != VERSIONS[-1]:
            for site in (undisturbed, *replicas.sites):
                site.change(version=VERSIONS[-1])
    assert lives >= 5
    return replicas.sites


def die_often(replicas: Replicas, version: str, dice: random.Random) -> int:
    """Let the operator live and die until every release is rolled out; returns how often it died."""
    (process,), sites = replicas.processes, replicas.sites
    for life in range(1, _LIVES_AT_MOST + 1):
        mark, writes = sites[0].audit.mark(), len(sites) * dice.randint(*_WRITES_OF_A_LIFE)
        process.start()
        replicas.await_leader(process)
        # It is killed after so many writes, or in the middle of waiting for something.
        await_writes(replicas, mark, writes)
        process.kill()
        replicas.forget_lease()
        for site in sites:
            if dice.random() < 0.2:
                delete_finished_job(site, dice)
        if all(is_settled(site.resource(), version) for site in sites):
            return life
    process.start()
    for site in sites:
        site.await_settled(version, _SETTLED_S)
    process.kill()
    replicas.forget_lease()
    return _LIVES_AT_MOST


def await_writes(replicas: Replicas, mark: int, number: int) -> None:
    """Wait until the operator has written so often, or for as long as it may live."""
    (process,) = replicas.processes
    try:
        await_true(lambda: len(replicas.writes_of(process, mark)) >= number, "writes", _LONGEST_LIFE_S)
    except AssertionError:
        assert not process.has_ended(), "the operator ended by itself"


def delete_finished_job(site: Site, dice: random.Random) -> None:
    """Delete a Job that is over, as a person who cleans up does, whether its outcome was recorded or not."""
    over = [job for job in site.objects("Job") if job.get("status", {}).get("conditions")]
    if not over:
        return
    try:
        site.client.delete("Job", site.namespace, dice.choice(over)["metadata"]["name"], propagationPolicy="Background")
    except ApiRefusedError as error:
        # It may just be on its way out.
        if error.status != 404:
            raise


@pytest.mark.timeout(120 + 60 * REPETITIONS)
@pytest.mark.parametrize("number", range(REPETITIONS))
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(killed: list[Site], undisturbed: Site, number: int) -> None:
    site = killed[number]

    assert site.lasting() == undisturbed.lasting()
    assert site.script.too_early == []
    assert [entry["outcome"] for entry in site.status()["history"]] == ["Succeeded", "Succeeded"]
    assert site.status()["transitions"] == 2
    assert_nothing_skipped_or_repeated(site)


def assert_nothing_skipped_or_repeated(site: Site) -> None:
    """Each step ran for each release, in order; again only where its Job was gone before its outcome was on record."""
    runs = site.script.database.runs
    wanted = [(version, step) for version in VERSIONS for step in STEPS]
    assert [run for number, run in enumerate(runs) if run not in runs[:number]] == wanted
    deleted = [
        entry.name
        for entry in site.audit.writes(site.namespace, user="admin")
        if entry.verb == "delete" and entry.resource == "jobs" and entry.code < 300
    ]
    for transition, version in enumerate(VERSIONS, start=1):
        for step in STEPS:
            removed = sum(f"-migrate-{transition}-{step}-" in name for name in deleted)
            assert runs.count((version, step)) <= 1 + removed, (version, step, runs, sorted(deleted))
