"""The migration gate: what opens it and in which order, whose jobs count, what is told meanwhile."""

import pytest

from switchboard_operator.actions import Apply, WriteStatus
from unit.operator.fake_cluster import FakeCluster, failing_upgrade, installed


def test_a_first_installation_checks_expands_rolls_out_and_contracts() -> None:
    cluster = installed()

    assert cluster.database.runs == [("1.0.0", "check"), ("1.0.0", "expand"), ("1.0.0", "contract")]
    assert set(cluster.versions().values()) == {"1.0.0"}
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.condition("Progressing") == ("False", "Settled")
    assert cluster.state.version == "1.0.0"


def test_no_pod_exists_before_the_migration_has_succeeded() -> None:
    cluster = FakeCluster()
    cluster.database.broken.add("1.0.0")

    cluster.settle()

    assert cluster.pods == []
    assert not any(kind == "Deployment" for kind, _ in cluster.objects)
    assert cluster.condition("Available") == ("False", "NotInstalled")


def test_the_number_of_a_transition_is_on_record_before_anything_is_done_for_it() -> None:
    first = FakeCluster().plan()

    assert [action.state.transitions for action in first if isinstance(action, WriteStatus)] == [1]
    assert not any(isinstance(action, Apply) for action in first)


def test_an_upgrade_rolls_workers_and_recorder_before_the_api() -> None:
    cluster = installed()
    cluster.change(version="1.1.0")
    order: list[str] = []

    def watch(_: int) -> bool:
        new = {pod.deployment for pod in cluster.pods if pod.version == "1.1.0"}
        order.extend(name for name in sorted(new) if name not in order)
        return False

    cluster.settle(watch)

    assert order[-1] == "main-api"
    assert set(order[:-1]) == {"main-worker-calls", "main-worker-bulk", "main-recorder"}


def test_a_database_that_needs_nothing_is_only_checked() -> None:
    cluster = installed()
    cluster.database.seq = 105
    before = len(cluster.database.runs)
    cluster.change(version="1.1.0")

    cluster.settle()

    assert cluster.database.runs[before:] == [("1.1.0", "check"), ("1.1.0", "contract")]


def test_an_operator_with_other_migrate_commands_sends_nobody_through_the_gate() -> None:
    cluster = installed()
    cluster.status["applied"]["key"] = "made with the commands of another operator"
    pods = {pod.name for pod in cluster.pods}
    before = len(cluster.database.runs)

    cluster.settle()
    cluster.change(logging={"level": "DEBUG"})
    cluster.settle()

    assert cluster.state.transitions == 1
    assert cluster.database.runs[before:] == []
    assert not pods & {pod.name for pod in cluster.pods}


def test_an_image_of_that_version_that_is_another_goes_through_the_gate_all_the_same() -> None:
    cluster = installed()
    cluster.status["applied"]["key"] = "made with the commands of another operator"

    cluster.change(images={"migrate": "mirror.example.com/switchboard-api:1.0.0"})
    cluster.settle()

    assert cluster.state.transitions == 2


def test_there_and_back_are_three_transitions_each_with_its_check() -> None:
    cluster = installed()
    for version in ("1.1.0", "1.0.0"):
        cluster.change(version=version)
        cluster.settle()

    assert cluster.state.transitions == 3
    assert [step for step in cluster.database.runs if step[1] == "check"] == [
        ("1.0.0", "check"),
        ("1.1.0", "check"),
        ("1.0.0", "check"),
    ]
    assert [entry.outcome for entry in cluster.state.history] == ["Succeeded"] * 3
    assert set(cluster.versions().values()) == {"1.0.0"}


def test_a_database_that_was_restored_is_migrated_again() -> None:
    cluster = installed()
    cluster.change(version="1.1.0")
    cluster.settle()
    cluster.change(version="1.0.0")
    cluster.settle()
    cluster.database.seq = 104

    cluster.change(version="1.1.0")
    cluster.settle()

    assert cluster.database.seq == 105


@pytest.mark.parametrize("step", ["check", "expand", "contract"])
def test_a_release_that_comes_while_another_ones_job_runs_waits_for_its_end(step: str) -> None:
    cluster = installed()
    cluster.change(version="1.1.0")
    job = f"main-migrate-2-{step}-1"

    def change_when_it_runs() -> None:
        live = cluster.objects.get(("Job", job), {})
        if live.get("status", {}).get("active") and cluster.spec["version"] == "1.1.0":
            cluster.change(version="1.2.0")

    cluster.each_round = change_when_it_runs
    cluster.settle()

    assert cluster.spec["version"] == "1.2.0"
    assert set(cluster.versions().values()) == {"1.2.0"}
    assert cluster.database.min_seq == 105


def test_a_job_that_an_earlier_switchboard_of_this_name_left_behind_opens_no_gate() -> None:
    cluster = installed()
    left_behind = {key: live for key, live in cluster.objects.items() if key[0] == "Job"}
    for live in left_behind.values():
        live["metadata"]["ownerReferences"][0]["uid"] = "uid-of-the-one-before"
    again = FakeCluster()
    again.objects.update(left_behind)

    again.settle()

    assert left_behind
    assert again.database.runs == cluster.database.runs


def test_a_recorded_job_expires_and_a_failed_one_stays_for_its_log() -> None:
    cluster = failing_upgrade()
    ttl = {
        name: live["spec"].get("ttlSecondsAfterFinished")
        for (kind, name), live in cluster.objects.items()
        if kind == "Job"
    }

    assert ttl.pop("main-migrate-2-expand-1") is None
    assert set(ttl.values()) == {3600}


def test_deleting_a_recorded_job_runs_nothing_again() -> None:
    cluster = installed()
    before = list(cluster.database.runs)
    cluster.delete_jobs()

    cluster.settle()

    assert cluster.database.runs == before


def test_a_new_database_passes_the_gate_before_pods_see_it() -> None:
    cluster = installed()
    cluster.database.broken.add("1.0.0")
    cluster.database.seq, cluster.database.min_seq = 104, 0
    checksums = {key: live["metadata"]["annotations"] for key, live in cluster.lasting().items()}
    cluster.database.down = True
    cluster.secrets["switchboard-db"] = {"url": "bmV3", "ownerUrl": "bmV3"}

    cluster.settle()

    assert {key: live["metadata"]["annotations"] for key, live in cluster.lasting().items()} == checksums
    assert cluster.condition("DatabaseMigrated") == ("False", "CheckFailed")


@pytest.mark.parametrize("version", ["1.1.0", "1.0.0"])
def test_every_transition_is_told_in_events(version: str) -> None:
    cluster = installed()
    cluster.change(version="1.1.0")
    cluster.settle()
    if version != "1.1.0":
        cluster.change(version=version)
        cluster.settle()
    told = cluster.told()

    assert told.count("TransitionStarted") == told.count("DatabaseMigrated") == cluster.state.transitions
