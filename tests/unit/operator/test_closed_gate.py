"""A gate that stays closed: what goes on behind it, what is told, and every way out."""

from datetime import timedelta

from switchboard_operator.gate import CHECK_AGAIN_S
from unit.operator.fake_cluster import FakeCluster, failing_upgrade, installed
from unit.operator.samples import environment


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


def test_a_retry_annotation_runs_it_again_and_only_once() -> None:
    cluster = failing_upgrade()
    before = len(cluster.database.runs)
    cluster.annotate("nonce-1")
    cluster.settle()
    again = cluster.database.runs[before:]
    cluster.settle()

    assert again == [("1.1.0", "check"), *[("1.1.0", "expand")] * 4]
    assert cluster.database.runs[before:] == again
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


def test_the_job_of_a_retry_uses_the_spec_of_today() -> None:
    cluster = failing_upgrade()
    cluster.change(migrations={"statementTimeoutSeconds": 900})
    cluster.annotate("again")

    cluster.settle()

    job = cluster.objects["Job", "main-migrate-2-expand-2"]
    assert environment(job)["MIGRATION_STATEMENT_TIMEOUT_SECONDS"] == "900"


def test_reverting_the_spec_cancels_without_another_job() -> None:
    cluster = failing_upgrade()
    before = len(cluster.database.runs)
    pods = {pod.name for pod in cluster.pods}
    cluster.change(version="1.0.0")

    cluster.settle()

    assert cluster.database.runs[before:] == []
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


def test_an_incompatible_downgrade_is_refused_and_nothing_is_touched() -> None:
    cluster = FakeCluster()
    cluster.settle()
    for version in ("1.1.0", "1.2.0"):
        cluster.change(version=version)
        cluster.settle()
    before, objects = len(cluster.database.runs), cluster.lasting()

    cluster.change(version="1.0.0")
    cluster.settle()

    assert cluster.database.runs[before:] == [("1.0.0", "check")]
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
