"""Deployments: the api, one per worker pool, the recorder."""

from switchboard_operator import names
from switchboard_operator.resources import pods
from switchboard_operator.resources.base import (
    Manifest,
    Release,
    digest,
    labels,
    manifest,
    selector_labels,
    version_label,
)
from switchboard_operator.resources.pods import Json
from switchboard_operator.resources.pvc import claim_name, is_for_one_node
from switchboard_operator.schema import SecretKeyRef
from switchboard_operator.spec import Placement, WorkerPool

PROGRESS_DEADLINE_S = 600


def api_deployment(release: Release, replicas: int) -> Manifest:
    """The api: serves until every proxy knows that it leaves."""
    spec = release.spec
    token = SecretKeyRef(name=names.internal_secret_name(release.owner.name), key=names.TOKEN_KEY)
    extra: list[Json] = [
        {"name": "SWITCHBOARD_PORT", "value": str(pods.API_PORT)},
        pods.secret_env("INTERNAL_TOKEN", token),
    ]
    main = pods.container("api", spec.image("api"), release, pods.service_env(release, extra), spec.api.resources)
    main |= {
        "ports": [{"name": "http", "containerPort": pods.API_PORT, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": pods.PRE_STOP_S}}},
    }
    _probe(main, "http")
    pods.add_env_from(main, release, "api")
    pod = pods.pod_spec(release, main, grace_s=pods.PRE_STOP_S + pods.DRAIN_S + pods.MARGIN_S)
    claim = claim_name(release.owner, spec)
    if claim:
        pods.mount_recordings(pod, claim, read_only=True)
    return _deployment(release, names.api_name(release.owner.name), "api", None, pod, spec.api, replicas)


def worker_deployment(release: Release, pool: WorkerPool, replicas: int | None) -> Manifest:
    """One pool of workers."""
    env = pods.service_env(release, [_metrics_port(), {"name": "RQ_QUEUES", "value": ",".join(pool.queues)}])
    main = pods.container("worker", release.spec.image("worker"), release, env, pool.resources)
    name = names.worker_name(release.owner.name, pool.name)
    return _background(release, name, "worker", pool.name, main, pool, replicas)


def recorder_deployment(release: Release, replicas: int | None) -> Manifest:
    """The recorder."""
    recorder = release.spec.recorder
    env = pods.service_env(release, [_metrics_port()])
    main = pods.container("recorder", release.spec.image("recorder"), release, env, recorder.resources)
    name = names.recorder_name(release.owner.name)
    return _background(release, name, "recorder", None, main, recorder, replicas)


def _background(
    release: Release, name: str, role: str, pool: str | None, main: Json, placement: Placement, replicas: int | None
) -> Manifest:
    main["ports"] = [{"name": "metrics", "containerPort": pods.METRICS_PORT, "protocol": "TCP"}]
    _probe(main, "metrics")
    pods.add_env_from(main, release, role)
    pod = pods.pod_spec(release, main, grace_s=pods.DRAIN_S + pods.MARGIN_S)
    claim = claim_name(release.owner, release.spec)
    if claim and role == "recorder":
        pods.mount_recordings(pod, claim, read_only=False)
    return _deployment(release, name, role, pool, pod, placement, replicas)


def _metrics_port() -> Json:
    return {"name": "METRICS_PORT", "value": str(pods.METRICS_PORT)}


def _probe(main: Json, port: str) -> None:
    main["startupProbe"] = pods.probe("/api/health", port, period_s=1, failures=60)
    main["livenessProbe"] = pods.probe("/api/health", port, period_s=10, failures=6)
    main["readinessProbe"] = pods.probe("/api/ready", port, period_s=3, failures=2)


def _deployment(
    release: Release,
    name: str,
    role: str,
    pool: str | None,
    pod: Json,
    placement: Placement,
    replicas: int | None,
) -> Manifest:
    owner = release.owner
    pods.place(pod, placement, owner, role, pool)
    if role != "worker" and is_for_one_node(release.spec):
        pods.keep_together(pod, owner)
    template = {
        "metadata": {
            "labels": labels(owner, role, pool)
            | {names.RELEASE_LABEL: release.release, "app.kubernetes.io/version": version_label(release.spec.version)},
            "annotations": {
                names.CHECKSUM_ANNOTATION: release.secrets,
                # Slices make it safe to stop a pod at any moment.
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
            },
        },
        "spec": pod,
    }
    body: Json = {
        "selector": {"matchLabels": selector_labels(owner, role, pool)},
        # No old pod goes before a new one is ready.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": PROGRESS_DEADLINE_S,
        "template": template,
    }
    if replicas is not None:
        body["replicas"] = replicas
    found = manifest("apps/v1", "Deployment", name, owner, labels(owner, role, pool), spec=body)
    found["metadata"]["annotations"][names.TEMPLATE_ANNOTATION] = digest(template)
    return found
