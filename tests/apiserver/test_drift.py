"""What people and other controllers change: repaired, respected or taken over, each within seconds."""

import pytest

from apiserver.client import Object
from apiserver.site import NAME, Site, small_spec
from switchboard_operator import names

WORKER = f"{NAME}-worker-calls"
REPAIR_S = 30.0


def image_of(deployment: Object) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def labels_of(deployment: Object) -> Object:
    found: Object = deployment["spec"]["template"]["metadata"]["labels"]
    return found


def test_a_hand_edited_image_is_put_back(installed: Site) -> None:
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other/worker:1.0.0"}]
    installed.client.patch("Deployment", installed.namespace, WORKER, change)

    installed.await_object(
        "Deployment", WORKER, lambda found: image_of(found) == "switchboard-worker:1.0.0", "repair", REPAIR_S
    )
    event = next(each for each in installed.events() if each["reason"] == "DriftRepaired")
    assert f"Deployment {WORKER} was changed by hand" in event["note"]
    assert "containers[worker].image" in event["note"]


def test_what_a_person_adds_to_the_pods_is_taken_away(installed: Site) -> None:
    change = {"spec": {"template": {"metadata": {"labels": {"team": "a"}}, "spec": {"hostNetwork": True}}}}
    installed.client.patch("Deployment", installed.namespace, WORKER, change)

    installed.await_object(
        "Deployment",
        WORKER,
        lambda found: "team" not in labels_of(found) and not found["spec"]["template"]["spec"].get("hostNetwork"),
        "repair",
        REPAIR_S,
    )


def test_a_deleted_object_is_made_again(installed: Site) -> None:
    old = installed.client.get("PodDisruptionBudget", installed.namespace, WORKER)["metadata"]["uid"]
    installed.client.delete("PodDisruptionBudget", installed.namespace, WORKER)

    installed.await_object(
        "PodDisruptionBudget", WORKER, lambda found: found["metadata"]["uid"] != old, "a new budget", REPAIR_S
    )


def test_an_object_whose_labels_were_taken_away_is_found_by_its_owner(installed: Site) -> None:
    change = {"metadata": {"labels": None}}
    installed.client.patch("Service", installed.namespace, f"{NAME}-api", change)

    installed.await_object(
        "Service",
        f"{NAME}-api",
        lambda found: found["metadata"].get("labels", {}).get(names.INSTANCE_LABEL) == NAME,
        "its labels",
        REPAIR_S,
    )


def test_a_humans_scale_is_corrected_with_an_event_that_says_where_to_set_it(installed: Site) -> None:
    installed.client.patch("Deployment", installed.namespace, WORKER, {"spec": {"replicas": 3}}, subresource="scale")

    installed.await_object("Deployment", WORKER, lambda found: found["spec"]["replicas"] == 1, "repair", REPAIR_S)
    event = next(each for each in installed.events() if each["reason"] == "ScaleCorrected")
    assert "Set them in the Switchboard: spec.api.replicas, or replicas or autoscaling" in event["note"]


def test_kubectl_scale_of_the_switchboard_scales_the_api(installed: Site) -> None:
    installed.client.patch("Switchboard", installed.namespace, NAME, {"spec": {"replicas": 2}}, subresource="scale")

    installed.await_object("Deployment", f"{NAME}-api", lambda found: found["spec"]["replicas"] == 2, "two", REPAIR_S)
    installed.await_settled()
    assert [run for run in installed.script.database.runs if run[1] == "check"] == [("1.0.0", "check")]


def test_a_restart_by_kubectl_is_welcome(installed: Site) -> None:
    stamp = {"kubectl.kubernetes.io/restartedAt": "2026-01-26T11:00:00Z"}
    before = {pod["metadata"]["uid"] for pod in installed.pods()}
    installed.client.patch(
        "Deployment", installed.namespace, WORKER, {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    )

    installed.await_object(
        "Deployment",
        WORKER,
        lambda found: (
            found["status"].get("observedGeneration") == found["metadata"]["generation"]
            and found["status"].get("updatedReplicas") == found["status"].get("replicas") == 1
        ),
        "the restart",
        REPAIR_S,
    )
    installed.await_settled()
    assert len({pod["metadata"]["uid"] for pod in installed.pods()} - before) == 1
    assert "DriftRepaired" not in installed.told()


def test_a_changed_database_secret_rolls_each_pod_once(installed: Site) -> None:
    before = {pod["metadata"]["uid"] for pod in installed.pods()}
    checksum, mark = installed.status()["applied"]["secrets"], installed.audit.mark()

    installed.change_secret("switchboard-db", "url", "postgresql://app:new")
    installed.await_resource(lambda found: found["status"]["applied"]["secrets"] != checksum, "it to be noticed")
    installed.await_settled()

    made = [
        entry
        for entry in installed.audit.writes(installed.namespace, mark)
        if entry.verb == "create" and entry.resource == "pods" and "-migrate-" not in str(entry.body["metadata"])
    ]
    assert len(made) == len(before) == 3
    assert not before & {pod["metadata"]["uid"] for pod in installed.pods()}
    assert installed.told().count("SecretsChanged") == 1
    assert [run for run in installed.script.database.runs if run[1] == "check"] == [("1.0.0", "check")]


def test_paused_writes_nothing_but_status(installed: Site) -> None:
    installed.change(paused=True)
    installed.await_condition("Progressing", "False", "Paused")
    mark = installed.audit.mark()

    installed.client.delete("PodDisruptionBudget", installed.namespace, WORKER)
    installed.change(version="1.1.0")
    installed.await_resource(
        lambda found: found["status"]["observedGeneration"] == found["metadata"]["generation"], "the spec to be noted"
    )

    assert {entry.resource for entry in installed.writes(mark)} <= {"switchboards/status"}
    assert installed.versions() == {"1.0.0"}

    installed.change(paused=False)
    installed.await_settled("1.1.0")
    assert WORKER in installed.names("PodDisruptionBudget")


def test_an_object_of_that_name_that_belongs_to_somebody_else_is_left_alone(site: Site) -> None:
    metadata = {"name": NAME, "namespace": site.namespace, "labels": {"app": "other"}}
    site.client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    site.add_secrets()
    site.create(small_spec())

    taken = site.await_condition("Degraded", "True", "NameTaken")
    assert f"ServiceAccount {NAME} exists already and does not belong to this Switchboard" in taken["message"]
    assert site.client.get("ServiceAccount", site.namespace, NAME)["metadata"]["labels"] == {"app": "other"}


@pytest.mark.parametrize("kind", ["ServiceAccount", "Service"])
def test_what_others_write_into_labels_and_annotations_of_an_object_may_stay(installed: Site, kind: str) -> None:
    name = NAME if kind == "ServiceAccount" else f"{NAME}-api"
    mark = installed.audit.mark()
    installed.client.patch(kind, installed.namespace, name, {"metadata": {"annotations": {"example.com/note": "ours"}}})
    installed.change(logging={"level": "DEBUG"})
    installed.await_settled()

    assert (
        installed.client.get(kind, installed.namespace, name)["metadata"]["annotations"]["example.com/note"] == "ours"
    )
    plural = {"ServiceAccount": "serviceaccounts", "Service": "services"}[kind]
    assert [entry for entry in installed.writes(mark) if entry.resource == plural] == []
