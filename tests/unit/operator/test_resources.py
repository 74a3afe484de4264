"""Objects: restricted, complete, and unchanged for releases that run already."""

import json
from pathlib import Path
from typing import Any

import pytest

from switchboard_operator import names
from switchboard_operator.kinds import key_of
from switchboard_operator.render import Renderer, with_scale_of
from switchboard_operator.resources import pods
from switchboard_operator.resources.base import REVISION, Manifest, Release, version_label
from switchboard_operator.resources.job import migrate_job
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import Applied, Stage, State
from unit.operator.samples import OWNER, containers, environment, make_spec, spec_dict

RECORDED = Path(__file__).parent
VOLUME = {"volume": {"size": "50Gi"}}


def applied(spec: SwitchboardSpec, stage: Stage = "done", revision: int = REVISION) -> Applied:
    return Applied(
        number=1,
        key="key",
        version=spec.version,
        release="release",
        revision=revision,
        spec=spec.dump(),
        secrets="checksum",
        migration_secret="checksum",
        stage=stage,
    )


def rendered(
    spec: SwitchboardSpec | None = None, *, keda: bool = False, revision: int = REVISION
) -> dict[tuple[str, str], Manifest]:
    spec = spec or make_spec()
    state = State(applied=applied(spec, revision=revision))
    existing = frozenset({"main-worker-calls", "main-recorder"}) if keda else frozenset()
    objects = Renderer(OWNER, state, spec, keda=keda, existing=existing).objects()
    return {key_of(each): each for each in objects}


def job(step: str = "expand", spec: SwitchboardSpec | None = None) -> Manifest:
    release = Release(owner=OWNER, spec=spec or make_spec(), release="release", secrets="")
    return migrate_job(release, transition=3, step=step, run=2)


def with_pods(spec: SwitchboardSpec | None = None) -> list[Manifest]:
    return [each for key, each in rendered(spec).items() if key[0] == "Deployment"] + [job(spec=spec)]


def test_everything_that_should_exist_exists() -> None:
    assert set(rendered()) == {
        ("ServiceAccount", "main"),
        ("Service", "main-api"),
        ("Deployment", "main-api"),
        ("Deployment", "main-worker-calls"),
        ("Deployment", "main-worker-bulk"),
        ("Deployment", "main-recorder"),
        ("PodDisruptionBudget", "main-api"),
        ("PodDisruptionBudget", "main-worker-calls"),
        ("PodDisruptionBudget", "main-worker-bulk"),
        ("PodDisruptionBudget", "main-recorder"),
    }


@pytest.mark.parametrize("manifest", with_pods(make_spec(storage=VOLUME)), ids=lambda found: found["metadata"]["name"])
def test_every_pod_satisfies_pod_security_restricted(manifest: Manifest) -> None:
    pod = manifest["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(volume.keys() & {"emptyDir", "persistentVolumeClaim"} for volume in pod["volumes"])
    for container in containers(manifest):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]


@pytest.mark.parametrize("manifest", with_pods(), ids=lambda found: found["metadata"]["name"])
def test_the_label_decides_the_role(manifest: Manifest) -> None:
    template = manifest["spec"]["template"]

    assert environment(manifest)["SERVICE_ROLE"]["fieldRef"]["fieldPath"] == "metadata.labels['switchboard.dev/role']"
    assert template["metadata"]["labels"][names.ROLE_LABEL] in {"api", "worker", "recorder", "migrate"}
    assert "RUN_MIGRATIONS" not in environment(manifest)


@pytest.mark.parametrize("manifest", with_pods(), ids=lambda found: found["metadata"]["name"])
def test_only_the_migrate_job_sees_the_owners_url(manifest: Manifest) -> None:
    sees = '"ownerUrl"' in json.dumps(manifest)

    assert sees == (manifest["kind"] == "Job")
    assert ("MIGRATION_DATABASE_URL" in environment(manifest)) == (manifest["kind"] == "Job")


def test_the_grace_period_fits_the_drain() -> None:
    objects = rendered()
    api = objects["Deployment", "main-api"]["spec"]["template"]["spec"]
    worker = objects["Deployment", "main-worker-calls"]["spec"]["template"]["spec"]

    assert api["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == pods.PRE_STOP_S
    assert api["terminationGracePeriodSeconds"] > pods.PRE_STOP_S + pods.DRAIN_S
    assert worker["terminationGracePeriodSeconds"] > pods.DRAIN_S


def test_probes_ask_for_health_and_readiness() -> None:
    for name, port in (("main-api", "http"), ("main-worker-calls", "metrics"), ("main-recorder", "metrics")):
        container = next(containers(rendered()["Deployment", name]))
        assert container["livenessProbe"]["httpGet"] == {"path": "/api/health", "port": port, "scheme": "HTTP"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/api/ready", "port": port, "scheme": "HTTP"}
    assert environment(rendered()["Deployment", "main-recorder"])["METRICS_PORT"] == "9100"


def test_a_pool_consumes_its_queues_in_order() -> None:
    assert environment(rendered()["Deployment", "main-worker-calls"])["RQ_QUEUES"] == "high,default"
    assert "RQ_QUEUES" not in environment(rendered()["Deployment", "main-recorder"])


def test_nodes_can_be_drained_one_pod_at_a_time() -> None:
    objects = rendered()
    template = objects["Deployment", "main-worker-calls"]["spec"]["template"]

    assert objects["PodDisruptionBudget", "main-worker-calls"]["spec"]["maxUnavailable"] == 1
    assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"
    assert {each["topologyKey"] for each in template["spec"]["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }


@pytest.mark.parametrize(
    ("version", "expected"), [("1.0.0", "1.0.0"), ("_1.0-" + "a" * 100, "1.0-" + "a" * 58), ("_", "")]
)
def test_any_tag_makes_a_label(version: str, expected: str) -> None:
    assert version_label(version) == expected


def test_selectors_never_mention_what_changes() -> None:
    selector = rendered()["Deployment", "main-api"]["spec"]["selector"]["matchLabels"]

    assert names.RELEASE_LABEL not in selector
    assert "app.kubernetes.io/version" not in selector


def test_a_variable_of_the_user_replaces_one_of_ours() -> None:
    api = rendered(make_spec(env=[{"name": "SWITCHBOARD_HOST", "value": "::"}]))["Deployment", "main-api"]
    found = [each["value"] for each in next(containers(api))["env"] if each["name"] == "SWITCHBOARD_HOST"]

    assert found == ["::"]


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        ("check", ["--phase", "expand", "--check", "--json"]),
        ("expand", ["--phase", "expand", "--json"]),
        ("contract", ["--phase", "contract", "--json"]),
    ],
)
def test_each_step_has_its_command(step: str, arguments: list[str]) -> None:
    assert next(containers(job(step)))["args"] == ["switchboard", "migrate", *arguments]


def test_a_job_keeps_every_attempt_and_takes_answers_for_answers() -> None:
    spec = job("check")["spec"]

    assert "ttlSecondsAfterFinished" not in spec
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [3, 4]
    assert job("expand")["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [4]
    assert job()["metadata"]["name"] == "main-migrate-3-expand-2"


def test_recordings_outlive_the_resource_unless_told_otherwise() -> None:
    kept = rendered(make_spec(storage=VOLUME))["PersistentVolumeClaim", "main-recordings"]
    lost = rendered(make_spec(storage={"volume": {"deleteWithResource": True}}))
    claim = ("PersistentVolumeClaim", "main-recordings")

    assert "ownerReferences" not in kept["metadata"]
    assert lost[claim]["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid
    assert claim not in rendered(make_spec(storage={"volume": {"claimName": "mine"}}))


def test_the_recorder_writes_the_volume_and_the_api_only_reads_it() -> None:
    objects = rendered(make_spec(storage=VOLUME))
    mounts = {
        name: [each for each in next(containers(objects["Deployment", name]))["volumeMounts"] if each["name"] != "tmp"]
        for name in ("main-api", "main-recorder", "main-worker-calls")
    }

    assert mounts["main-api"][0]["readOnly"] is True
    assert "readOnly" not in mounts["main-recorder"][0]
    assert mounts["main-worker-calls"] == []


def test_a_volume_for_one_node_draws_its_pods_together() -> None:
    objects = rendered(make_spec(storage={"volume": {"accessModes": ["ReadWriteOnce"]}}))
    pods = {name: objects["Deployment", name]["spec"]["template"]["spec"] for name in ("main-api", "main-recorder")}

    assert all("podAffinity" in pod["affinity"] and "topologySpreadConstraints" not in pod for pod in pods.values())
    assert "affinity" not in objects["Deployment", "main-worker-calls"]["spec"]["template"]["spec"]


def test_network_policies_appear_on_request() -> None:
    policies = {
        name for kind, name in rendered(make_spec(networkPolicies={"enabled": True})) if kind == "NetworkPolicy"
    }

    assert policies == {"main-api", "main-worker", "main-recorder", "main-migrate"}


def test_everything_but_a_kept_volume_is_owned() -> None:
    for (kind, _), manifest in rendered(make_spec(networkPolicies={"enabled": True})).items():
        reference = manifest["metadata"]["ownerReferences"][0]
        assert (reference["uid"], reference["controller"]) == (OWNER.uid, True), kind


def scaled_spec() -> SwitchboardSpec:
    found = spec_dict()
    found["workers"][0] = {"name": "calls", "queues": ["high", "default"], "autoscaling": {"min": 0, "max": 20}}
    return SwitchboardSpec.model_validate(found | {"recorder": {"autoscaling": {"min": 1, "max": 10}}})


def test_keda_scales_pools_on_the_work_that_the_api_counts() -> None:
    objects = rendered(scaled_spec(), keda=True)
    scaler = objects["ScaledObject", "main-worker-calls"]["spec"]

    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (0, 20)
    assert scaler["triggers"][0]["metadata"]["url"] == (
        "http://main-api.calls.svc:80/internal/autoscaling/calls?queues=high,default"
    )
    assert ("ScaledObject", "main-worker-bulk") not in objects
    assert ("TriggerAuthentication", "main") in objects


def test_replicas_belong_to_keda_once_the_deployment_exists() -> None:
    with_keda, without = rendered(scaled_spec(), keda=True), rendered(scaled_spec())

    assert "replicas" not in with_keda["Deployment", "main-worker-calls"]["spec"]
    assert without["Deployment", "main-worker-calls"]["spec"]["replicas"] == 1


def test_scaling_never_waits_for_a_gate() -> None:
    wanted = make_spec("2.0.0", api={"replicas": 7, "publicUrl": "https://new.example.com"})

    mixed = with_scale_of(make_spec("1.0.0"), wanted)

    assert mixed.api.replicas == 7
    assert mixed.api.public_url == "https://calls.example.com"
    assert mixed.version == "1.0.0"


@pytest.mark.parametrize("revision", range(1, REVISION + 1))
def test_an_operator_upgrade_alone_restarts_nothing(revision: int) -> None:
    """Pod templates of every revision are what they were when it was released.

    To change a template, render it differently for a new ``REVISION`` and record that one in a file of its own.
    """
    spec = make_spec(storage=VOLUME, envFromSecrets=[{"name": "more"}])
    templates: dict[str, Any] = {
        name: manifest["spec"]["template"]
        for (kind, name), manifest in rendered(spec, revision=revision).items()
        if kind == "Deployment"
    }

    assert templates == json.loads((RECORDED / f"templates_revision_{revision}.json").read_text("utf-8"))


def test_secrets_become_variables_and_those_of_the_user_decide() -> None:
    spec = make_spec(storage={"url": "s3://recordings", "secretRef": {"name": "s3"}}, envFromSecrets=[{"name": "more"}])
    found = {
        name: [each["secretRef"]["name"] for each in next(containers(manifest))["envFrom"]]
        for (kind, name), manifest in rendered(spec).items()
        if kind == "Deployment"
    }

    # Of two Secrets with the same key the later one decides.
    assert found["main-api"] == found["main-worker-calls"] == ["main-credentials-keys", "more", "s3"]
    assert found["main-recorder"] == ["more", "s3"]


def test_the_recorder_gets_no_sealing_key_from_wherever() -> None:
    assert environment(rendered()["Deployment", "main-recorder"])["CREDENTIALS_KEYS"] == ""
    assert "envFrom" not in next(containers(rendered()["Deployment", "main-recorder"]))


def test_the_migrate_job_gets_no_secret_but_the_owners_url() -> None:
    spec = make_spec(envFromSecrets=[{"name": "more"}])

    assert "envFrom" not in next(containers(job(spec=spec)))
