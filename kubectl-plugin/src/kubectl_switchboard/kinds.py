"""The kinds of objects that the plugin reads, and their paths at the API server."""

from dataclasses import dataclass
from typing import Any

from kubectl_switchboard import names

Json = dict[str, Any]
"""An object as the API server sends it."""


@dataclass(frozen=True)
class Kind:
    """A kind of object."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """As RBAC and error messages name it: ``deployments.apps``."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of a collection, an object or one of its subresources; of all namespaces when that is None."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        where = ["namespaces", namespace] if namespace and self.namespaced else []
        return "/".join([root, *where, self.plural, *filter(None, (name, subresource))])


SWITCHBOARD = Kind(names.API_VERSION, names.KIND, names.PLURAL)
POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
EVENT = Kind("v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
JOB = Kind("batch/v1", "Job", "jobs")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)

OWNED = (
    DEPLOYMENT,
    REPLICA_SET,
    JOB,
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    POD,
)
"""What belongs to a Switchboard in every cluster, directly or not."""

OWNED_WITH_KEDA = (
    Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    Kind("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications"),
)
"""What belongs to it where KEDA is installed."""
