"""From nothing to a campaign: what ``helm install`` of both charts gives."""

import json

import pytest

from e2e.campaign import await_end, await_recordings, check_run, numbers
from e2e.history import Version, is_true
from e2e.installation import ROLES, Installation, role_of
from e2e.lab import CHECKOUT
from e2e.manifests import plain_pod
from e2e.releases import REPOSITORY, THIS

CONDITIONS = ("Progressing", "DatabaseMigrated", "Available", "Ready")
CLEANUP = "[STARTUP] Running outbound cleanup"

pytestmark = pytest.mark.smoke


def test_conditions_become_true_in_their_order(first: Installation) -> None:
    boards = first.history.versions("switchboards", first.name)
    became = {kind: next(each.number for each in boards if is_true(each.body, kind)) for kind in CONDITIONS}
    assert sorted(became, key=lambda kind: (became[kind], CONDITIONS.index(kind))) == list(CONDITIONS)


def test_no_pod_of_any_role_existed_before_the_migration_had_succeeded(first: Installation) -> None:
    jobs = [each for each in first.history.versions("jobs") if "-expand-" in each.name]
    migrated = next(each.number for each in jobs if _is_complete(each))
    made = {each.name: each.number for each in first.history.versions("pods") if _is_new_pod(each)}
    assert len(made) >= len(ROLES)
    assert {name: number for name, number in made.items() if number < migrated} == {}


def test_exactly_one_api_pod_cleans_up_and_nothing_else_does(first: Installation) -> None:
    logs = {pod["metadata"]["name"]: (role_of(pod), first.kube.logs(pod["metadata"]["name"])) for pod in first.pods()}
    assert sum(role == "api" for role, _ in logs.values()) == 3
    cleaned = [(role, log.count(CLEANUP)) for role, log in logs.values() if CLEANUP in log]
    assert cleaned == [("api", 1)]


def test_a_campaign_runs_to_its_end_and_its_recordings_are_kept(first: Installation, calls: int) -> None:
    business = first.business(cap=20)
    with first.truth() as truth:
        run = business.start_run(numbers(calls))
        await_end(truth, run, timeout=180)
        check_run(truth, run, calls)
        assert await_recordings(truth, timeout=120) > 0


def test_the_namespace_lets_nothing_in_that_is_not_restricted(first: Installation) -> None:
    pod = plain_pod("unrestricted", f"{REPOSITORY}-api:{THIS}", ["true"], {})
    del pod["spec"]["containers"][0]["securityContext"]
    refused = first.kube.try_run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in refused.stderr


def test_the_example_resource_is_accepted(first: Installation) -> None:
    first.kube.within("default").run("apply", "--dry-run=server", "-f", str(CHECKOUT / "examples" / "switchboard.yaml"))


def _is_complete(job: Version) -> bool:
    conditions = job.body.get("status", {}).get("conditions", [])
    return any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)


def _is_new_pod(version: Version) -> bool:
    return version.event == "ADDED" and role_of(version.body) in ROLES
