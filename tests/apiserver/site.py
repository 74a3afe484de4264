"""A namespace with a Switchboard in it, and everything that a test does to it or asks about it."""

import base64
import copy
from collections.abc import Callable
from typing import Any

from apiserver.audit import Audit, Entry
from apiserver.client import Client, Object
from apiserver.kubelet import Kubelet, Script
from switchboard_operator import names
from unit.operator.samples import spec_dict

NAME = "main"
SECRETS = {
    "switchboard-db": {"url": "postgresql://app", "ownerUrl": "postgresql://owner"},
    "switchboard-redis": {"url": "redis://valkey"},
    "twilio": {"accountSid": "AC00000000000000000000000000000000", "authToken": "token"},
}
SERVING = frozenset({"api", "worker", "recorder"})


def small_spec(version: str = "1.0.0", **changes: Any) -> dict[str, Any]:
    """A spec with few pods."""
    small = {
        "api": {"replicas": 1, "publicUrl": "https://calls.example.com"},
        "workers": [
            {
                "name": "calls",
                "queues": ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"],
            }
        ],
        "migrations": {"backoffLimit": 0},
    }
    return spec_dict(version, **small | changes)


class Site:
    """One namespace.

    Args:
        client: of an administrator.
        kubelet: that runs its pods.
        audit: the API server's log.
        namespace: which exists.
    """

    def __init__(self, client: Client, kubelet: Kubelet, audit: Audit, namespace: str) -> None:
        self.client = client
        self.kubelet = kubelet
        self.audit = audit
        self.namespace = namespace

    @property
    def script(self) -> Script:
        """What becomes of its pods."""
        return self.kubelet.script(self.namespace)

    # --- What people do ---------------------------------------------------------------------------------------------

    def add_secrets(self, *, but: str = "") -> None:
        """Make the Secrets that the spec names."""
        for name, values in SECRETS.items():
            if name != but:
                self.add_secret(name, values)

    def add_secret(self, name: str, values: dict[str, str]) -> None:
        """Make a Secret."""
        metadata = {"name": name, "namespace": self.namespace}
        self.client.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})

    def change_secret(self, name: str, key: str, value: str) -> None:
        """Change a key of a Secret."""
        encoded = base64.b64encode(value.encode()).decode()
        self.client.patch("Secret", self.namespace, name, {"data": {key: encoded}})

    def create(self, spec: dict[str, Any], name: str = NAME) -> Object:
        """Make a Switchboard."""
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
        return self.client.create(body)

    def install(self, spec: dict[str, Any] | None = None) -> Object:
        """Make a Switchboard with its Secrets, and wait until it is ready and at rest."""
        self.add_secrets()
        self.create(spec or small_spec())
        return self.await_settled()

    def change(self, **fields: Any) -> Object:
        """Change fields of the spec."""
        return self.client.patch("Switchboard", self.namespace, NAME, {"spec": fields})

    def annotate(self, key: str, value: str) -> None:
        """Annotate the Switchboard."""
        self.client.patch("Switchboard", self.namespace, NAME, {"metadata": {"annotations": {key: value}}})

    # --- What the API server says -----------------------------------------------------------------------------------

    def resource(self) -> Object:
        """The Switchboard."""
        return self.client.get("Switchboard", self.namespace, NAME)

    def status(self) -> Object:
        """Its status."""
        found: Object = self.resource().get("status", {})
        return found

    def condition(self, kind: str) -> Object:
        """One of its conditions."""
        return condition_of(self.resource(), kind)

    def objects(self, kind: str) -> list[Object]:
        """All objects of a kind, by name."""
        return sorted(self.client.list(kind, self.namespace), key=lambda found: str(found["metadata"]["name"]))

    def names(self, kind: str) -> list[str]:
        """Names of all objects of a kind."""
        return [str(found["metadata"]["name"]) for found in self.objects(kind)]

    def pods(self) -> list[Object]:
        """Pods that serve or are about to, those that are ending left out."""
        return [
            pod
            for pod in self.objects("Pod")
            if pod["metadata"]["labels"].get(names.ROLE_LABEL) in SERVING and "deletionTimestamp" not in pod["metadata"]
        ]

    def versions(self) -> set[str]:
        """Versions of these pods."""
        return {pod["metadata"]["labels"]["app.kubernetes.io/version"] for pod in self.pods()}

    def events(self) -> list[Object]:
        """Events about the Switchboard, oldest first."""
        found = [each for each in self.client.list("Event", self.namespace) if each["regarding"]["kind"] == names.KIND]
        return sorted(found, key=lambda event: str(event["eventTime"]))

    def told(self) -> list[str]:
        """Reasons of these Events."""
        return [str(event["reason"]) for event in self.events()]

    def writes(self, mark: int = 0) -> list[Entry]:
        """What operators wrote here."""
        return self.audit.writes(self.namespace, mark, user="operator")

    def lasting(self) -> dict[tuple[str, str], Object]:
        """Everything that is owned, except Jobs, without what the API server adds and what is different every time."""
        found = {}
        for kind in (
            "ServiceAccount",
            "Service",
            "PersistentVolumeClaim",
            "PodDisruptionBudget",
            "NetworkPolicy",
            "Deployment",
        ):
            for each in self.objects(kind):
                if each["metadata"].get("labels", {}).get(names.MANAGED_BY_LABEL) == names.MANAGED_BY:
                    found[kind, str(each["metadata"]["name"])] = bare(each)
        return found

    # --- Waiting ----------------------------------------------------------------------------------------------------

    def await_resource(self, holds: Callable[[Object], bool], what: str, timeout_s: float = 60.0) -> Object:
        """Wait until something holds for the Switchboard."""
        found = self.client.wait(
            "Switchboard", self.namespace, NAME, lambda each: each is not None and holds(each), what, timeout_s
        )
        assert found is not None
        return found

    def await_condition(
        self, kind: str, status: str, reason: str | None = None, *, within_s: float = 60.0, text: str = ""
    ) -> Object:
        """Wait until a condition has a status, a reason, and a text in its message."""

        def holds(found: Object) -> bool:
            condition = condition_of(found, kind)
            return (
                condition.get("status") == status
                and reason in {None, condition["reason"]}
                and text in condition["message"]
            )

        found = self.await_resource(holds, f"{kind}={status} {reason or ''} {text}", within_s)
        return condition_of(found, kind)

    def await_settled(self, version: str | None = None, timeout_s: float = 60.0) -> Object:
        """Wait until the newest spec is rolled out and its contract phase is over."""

        wanted = version or str(self.resource()["spec"]["version"])
        return self.await_resource(lambda found: is_settled(found, wanted), f"{wanted} to be settled", timeout_s)

    def await_object(self, kind: str, name: str, holds: Callable[[Object], bool], what: str, within_s: float) -> Object:
        """Wait until something holds for an object."""
        found = self.client.wait(
            kind, self.namespace, name, lambda each: each is not None and holds(each), what, within_s
        )
        assert found is not None
        return found

    def await_gone(self, kind: str, name: str, within_s: float = 60.0) -> None:
        """Wait until an object does not exist any more."""
        self.client.wait(kind, self.namespace, name, lambda each: each is None, "it to be gone", within_s)


def is_settled(found: Object, version: str) -> bool:
    """The newest spec is noted, its release is rolled out, and the contract phase is over."""
    status = found.get("status", {})
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and condition_of(found, "Ready").get("status") == "True"
        and condition_of(found, "Progressing").get("reason") == "Settled"
        and status.get("applied", {}).get("stage") == "done"
        and status.get("version") == version == found["spec"]["version"]
    )


def condition_of(found: Object, kind: str) -> Object:
    """One condition of a resource; empty when it has none yet."""
    conditions: list[Object] = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def bare(found: Object) -> Object:
    """An object as its maker meant it, so that two of them can be compared."""
    shown = copy.deepcopy(found)
    shown.pop("status", None)
    metadata = shown["metadata"]
    for key in ("uid", "resourceVersion", "generation", "managedFields", "creationTimestamp", "namespace"):
        metadata.pop(key, None)
    metadata.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    for owner in metadata.get("ownerReferences", []):
        owner.pop("uid")
    for key in ("clusterIP", "clusterIPs"):
        shown.get("spec", {}).pop(key, None)
    template = shown.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    # Salted with the uid of the Switchboard.
    for annotations in (metadata.get("annotations", {}), template):
        for key in (names.HASH_ANNOTATION, names.TEMPLATE_ANNOTATION, names.CHECKSUM_ANNOTATION):
            annotations.pop(key, None)
    return shown
