"""What the pods of all roles have in common: Pod Security *restricted*, environment, probes, placement."""

from typing import Any

from switchboard_operator import names
from switchboard_operator.resources.base import ENV_FROM_SECRETS, Owner, Release, selector_labels
from switchboard_operator.schema import SecretKeyRef
from switchboard_operator.spec import Placement, Resources, SwitchboardSpec

API_PORT = 8000
METRICS_PORT = 9100
RECORDINGS_PATH = "/var/lib/switchboard/recordings"

DRAIN_S = 10
"""A worker ends its slice, and the api its requests, in less than this after SIGTERM."""
PRE_STOP_S = 5
"""The api goes on serving for so long after it left the Service, until every proxy knows."""
MARGIN_S = 5

_FS_GROUP = 10001

Json = dict[str, Any]


def secret_env(name: str, ref: SecretKeyRef) -> Json:
    """A variable from one key of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}


def role_env() -> Json:
    """``SERVICE_ROLE``: the label decides what a pod is."""
    path = f"metadata.labels['{names.ROLE_LABEL}']"
    return {"name": "SERVICE_ROLE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def recordings_url(spec: SwitchboardSpec) -> str:
    """Where recordings are kept, as the services want it."""
    return spec.storage.url or f"file://{RECORDINGS_PATH}"


def service_env(release: Release, extra: list[Json]) -> list[Json]:
    """Environment of api, workers and recorder; the owner's database URL is never in it."""
    spec = release.spec
    carrier = spec.carrier
    account = carrier.secret_ref.name
    env = [
        role_env(),
        secret_env("DATABASE_URL", spec.database.secret_ref),
        secret_env("REDIS_URL", spec.redis.secret_ref),
        secret_env("TWILIO_ACCOUNT_SID", SecretKeyRef(name=account, key=carrier.account_sid_key)),
        secret_env("TWILIO_AUTH_TOKEN", SecretKeyRef(name=account, key=carrier.auth_token_key)),
        {"name": "CARRIER_CALLS_PER_SECOND", "value": f"{carrier.calls_per_second:g}"},
        {"name": "PUBLIC_URL", "value": spec.api.public_url},
        {"name": "RECORDINGS_URL", "value": recordings_url(spec)},
        {"name": "LOG_LEVEL", "value": spec.logging.level},
        {"name": "LOG_FORMAT", "value": spec.logging.format},
        {"name": "SWITCHBOARD_HOST", "value": "0.0.0.0"},  # noqa: S104 - inside its own pod
    ]
    if carrier.base_url:
        env.append({"name": "TWILIO_BASE_URL", "value": carrier.base_url})
    if carrier.media_hosts:
        env.append({"name": "TWILIO_MEDIA_HOSTS", "value": ",".join(carrier.media_hosts)})
    if spec.storage.endpoint_url:
        env.append({"name": "S3_ENDPOINT_URL", "value": spec.storage.endpoint_url})
    # A variable of the user replaces one of ours: two of the same name would be refused by server-side apply.
    own = [{"name": each.name, "value": each.value} for each in spec.env]
    replaced = {each["name"] for each in own}
    return [each for each in env + extra if each["name"] not in replaced] + own


def add_env_from(main: Json, release: Release, role: str) -> None:
    """Add the Secrets whose keys become variables; of two with the same key the later one decides.

    So a user's own Secret goes before the keys that the operator has made.
    """
    if release.revision < ENV_FROM_SECRETS:
        return
    spec = release.spec
    refs = [*spec.env_from_secrets, *([spec.storage.secret_ref] if spec.storage.secret_ref else [])]
    found = [ref.name for ref in refs]
    if role == "recorder":
        # It opens nothing that was entrusted, so it does not get the keys from a Secret of the user either.
        main["env"].append({"name": names.CREDENTIALS_KEY, "value": ""})
    else:
        found.insert(0, names.credentials_secret_name(release.owner.name))
    if found:
        main["envFrom"] = [{"secretRef": {"name": name}} for name in found]


def resources(found: Resources) -> Json:
    """Requests and limits, as the API wants them."""
    return {key: value for key, value in found.dump().items() if value}


def probe(path: str, port: str, *, period_s: int, failures: int, timeout_s: int = 3) -> Json:
    """An HTTP probe."""
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def container(name: str, image: str, release: Release, env: list[Json], limits: Resources) -> Json:
    """A container that may do nothing but its work."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": release.spec.images.pull_policy,
        "env": env,
        "resources": resources(limits),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # A failed container's last lines are kept in the pod's status: nobody needs the right to read logs.
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the path inside the pod
    }


def pod_spec(release: Release, main: Json, *, grace_s: int) -> Json:
    """A pod around one container."""
    spec: Json = {
        "serviceAccountName": release.owner.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_s,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [main],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if release.spec.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": ref.name} for ref in release.spec.images.pull_secrets]
    return spec


def place(spec: Json, placement: Placement, owner: Owner, role: str, pool: str | None) -> None:
    """Add where the pods may run; spread over nodes and zones, as far as there are any."""
    if placement.node_selector:
        spec["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        spec["tolerations"] = [each.dump() for each in placement.tolerations]
    if placement.priority_class_name:
        spec["priorityClassName"] = placement.priority_class_name
    spec["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector_labels(owner, role, pool)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def keep_together(spec: Json, owner: Owner) -> None:
    """Let api and recorder go to one node instead of spreading: they mount a volume that no second node can.

    Preferred, not required: a pod that waits for its only possible node would block that node's drain.
    """
    del spec["topologySpreadConstraints"]
    roles = {"key": names.ROLE_LABEL, "operator": "In", "values": ["api", "recorder"]}
    selector = {"matchLabels": {names.INSTANCE_LABEL: owner.name}, "matchExpressions": [roles]}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    spec["affinity"] = {
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    }


def mount_recordings(spec: Json, claim: str, *, read_only: bool) -> None:
    """Add the recordings volume to a pod."""
    mount: Json = {"name": "recordings", "mountPath": RECORDINGS_PATH}
    if read_only:
        mount["readOnly"] = True
    spec["containers"][0]["volumeMounts"].append(mount)
    spec["volumes"].append({"name": "recordings", "persistentVolumeClaim": {"claimName": claim}})
    spec["securityContext"] |= {"fsGroup": _FS_GROUP, "fsGroupChangePolicy": "OnRootMismatch"}
