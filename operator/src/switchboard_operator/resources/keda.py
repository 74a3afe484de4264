"""KEDA's objects: scale a pool on the runnable work that the api counts."""

from switchboard_operator import names
from switchboard_operator.resources.base import Manifest, Owner, labels, manifest
from switchboard_operator.resources.service import api_url
from switchboard_operator.spec import Autoscaling

API_VERSION = "keda.sh/v1alpha1"
POLL_S = 15


def backlog_path(pool: str, queues: tuple[str, ...]) -> str:
    """Where the api tells the runnable work of a pool."""
    return f"/internal/autoscaling/{pool}?queues={','.join(queues)}"


def trigger_authentication(owner: Owner) -> Manifest:
    """Lets KEDA show the internal token to the api."""
    body = {
        "secretTargetRef": [
            {"parameter": "token", "name": names.internal_secret_name(owner.name), "key": names.TOKEN_KEY},
        ]
    }
    return manifest(API_VERSION, "TriggerAuthentication", owner.name, owner, labels(owner), spec=body)


def scaled_object(
    owner: Owner, target: str, role: str, pool: str, queues: tuple[str, ...], scaling: Autoscaling
) -> Manifest:
    """Scales one Deployment.

    Args:
        owner: the Switchboard.
        target: name of the Deployment.
        role: ``worker`` or ``recorder``.
        pool: name of the pool, ``recorder`` for the recorder.
        queues: that it consumes.
        scaling: limits.
    """
    window_s = scaling.scale_down_stabilization_seconds
    trigger = {
        "type": "metrics-api",
        "metadata": {
            "url": f"{api_url(owner)}{backlog_path(pool, queues)}",
            "valueLocation": "runnable",
            "targetValue": str(scaling.jobs_per_replica),
            "authMode": "bearer",
        },
        "authenticationRef": {"name": owner.name},
    }
    body = {
        "scaleTargetRef": {"name": target},
        "minReplicaCount": scaling.min,
        "maxReplicaCount": scaling.max,
        "pollingInterval": POLL_S,
        "cooldownPeriod": window_s,
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": window_s}},
            }
        },
        "triggers": [trigger],
    }
    pool_label = pool if role == "worker" else None
    return manifest(API_VERSION, "ScaledObject", target, owner, labels(owner, role, pool_label), spec=body)
