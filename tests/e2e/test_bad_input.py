"""What people get wrong is said where they look for it, and harms nobody else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.history import History
from e2e.installation import Installation, seconds_to_correct
from e2e.kube import Json, Kube
from e2e.lab import Lab, Operator
from e2e.manifests import secret
from e2e.releases import THIS
from e2e.setup import BULK_QUEUES, SMALL, workers

REPAIRED_WITHIN_S = 30.0
NOWHERE = "postgresql+psycopg://switchboard_owner:none@127.0.0.1:9/switchboard"


@pytest.fixture(scope="module")
def elsewhere(lab: Lab, operator: Operator) -> Iterator[tuple[Kube, History]]:  # noqa: ARG001 - it has to be there
    """A namespace for what cannot work."""
    with lab.namespace("e2e-bad-input") as opened:
        kube, _ = opened
        kube.apply(
            secret("database", url=NOWHERE, ownerUrl=NOWHERE),
            secret("redis", url="redis://127.0.0.1:9/0"),
            secret("carrier", accountSid="AC" + "0" * 32, authToken="none"),
        )
        yield opened


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        pytest.param(
            {"workers": [{"name": "bulk", "queues": BULK_QUEUES}]},
            "spec.workers",
            "must belong to exactly one pool of workers",
            id="a queue without a pool",
        ),
        pytest.param(
            {"recorder": {"autoscaling": {"min": 0, "max": 2}}},
            "spec.recorder.autoscaling.min",
            "should be greater than or equal to 1",
            id="no recorder",
        ),
        pytest.param(
            {"storage": {}}, "spec.storage", "set exactly one of storage.url and storage.volume", id="no storage"
        ),
        pytest.param(
            {"env": [{"name": "DATABASE_URL", "value": "x"}]},
            "spec.env[0].name",
            "the operator sets this variable itself",
            id="a reserved variable",
        ),
    ],
)
def test_an_invalid_spec_is_refused_with_the_field_and_the_rule(
    elsewhere: tuple[Kube, History], change: Json, field: str, rule: str
) -> None:
    kube, _ = elsewhere
    ended = kube.try_run("create", "-f", "-", stdin=json.dumps(_board("invalid", **change)))
    assert ended.returncode != 0
    assert field in ended.stderr
    assert rule in ended.stderr


def test_a_missing_secret_is_named_and_awaited(elsewhere: tuple[Kube, History]) -> None:
    kube, history = elsewhere
    ref = {"name": "forgotten", "key": "url"}
    kube.apply(_board("no-secret", redis={"secretRef": ref}))
    board = Installation(kube, history, "no-secret")
    told = board.await_reason("Degraded", "True", "SecretMissing", 30)
    assert "Secret forgotten that spec.redis.secretRef names does not exist: create it" in told["message"]
    history.wait(lambda: board.events("SecretMissing"), "the Event", 10)
    assert board.kube.list("jobs", "app.kubernetes.io/instance=no-secret") == []
    kube.apply(secret("forgotten", url="redis://127.0.0.1:9/0"))
    board.wait(lambda found: found["status"].get("gate"), "the migration to begin once the Secret is there", 30)


def test_an_image_that_cannot_be_had_is_named(elsewhere: tuple[Kube, History]) -> None:
    kube, history = elsewhere
    kube.apply(_board("no-image", version="9.9.9", images={"pullPolicy": "Never"}))
    board = Installation(kube, history, "no-image")
    told = board.await_reason("Degraded", "True", "ImagePullFailed", 60)
    assert "switchboard-api:9.9.9" in told["message"]
    assert "Check the image's name and tag" in told["message"]
    history.wait(lambda: board.events("ImagePullFailed"), "the Event", 10)


def test_a_database_that_is_down_is_told_and_asked_again(elsewhere: tuple[Kube, History]) -> None:
    kube, history = elsewhere
    kube.apply(_board("no-database"))
    board = Installation(kube, history, "no-database")
    told = board.await_reason("Degraded", "True", "CheckFailed", 120)
    assert "check that it runs and MIGRATION_DATABASE_URL" in told["message"]
    assert "asked again by itself every minute" in told["message"]
    history.wait(lambda: board.events("CheckFailed"), "the Event", 10)


def test_a_database_that_goes_down_is_told_until_it_is_back(first: Installation) -> None:
    database = f"statefulset/{first.name}-trial-postgresql"
    first.kube.run("scale", database, "--replicas=0")
    try:
        told = first.await_reason("Degraded", "True", "PodsNotReady", 120)
        assert "check that it runs and DATABASE_URL" in told["message"]
        first.history.wait(lambda: first.events("PodsNotReady"), "the Event", 10)
    finally:
        first.kube.run("scale", database, "--replicas=1")
    first.await_rest()
    with first.truth() as truth:
        assert truth.rows("SELECT 1 AS answer") == [{"answer": 1}]


def test_the_others_are_served_on(elsewhere: tuple[Kube, History], first: Installation) -> None:
    del elsewhere
    assert seconds_to_correct(first) < REPAIRED_WITHIN_S


def _board(name: str, **spec: Any) -> Json:
    """A Switchboard whose database does not answer."""
    whole = {
        "version": THIS,
        "database": {
            "secretRef": {"name": "database", "key": "url"},
            "migrationSecretRef": {"name": "database", "key": "ownerUrl"},
        },
        "redis": {"secretRef": {"name": "redis", "key": "url"}},
        "carrier": {"secretRef": {"name": "carrier"}},
        "storage": {"url": "s3://nowhere"},
        "api": {"publicUrl": "http://calls.example.com", "replicas": 1},
        "workers": workers(),
        "migrations": {"backoffLimit": 0, "resources": SMALL},
        **spec,
    }
    return {"apiVersion": "switchboard.dev/v1alpha1", "kind": "Switchboard", "metadata": {"name": name}, "spec": whole}
