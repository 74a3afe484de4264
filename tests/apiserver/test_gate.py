"""A migration that fails, is tried again, cancelled or refused: what runs goes on running."""

from apiserver.site import NAME, Site, small_spec
from switchboard_operator import names


def uids(site: Site) -> set[str]:
    """Identities of the pods that serve."""
    return {str(pod["metadata"]["uid"]) for pod in site.pods()}


def test_a_failed_migration_is_told_with_all_that_one_needs_and_harms_nobody(installed: Site) -> None:
    before = uids(installed)
    installed.script.database.broken.add("1.1.0")

    installed.change(version="1.1.0")
    migrated = installed.await_condition("DatabaseMigrated", "False", "MigrationFailed", within_s=15)

    job = f"{NAME}-migrate-2-expand-1"
    assert "Attempt 1 of 1 failed with exit code 1: Migration 105 failed." in migrated["message"]
    assert f"kubectl logs --namespace {installed.namespace} pod/{job}-" in migrated["message"]
    degraded = installed.await_condition("Degraded", "True", "MigrationFailed")
    assert "kubectl switchboard retry" in degraded["message"]
    assert installed.condition("Available")["status"] == "True"
    assert uids(installed) == before
    assert "MigrationFailed" in installed.told()
    # The pod whose log is named is still there, and so is its Job.
    assert any(pod["metadata"]["name"].startswith(job) for pod in installed.objects("Pod"))


def test_each_attempt_is_told_with_its_number(installed: Site) -> None:
    installed.script.database.broken.add("1.1.0")

    installed.change(version="1.1.0", migrations={"backoffLimit": 1})

    retrying = installed.await_condition("DatabaseMigrated", "False", "MigrationRetrying", within_s=15)
    assert "Attempt 1 of 2 failed with exit code 1" in retrying["message"]
    # The Job's own back-off: ten seconds before the second attempt.
    failed = installed.await_condition("DatabaseMigrated", "False", "MigrationFailed", within_s=45)
    assert "Attempt 2 of 2 failed with exit code 1" in failed["message"]


def test_a_retry_after_the_cause_was_corrected_goes_through(installed: Site) -> None:
    installed.script.database.broken.add("1.1.0")
    installed.change(version="1.1.0")
    installed.await_condition("DatabaseMigrated", "False", "MigrationFailed")

    installed.script.database.broken.clear()
    installed.annotate(names.RETRY_ANNOTATION, "nonce-1")
    installed.await_settled("1.1.0")

    assert installed.versions() == {"1.1.0"}
    assert installed.script.database.runs.count(("1.1.0", "expand")) == 2
    assert "MigrationRetried" in installed.told()


def test_the_same_nonce_is_obeyed_once(installed: Site) -> None:
    installed.script.database.broken.add("1.1.0")
    installed.change(version="1.1.0")
    installed.await_condition("DatabaseMigrated", "False", "MigrationFailed")
    installed.annotate(names.RETRY_ANNOTATION, "nonce-1")
    installed.await_resource(
        lambda found: found["status"]["gate"]["run"] == 2 and found["status"]["gate"]["state"] == "Failed",
        "the second run to fail",
    )

    installed.annotate("example.com/other", "value")
    installed.await_resource(lambda found: found["status"]["retryNonce"] == "nonce-1", "the nonce to be noted")
    assert installed.script.database.runs.count(("1.1.0", "expand")) == 2


def test_reverting_the_spec_cancels_a_failed_transition(installed: Site) -> None:
    before = uids(installed)
    installed.script.database.broken.add("1.1.0")
    installed.change(version="1.1.0")
    installed.await_condition("DatabaseMigrated", "False", "MigrationFailed")

    installed.change(version="1.0.0")
    installed.await_settled("1.0.0")

    assert uids(installed) == before
    assert [entry["outcome"] for entry in installed.status()["history"]] == ["Succeeded", "Cancelled"]
    assert "TransitionCancelled" in installed.told()


def test_reverting_while_a_migration_runs_stops_its_job(installed: Site) -> None:
    installed.script.held.add("1.1.0 expand")
    installed.change(version="1.1.0")
    job = f"{NAME}-migrate-2-expand-1"
    installed.await_object("Job", job, lambda found: found["status"].get("ready", 0) == 1, "a running migration", 20)

    installed.change(version="1.0.0")

    installed.await_gone("Job", job)
    installed.await_settled("1.0.0")


def test_a_downgrade_that_does_not_fit_is_refused_before_anything_is_touched(installed: Site) -> None:
    site = installed
    for version in ("1.1.0", "1.2.0"):
        site.change(version=version)
        site.await_settled(version)
    before, schema = uids(site), (site.script.database.seq, site.script.database.min_seq)

    site.change(version="1.0.0")
    refused = site.await_condition("DatabaseMigrated", "False", "ReleaseRefused", within_s=15)

    assert "This release is too old for the database." in refused["message"]
    assert "nothing was touched" in refused["message"]
    assert uids(site) == before
    assert (site.script.database.seq, site.script.database.min_seq) == schema
    assert site.script.database.runs[-1] == ("1.0.0", "check")
    assert site.condition("Available")["status"] == "True"


def test_contract_waits_for_pods_that_take_their_time_to_end(installed: Site) -> None:
    installed.script.ends_after_s = 3.0

    installed.change(version="1.1.0")
    waiting = installed.await_condition("Progressing", "True", "WaitingForOldPods")

    assert "The contract phase waits for old pods" in waiting["message"]
    assert ("1.1.0", "contract") not in installed.script.database.runs
    installed.await_settled("1.1.0")


def test_the_check_alone_runs_when_there_is_nothing_to_migrate(installed: Site) -> None:
    installed.change(images={"worker": "registry.example.com/worker:1.0.0"})
    installed.await_settled("1.0.0")

    assert installed.script.database.runs[3:] == [("1.0.0", "check"), ("1.0.0", "contract")]


def test_a_finished_job_that_is_deleted_is_not_run_again(installed: Site) -> None:
    for job in installed.names("Job"):
        installed.client.delete("Job", installed.namespace, job, propagationPolicy="Background")
        installed.await_gone("Job", job)
    mark = installed.audit.mark()

    installed.change(logging={"level": "DEBUG"})
    installed.await_settled("1.0.0")

    assert [entry for entry in installed.writes(mark) if entry.resource == "jobs"] == []


def test_an_operator_that_has_never_seen_the_release_shows_what_the_spec_lacks(site: Site) -> None:
    """A memory limit below the default request: the CRD cannot know, the API server refuses the Deployment."""
    resources = {"requests": {"memory": "1Gi"}, "limits": {"memory": "256Mi"}}
    api = {"replicas": 1, "publicUrl": "https://calls.example.com", "resources": resources}
    site.add_secrets()
    site.create(small_spec(api=api))

    refused = site.await_condition("Degraded", "True", "ApiRefused")
    assert "must be less than or equal to memory limit" in refused["message"]

    site.change(api={"resources": {"requests": {"memory": "128Mi"}}})
    site.await_settled("1.0.0")
    assert site.condition("Degraded")["status"] == "False"
