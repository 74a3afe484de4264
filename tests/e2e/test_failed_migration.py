"""A migration that fails harms nobody: the old pods serve, the status says what to do, and every way out works.

The migration of ``next`` fails while a business is called *Obstacle*, as one does that meets a row it did not expect.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.history import Version, condition
from e2e.installation import ROLES, Installation, role_of, unready_moments
from e2e.kube import Json
from e2e.load import steady_load
from e2e.releases import BREAKING, NEXT, REPOSITORY, SEQUENCES, THIS

TOLD_WITHIN_S = 15.0
SCHEMA = "SELECT schema_seq FROM schema_state"


@pytest.mark.smoke
@pytest.mark.usefixtures("failing_release")
def test_old_pods_serve_while_a_migration_fails_and_reverting_cancels_it(first: Installation) -> None:
    business = first.business("Obstacle")
    url, image = f"http://{first.api}", f"{REPOSITORY}-api:{THIS}"
    with (
        steady_load(first.kube, first.history, url=url, key=business.key, image=image, per_second=4) as load,
        _undisturbed(first),
    ):
        begun = first.history.last
        first.change({"version": NEXT})
        first.await_reason("DatabaseMigrated", "False", "MigrationFailed", 120)
        _check_what_is_told(first, begun)
        first.change({"version": THIS})
        first.await_release(THIS, 30)
    assert (load.failures, load.summary["failures"]) == ([], 0)
    assert load.summary["requests"] > 0
    assert first.events("TransitionCancelled")
    with first.truth() as truth:
        assert truth.value(SCHEMA) == SEQUENCES[THIS]
        truth.change("UPDATE businesses SET name = 'Acme' WHERE name = 'Obstacle'")


@pytest.mark.usefixtures("later_releases")
def test_a_retry_goes_on_once_the_cause_is_gone(first: Installation) -> None:
    with first.truth() as truth:
        truth.change("UPDATE businesses SET name = 'Obstacle' WHERE id = (SELECT min(id) FROM businesses)")
        first.change({"version": NEXT})
        first.await_reason("DatabaseMigrated", "False", "MigrationFailed", 120)
        truth.change("UPDATE businesses SET name = 'Acme' WHERE name = 'Obstacle'")
        first.kube.run("annotate", "switchboard", first.name, "switchboard.dev/retry=cause-is-gone", "--overwrite")
        board = first.await_release(NEXT)
        assert truth.value(SCHEMA) == SEQUENCES[NEXT]
    entry = board["status"]["history"][-1]
    assert (entry["version"], entry["fromVersion"], entry["outcome"]) == (NEXT, THIS, "Succeeded")


@pytest.mark.usefixtures("later_releases")
def test_a_downgrade_that_cannot_work_is_refused_before_anything_is_touched(first: Installation) -> None:
    first.change({"version": BREAKING})
    first.await_release(BREAKING)
    with _undisturbed(first), first.truth() as truth:
        first.change({"version": NEXT})
        refused = first.await_reason("DatabaseMigrated", "False", "ReleaseRefused", 60)
        assert "too old for the database" in refused["message"]
        assert not [job for job in first.history.live("jobs") if _transition(first, job) and "-expand-" in _name(job)]
        assert truth.rows("SELECT schema_seq, min_code_seq FROM schema_state") == [
            {"schema_seq": SEQUENCES[BREAKING], "min_code_seq": SEQUENCES[BREAKING]}
        ]
        first.change({"version": BREAKING})
        first.await_release(BREAKING, 30)


@contextmanager
def _undisturbed(installation: Installation) -> Iterator[None]:
    """Fail unless every pod of every role serves all the time, and none comes or goes."""
    installation.await_rest()
    before = {_name(pod) for pod in installation.pods()}
    begun = installation.history.last
    yield
    told = [each for each in installation.history.versions("pods") if each.number > begun]
    assert unready_moments(told, before) == []
    assert {each.name for each in told if role_of(each.body) in ROLES} <= before


def _check_what_is_told(installation: Installation, begun: int) -> None:
    """Attempt, exit code, last log lines and the log command stand in the status soon after the failure.

    Args:
        installation: whose migration has failed.
        begun: resource version from before the migration.
    """
    failed = max((each for each in installation.history.versions("pods") if _exit_code(each)), key=lambda each: each.at)
    told = next(
        each
        for each in installation.history.versions("switchboards", installation.name)
        if each.number > begun and (condition(each.body, "DatabaseMigrated") or {}).get("reason") == "MigrationFailed"
    )
    assert told.at - failed.at <= TOLD_WITHIN_S
    message = (condition(told.body, "DatabaseMigrated") or {})["message"]
    assert "Attempt 2 of 2 failed with exit code 1" in message
    assert 'check constraint "chk_businesses_name"' in message
    assert f"kubectl logs --namespace {installation.kube.namespace} pod/{failed.name}" in message
    log = installation.kube.logs(failed.name)
    assert f"Migration {SEQUENCES[NEXT]} failed" in log


def _exit_code(version: Version) -> int:
    """Of a migrate pod that runs its expand phase; 0 while there is none."""
    if "-expand-" not in version.name:
        return 0
    for each in version.body.get("status", {}).get("containerStatuses", []):
        code: int = each.get("state", {}).get("terminated", {}).get("exitCode", 0)
        return code
    return 0


def _transition(installation: Installation, job: Json) -> bool:
    """Whether a Job belongs to the transition that is held back."""
    gate = (installation.board() or {}).get("status", {}).get("gate")
    return gate is not None and _name(job).startswith(f"{installation.name}-migrate-{gate['number']}-")


def _name(found: Json) -> str:
    name: str = found["metadata"]["name"]
    return name
