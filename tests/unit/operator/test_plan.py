"""The planner: repairs, Secrets, pause, deletion."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from switchboard_operator import names
from switchboard_operator.actions import (
    Apply,
    Delete,
    Emit,
    EnsureSecret,
    Requeue,
    TakeOver,
    WriteStatus,
)
from switchboard_operator.plan import LOOK_AGAIN_S, RESYNC_S, plan
from switchboard_operator.spec import SwitchboardSpec
from unit.operator.fake_cluster import FakeCluster, installed
from unit.operator.samples import spec_dict

CALLS = "main-worker-calls"


def writes(cluster: FakeCluster) -> list[object]:
    return [action for action in cluster.plan() if not isinstance(action, Requeue)]


def requeue(cluster: FakeCluster) -> float:
    return next(action.seconds for action in cluster.plan() if isinstance(action, Requeue))


def test_a_settled_switchboard_needs_no_call_and_is_looked_at_rarely() -> None:
    cluster = installed()

    assert writes(cluster) == []
    assert requeue(cluster) == RESYNC_S


def test_the_planner_changes_nothing_in_what_it_is_given() -> None:
    cluster = installed()
    cluster.change(version="1.1.0")
    observed = cluster.observe()
    before = copy.deepcopy(observed)

    plan(SwitchboardSpec.model_validate(cluster.spec), observed, cluster.now)

    assert observed == before


def test_the_internal_token_is_made_before_anything_needs_it() -> None:
    cluster = FakeCluster()
    for action in cluster.plan():
        if not isinstance(action, Requeue):
            cluster.perform(action)

    assert isinstance(cluster.plan()[0], EnsureSecret)


def test_a_hand_edited_image_is_put_back_and_told() -> None:
    cluster = installed()
    cluster.objects["Deployment", CALLS]["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"

    cluster.settle()

    container = cluster.objects["Deployment", CALLS]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "switchboard-worker:1.0.0"
    event = next(event for event in cluster.events if event.reason == "DriftRepaired")
    assert "spec.template.spec.containers[worker].image" in event.message


def test_a_deleted_object_comes_back() -> None:
    cluster = installed()
    del cluster.objects["Service", "main-api"]

    cluster.settle()

    assert ("Service", "main-api") in cluster.objects


def test_a_variable_added_by_hand_is_taken_out_again() -> None:
    cluster = installed()
    live = cluster.objects["Deployment", CALLS]
    path: dict[str, Any] = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"worker"}': {"f:env": {}}}}}}
    }
    live["metadata"]["managedFields"].append({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": path})

    actions = [action for action in cluster.plan() if isinstance(action, TakeOver | Apply)]

    assert [type(action) for action in actions] == [TakeOver, Apply]
    assert "kubectl-edit" in next(event.message for event in cluster.plan() if hasattr(event, "message"))


def test_a_person_who_scales_by_hand_is_told_how_to_do_it() -> None:
    cluster = installed()
    cluster.objects["Deployment", "main-api"]["spec"]["replicas"] = 9

    cluster.settle()

    assert cluster.objects["Deployment", "main-api"]["spec"]["replicas"] == 2
    event = next(event for event in cluster.events if event.reason == "ScaleCorrected")
    assert "spec.api.replicas" in event.message


def test_a_change_without_a_migration_runs_no_job() -> None:
    cluster = installed()
    before = list(cluster.database.runs)
    cluster.change(logging={"level": "DEBUG"})

    cluster.settle()

    assert cluster.database.runs == before
    assert cluster.state.transitions == 1
    assert cluster.condition("Ready") == ("True", "Ready")


def test_a_changed_secret_rolls_each_pod_once() -> None:
    cluster = installed()
    before = {pod.name for pod in cluster.pods}
    born: set[str] = set()
    cluster.secrets["switchboard-redis"] = {"url": "bmV3"}

    def watch(_: int) -> bool:
        born.update(pod.name for pod in cluster.pods)
        return False

    cluster.settle(watch)

    assert len(born - before) <= len(before)
    assert not before & {pod.name for pod in cluster.pods}
    assert "SecretsChanged" in cluster.told()


def test_a_deleted_internal_token_is_made_anew_before_any_pod_is_replaced() -> None:
    cluster = installed()
    cluster.secrets["main-internal"] = None

    first = [action for action in cluster.plan() if not isinstance(action, Emit | WriteStatus | Requeue)]

    assert [type(action) for action in first] == [EnsureSecret]


def test_a_release_that_waits_for_a_secret_is_not_ready() -> None:
    cluster = installed()
    cluster.secrets["twilio"] = None
    cluster.change(version="1.1.0")

    cluster.settle()

    assert cluster.condition("Ready") == ("False", "SecretMissing")
    assert set(cluster.versions().values()) == {"1.0.0"}


def test_recordings_are_not_deleted_because_the_spec_names_another_storage() -> None:
    cluster = FakeCluster(spec_dict(storage={"volume": {"deleteWithResource": True}}))
    cluster.settle()

    cluster.change(storage={"url": "s3://recordings"})
    cluster.settle()

    assert ("PersistentVolumeClaim", "main-recordings") in cluster.objects


def test_a_claim_that_cannot_be_made_smaller_holds_nothing_else_up() -> None:
    cluster = installed(storage={"volume": {"size": "20Gi"}})
    cluster.change(storage={"volume": {"size": "10Gi"}}, logging={"level": "DEBUG"})

    cluster.settle()

    claim = cluster.objects["PersistentVolumeClaim", "main-recordings"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert cluster.condition("Ready") == ("True", "Ready")
    assert writes(cluster) == []


def test_a_missing_secret_is_named_and_nothing_begins() -> None:
    cluster = FakeCluster()
    cluster.secrets["twilio"] = None

    cluster.settle()

    assert cluster.state.transitions == 0
    assert cluster.condition("Degraded") == ("True", "SecretMissing")
    assert "The Secret twilio that spec.carrier.secretRef names does not exist: create it" in cluster.message("Ready")


def test_a_missing_key_is_named() -> None:
    cluster = FakeCluster()
    cluster.secrets["switchboard-db"] = {"url": "YXBw"}

    cluster.settle()

    assert "has no key ownerUrl" in cluster.message("Degraded")


def test_a_secret_that_disappears_restarts_nothing() -> None:
    cluster = installed()
    pods = {pod.name for pod in cluster.pods}
    cluster.secrets["twilio"] = None

    cluster.settle()

    assert {pod.name for pod in cluster.pods} == pods
    assert cluster.condition("Ready")[0] == "True"
    assert cluster.condition("Degraded") == ("True", "SecretMissing")


def test_a_paused_switchboard_is_reported_on_and_left_alone() -> None:
    cluster = installed()
    cluster.change(paused=True, version="1.1.0")
    del cluster.objects["Service", "main-api"]
    transitions = cluster.state.transitions

    cluster.settle()

    assert ("Service", "main-api") not in cluster.objects
    assert cluster.state.transitions == transitions
    assert cluster.condition("Progressing") == ("False", "Paused")
    assert cluster.state.observed_generation == cluster.generation


def test_a_paused_switchboard_is_left_alone_also_when_its_spec_cannot_be_used() -> None:
    cluster = installed()
    cluster.change(paused=True)
    cluster.annotate("a retry")
    del cluster.objects["Service", "main-api"]

    actions = plan(None, replace(cluster.observe(), spec_error="The spec cannot be used."), cluster.now)

    assert {type(action) for action in actions} == {Emit, WriteStatus, Requeue}
    assert [action.state.retry_nonce for action in actions if isinstance(action, WriteStatus)] == [None]


def test_resuming_goes_on_where_it_was() -> None:
    cluster = installed()
    cluster.change(paused=True, version="1.1.0")
    cluster.settle()
    cluster.change(paused=False)

    cluster.settle()

    assert set(cluster.versions().values()) == {"1.1.0"}


def test_pausing_and_resuming_restarts_nothing() -> None:
    cluster = installed()
    pods = {pod.name for pod in cluster.pods}
    for paused in (True, False):
        cluster.change(paused=paused)
        cluster.settle()

    assert {pod.name for pod in cluster.pods} == pods
    assert cluster.condition("Ready") == ("True", "Ready")


def test_a_switchboard_that_is_deleted_is_left_to_the_garbage_collector() -> None:
    cluster = installed()

    assert (
        plan(SwitchboardSpec.model_validate(cluster.spec), replace(cluster.observe(), deleting=True), cluster.now) == []
    )


def test_a_spec_that_cannot_be_used_keeps_the_old_release_and_its_repairs() -> None:
    cluster = installed()
    del cluster.objects["Service", "main-api"]
    observed = replace(cluster.observe(), spec_error="The spec cannot be used.")

    actions = plan(None, observed, cluster.now)

    assert [action.manifest["kind"] for action in actions if isinstance(action, Apply)] == ["Service"]
    state = next(action.state for action in actions if isinstance(action, WriteStatus))
    assert {each.type: each.reason for each in state.conditions}["Degraded"] == "InvalidSpec"


def test_what_is_not_ours_is_not_deleted() -> None:
    cluster = installed()
    labels = {names.INSTANCE_LABEL: "main", names.MANAGED_BY_LABEL: names.MANAGED_BY}
    cluster.objects["Service", "theirs"] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "theirs", "uid": "uid-theirs", "labels": labels},
    }

    assert not any(isinstance(action, Delete) for action in cluster.plan())


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"version": "1.1.0"}, 0.0), ({"paused": True}, RESYNC_S)],
    ids=["a step was taken", "paused"],
)
def test_how_soon_it_looks_again(change: dict[str, Any], expected: float) -> None:
    cluster = installed()
    cluster.change(**change)

    assert requeue(cluster) == expected


def test_it_looks_again_soon_while_something_is_under_way() -> None:
    cluster = installed()
    cluster.frozen.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle()

    assert cluster.condition("Progressing") == ("True", "RollingOut")
    assert requeue(cluster) == LOOK_AGAIN_S
    assert cluster.versions()["main-api"] == "1.0.0"


def test_a_rollout_that_is_stuck_can_be_reverted() -> None:
    cluster = installed()
    cluster.frozen.add("1.1.0")
    cluster.change(version="1.1.0")
    cluster.settle()
    cluster.change(version="1.0.0")

    cluster.settle()

    assert set(cluster.versions().values()) == {"1.0.0"}
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.state.transitions == 3
