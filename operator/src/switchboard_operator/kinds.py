"""The kinds of objects that the operator reads and writes, and their paths at the API server."""

from dataclasses import dataclass

from switchboard_operator import names
from switchboard_operator.resources import keda
from switchboard_operator.resources.base import Manifest

ObjectKey = tuple[str, str]
"""Kind and name of an object in the namespace of its Switchboard."""


@dataclass(frozen=True)
class Kind:
    """A namespaced kind."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version inside the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str, name: str | None = None, subresource: str | None = None) -> str:
        """Path of a collection, an object or one of its subresources."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = [root, "namespaces", namespace, self.plural, *filter(None, (name, subresource))]
        return "/".join(parts)


SWITCHBOARD = Kind(names.API_VERSION, names.KIND, names.PLURAL)
SECRET = Kind("v1", "Secret", "secrets")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
JOB = Kind("batch/v1", "Job", "jobs")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
SCALED_OBJECT = Kind(keda.API_VERSION, "ScaledObject", "scaledobjects")
TRIGGER_AUTHENTICATION = Kind(keda.API_VERSION, "TriggerAuthentication", "triggerauthentications")

OWNED = (
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("v1", "Service", "services"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    DEPLOYMENT,
    JOB,
)
"""Made in every cluster."""

OWNED_WITH_KEDA = (SCALED_OBJECT, TRIGGER_AUTHENTICATION)
"""Made only where KEDA is installed."""

_BY_NAME = {kind.kind: kind for kind in (*OWNED, *OWNED_WITH_KEDA, SECRET, POD, SWITCHBOARD)}


def kind_of(name: str) -> Kind:
    """The kind with this name."""
    return _BY_NAME[name]


def key_of(manifest: Manifest) -> ObjectKey:
    """Kind and name of an object."""
    return manifest["kind"], manifest["metadata"]["name"]
