"""The migration gate: what opens it, what keeps it closed, what is told meanwhile."""

from datetime import timedelta

import pytest

from switchboard_operator.actions import Apply, WriteStatus
from switchboard_operator.gate import CHECK_AGAIN_S
from unit.operator.fake_cluster import FakeCluster
from unit.operator.samples import environment


def installed() -> FakeCluster:
    cluster = FakeCluster()
    cluster.settle()
    return cluster


def failing_upgrade() -> FakeCluster:
    cluster = installed()
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle()
    return cluster


def steps(cluster: FakeCluster, since: int = 0) -> list[tuple[str, str]]:
    return cluster.database.runs[since:]


def test_a_first_installation_checks_expands_rolls_out_and_contracts() -> None:
    cluster = installed()

    assert steps(cluster) == [("1.0.0", "check"), ("1.0.0", "expand"), ("1.0.0", "contract")]
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

    assert steps(cluster, before) == [("1.1.0", "check"), ("1.1.0", "contract")]


def test_an_operator_with_other_migrate_commands_sends_nobody_through_the_gate() -> None:
    cluster = installed()
    cluster.status["applied"]["key"] = "made with the commands of another operator"
    pods = {pod.name for pod in cluster.pods}
    before = len(cluster.database.runs)

    cluster.settle()
    cluster.change(logging={"level": "DEBUG"})
    cluster.settle()

    assert cluster.state.transitions == 1
    assert steps(cluster, before) == []
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
    assert [step for step in steps(cluster) if step[1] == "check"] == [
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


def test_while_a_migration_fails_the_old_pods_go_on_untouched() -> None:
    cluster = installed()
    pods = {pod.name for pod in cluster.pods}
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")

    cluster.settle()

    assert {pod.name for pod in cluster.pods} == pods
    assert all(pod.ready for pod in cluster.pods)
    assert cluster.condition("Available") == ("True", "PodsAvailable")
    assert cluster.condition("DatabaseMigrated") == ("False", "MigrationFailed")
    assert cluster.condition("Degraded") == ("True", "MigrationFailed")
    assert cluster.condition("Progressing") == ("False", "Blocked")


def test_a_failed_migration_tells_attempt_exit_code_last_lines_and_the_log_command() -> None:
    message = failing_upgrade().message("DatabaseMigrated")

    assert "Attempt 4 of 4 failed with exit code 1: Migration 105 failed." in message
    assert "kubectl logs --namespace calls pod/main-migrate-2-expand-1-3" in message


def test_the_first_failed_attempt_is_told_at_once() -> None:
    cluster = installed()
    cluster.database.broken.add("1.1.0")
    cluster.change(version="1.1.0")
    seen: list[str] = []

    def watch(_: int) -> bool:
        gate = cluster.state.gate
        if gate and gate.failure and gate.state == "Running":
            seen.append(cluster.message("DatabaseMigrated"))
        return False

    cluster.settle(watch)

    assert seen[0].startswith("Attempt 1 of 4 failed with exit code 1")


def test_drift_is_repaired_from_the_release_that_serves_while_the_gate_is_closed() -> None:
    cluster = failing_upgrade()
    live = cluster.objects["Deployment", "main-api"]
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "somebody/else:1"

    cluster.settle()

    image = cluster.objects["Deployment", "main-api"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "switchboard-api:1.0.0"
    assert "DriftRepaired" in cluster.told()


def test_a_retry_annotation_runs_it_again_and_only_once() -> None:
    cluster = failing_upgrade()
    before = len(cluster.database.runs)
    cluster.annotate("nonce-1")
    cluster.settle()
    again = steps(cluster, before)
    cluster.settle()

    assert again == [("1.1.0", "check"), *[("1.1.0", "expand")] * 4]
    assert steps(cluster, before) == again
    assert cluster.state.transitions == 2


def test_a_retry_after_the_cause_is_gone_completes_the_upgrade() -> None:
    cluster = failing_upgrade()
    cluster.database.broken.clear()
    cluster.annotate("nonce-1")

    cluster.settle()

    assert cluster.condition("Ready") == ("True", "Ready")
    assert set(cluster.versions().values()) == {"1.1.0"}
    assert cluster.state.history[-1].outcome == "Succeeded"


def test_a_retry_when_nothing_has_failed_is_remembered_and_does_nothing() -> None:
    cluster = installed()
    before = list(cluster.database.runs)
    cluster.annotate("nonce-1")

    cluster.settle()

    assert cluster.database.runs == before
    assert cluster.state.retry_nonce == "nonce-1"


def test_reverting_the_spec_cancels_without_another_job() -> None:
    cluster = failing_upgrade()
    before = len(cluster.database.runs)
    pods = {pod.name for pod in cluster.pods}
    cluster.change(version="1.0.0")

    cluster.settle()

    assert steps(cluster, before) == []
    assert {pod.name for pod in cluster.pods} == pods
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.condition("Degraded") == ("False", "AsExpected")
    assert cluster.state.history[-1].outcome == "Cancelled"


def test_another_release_replaces_one_that_is_stuck() -> None:
    cluster = failing_upgrade()
    cluster.change(version="1.2.0")

    cluster.settle()

    assert [entry.outcome for entry in cluster.state.history] == ["Succeeded", "Superseded", "Succeeded"]
    assert set(cluster.versions().values()) == {"1.2.0"}


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


def test_an_incompatible_downgrade_is_refused_and_nothing_is_touched() -> None:
    cluster = FakeCluster()
    cluster.settle()
    for version in ("1.1.0", "1.2.0"):
        cluster.change(version=version)
        cluster.settle()
    before, objects = len(cluster.database.runs), cluster.lasting()

    cluster.change(version="1.0.0")
    cluster.settle()

    assert steps(cluster, before) == [("1.0.0", "check")]
    assert cluster.lasting() == objects
    assert cluster.condition("DatabaseMigrated") == ("False", "ReleaseRefused")
    assert "too old for the database" in cluster.message("Degraded")
    assert cluster.state.history[-1].outcome == "Refused"


def test_a_check_that_could_not_ask_is_repeated_by_itself() -> None:
    cluster = installed()
    cluster.database.down = True
    cluster.change(version="1.1.0")
    cluster.settle()
    failed = cluster.condition("DatabaseMigrated")
    cluster.database.down = False
    cluster.now += timedelta(seconds=CHECK_AGAIN_S)

    cluster.settle()

    assert failed == ("False", "CheckFailed")
    assert set(cluster.versions().values()) == {"1.1.0"}


def test_a_database_that_stays_down_stays_a_problem_while_it_is_asked_again() -> None:
    cluster = installed()
    cluster.database.down = True
    cluster.change(version="1.1.0")
    cluster.settle()
    cluster.now += timedelta(seconds=CHECK_AGAIN_S)
    seen: set[tuple[str, str]] = set()

    def watch(_: int) -> bool:
        seen.add(cluster.condition("Degraded"))
        return False

    cluster.settle(watch)

    assert seen == {("True", "CheckFailed")}


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


def test_a_changed_password_reaches_the_pods_while_a_migration_fails() -> None:
    cluster = failing_upgrade()
    before = {pod.template for pod in cluster.pods}
    cluster.secrets["switchboard-redis"] = {"url": "bmV3"}

    cluster.settle()

    assert not before & {pod.template for pod in cluster.pods}
    assert set(cluster.versions().values()) == {"1.0.0"}


def test_replicas_follow_the_spec_while_a_migration_fails() -> None:
    cluster = failing_upgrade()
    cluster.change(api={"replicas": 5, "publicUrl": "https://calls.example.com"})

    cluster.settle()

    assert cluster.objects["Deployment", "main-api"]["spec"]["replicas"] == 5
    assert set(cluster.versions().values()) == {"1.0.0"}


def test_a_contract_phase_that_fails_leaves_the_release_serving() -> None:
    cluster = installed()
    cluster.change(version="1.1.0")

    def break_contract(_: int) -> bool:
        applied = cluster.state.applied
        cluster.database.down = bool(applied and applied.version == "1.1.0")
        return False

    cluster.settle(break_contract)
    failed = (cluster.condition("Ready"), cluster.condition("Degraded"))
    cluster.database.down = False
    cluster.annotate("again")
    cluster.settle()

    assert failed == (("True", "Ready"), ("True", "ContractFailed"))
    assert cluster.database.runs[-1] == ("1.1.0", "contract")
    assert cluster.condition("Degraded") == ("False", "AsExpected")


def test_the_job_of_a_retry_uses_the_spec_of_today() -> None:
    cluster = failing_upgrade()
    cluster.change(migrations={"statementTimeoutSeconds": 900})
    cluster.annotate("again")

    cluster.settle()

    job = cluster.objects["Job", "main-migrate-2-expand-2"]
    assert environment(job)["MIGRATION_STATEMENT_TIMEOUT_SECONDS"] == "900"


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
