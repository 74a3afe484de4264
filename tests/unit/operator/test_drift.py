"""What counts as drift, and what does not."""

from typing import Any

import pytest

from switchboard_operator import names
from switchboard_operator.drift import changeable, compare, owns_replicas, quantity, taken_over


def manifest(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "main-api"}, "spec": spec}


def live(spec: dict[str, Any], *entries: dict[str, Any]) -> dict[str, Any]:
    found = manifest(**spec)
    found["metadata"]["managedFields"] = list(entries)
    return found


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields} | more


@pytest.mark.parametrize(
    ("wanted", "found", "paths"),
    [
        ({"replicas": 2}, {"replicas": 3}, ("spec.replicas",)),
        ({"replicas": 2}, {}, ("spec.replicas",)),
        ({"a": {"b": 1}}, {"a": {"b": 1, "defaulted": 5}}, ()),
        ({"resources": {"limits": {"cpu": "0.5"}}}, {"resources": {"limits": {"cpu": "500m"}}}, ()),
        (
            {"resources": {"limits": {"memory": "1Gi"}}},
            {"resources": {"limits": {"memory": "2Gi"}}},
            ("spec.resources.limits.memory",),
        ),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, ()),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": []}, ("spec.env[A]",)),
        ({"env": [{"name": "A", "value": ""}]}, {"env": [{"name": "A"}]}, ()),
        ({"env": [{"name": "A", "value": ""}]}, {"env": [{"name": "A", "value": "1"}]}, ("spec.env[A].value",)),
        ({"args": ["a", "b"]}, {"args": ["a"]}, ("spec.args",)),
        ({"args": ["a", "b"]}, {"args": ["a", "c"]}, ("spec.args[1]",)),
        ({"emptyDir": {}}, {}, ()),
    ],
)
def test_a_field_of_ours_that_differs_is_drift(
    wanted: dict[str, Any], found: dict[str, Any], paths: tuple[str, ...]
) -> None:
    assert compare(manifest(**wanted), live(found)).paths == paths


def test_a_field_that_somebody_added_is_drift() -> None:
    edited = entry("kubectl-edit", {"f:spec": {"f:template": {"f:spec": {"f:hostNetwork": {}}}}})

    assert compare(manifest(), live({}, edited)).foreign == {"kubectl-edit": ("spec.template.spec.hostNetwork",)}


@pytest.mark.parametrize(
    "harmless",
    [
        entry("kube-controller-manager", {"f:spec": {"f:paused": {}}}, subresource="status"),
        entry("keda", {"f:spec": {"f:replicas": {}}}),
        entry("kubectl-rollout", {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:restartedAt": {}}}}}}),
        entry("kubectl-label", {"f:metadata": {"f:labels": {"f:team": {}}}}),
        entry(names.SCALE_MANAGER, {"f:spec": {"f:replicas": {}}}, operation="Apply"),
        entry(names.FIELD_MANAGER, {"f:spec": {"f:template": {}}}, operation="Apply"),
    ],
    ids=["status", "an autoscaler", "rollout restart", "a label", "handed over", "ours"],
)
def test_others_may_do_their_part(harmless: dict[str, Any]) -> None:
    assert not compare(manifest(), live({}, harmless))


def test_what_was_added_becomes_ours_so_that_an_apply_removes_it() -> None:
    ours = entry(names.FIELD_MANAGER, {"f:spec": {"f:selector": {}}}, operation="Apply")
    edited = entry(
        "kubectl-edit", {"f:metadata": {"f:labels": {"f:team": {}}}, "f:spec": {"f:replicas": {}, "f:paused": {}}}
    )

    first, second = taken_over(live({}, ours, edited))

    assert first["fieldsV1"] == {"f:spec": {"f:selector": {}, "f:paused": {}}}
    assert first["operation"] == "Apply"
    assert second["fieldsV1"] == {"f:metadata": {"f:labels": {"f:team": {}}}, "f:spec": {"f:replicas": {}}}


def test_who_owns_the_replicas() -> None:
    replicas: dict[str, Any] = {"f:spec": {"f:replicas": {}}}

    assert owns_replicas(live({}, entry(names.FIELD_MANAGER, replicas, operation="Apply")))
    assert not owns_replicas(live({}, entry(names.SCALE_MANAGER, replicas, operation="Apply")))


@pytest.mark.parametrize(
    ("one", "other"), [("0.5", "500m"), ("1Gi", 1024**3), ("1k", "1000"), (2, "2"), ("1.5Gi", "1536Mi")]
)
def test_equal_quantities(one: object, other: object) -> None:
    assert quantity(one) == quantity(other)


def test_what_is_no_quantity_is_compared_as_it_is() -> None:
    assert quantity("much") == "much"


def claim(size: str, **more: Any) -> dict[str, Any]:
    return manifest(resources={"requests": {"storage": size}}, **more)


@pytest.mark.parametrize(
    ("wanted", "found", "asked_for"),
    [
        (claim("20Gi"), claim("10Gi", volumeName="pv"), claim("20Gi")),
        (claim("10Gi"), claim("20Gi"), claim("20Gi")),
        (claim("1024Mi"), claim("1Gi"), claim("1024Mi")),
        (
            claim("1Gi", storageClassName="fast"),
            claim("1Gi", storageClassName="slow"),
            claim("1Gi", storageClassName="slow"),
        ),
        (claim("1Gi", accessModes=["A"]), claim("1Gi", accessModes=["B"]), claim("1Gi", accessModes=["B"])),
    ],
    ids=["grows", "does not shrink", "the same", "keeps its class", "keeps its access modes"],
)
def test_of_a_claim_only_that_is_asked_for_which_can_be_had(
    wanted: dict[str, Any], found: dict[str, Any], asked_for: dict[str, Any]
) -> None:
    before = str(wanted)

    assert changeable(wanted, found) == asked_for
    assert str(wanted) == before
