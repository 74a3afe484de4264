"""The facts for machines."""

import json

import pytest

from unit.plugin.situations import SITUATIONS, overview_of


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_is_plain_json(situation: str) -> None:
    value = overview_of(situation).as_json()
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("situation", "ready", "reason"),
    [
        ("ready", True, "Ready"),
        ("progressing", False, "RollingOut"),
        ("migration-failed", False, "MigrationFailed"),
        ("retrying", False, "MigrationRetrying"),
        ("refused", False, "ReleaseRefused"),
        ("secret-missing", False, "SecretMissing"),
        ("paused", False, "Paused"),
        ("image-missing", False, "ImagePullFailed"),
        ("unseen", False, "NotObserved"),
    ],
)
def test_a_machine_reads_whether_it_is_ready_and_why_not(situation: str, ready: bool, reason: str) -> None:
    value = overview_of(situation).as_json()
    assert (value["ready"], value["reason"]) == (ready, reason)


def test_a_failed_gate_has_all_that_a_screen_shows() -> None:
    gate = overview_of("migration-failed").as_json()["gate"]
    assert (gate["number"], gate["step"], gate["state"]) == (2, "expand", "Failed")
    assert (gate["failure"]["attempt"], gate["failure"]["maxAttempts"], gate["failure"]["exitCode"]) == (1, 1, 1)
    assert gate["failure"]["logCommand"].startswith("kubectl logs --namespace migration-failed pod/")


def test_events_are_the_newest_first_and_few() -> None:
    events = overview_of("refused").as_json()["events"]
    times = [event["at"] for event in events]
    assert times == sorted(times, reverse=True)
    assert len(events) == 8


def test_one_that_is_being_deleted_is_not_ready() -> None:
    value = overview_of("ready", metadata={"deletionTimestamp": "2026-11-22T12:00:00Z"}).as_json()
    assert (value["ready"], value["reason"]) == (False, "Deleting")
