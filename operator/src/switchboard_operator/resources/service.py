"""The Service in front of the api."""

from switchboard_operator import names
from switchboard_operator.resources.base import Manifest, Owner, labels, manifest, selector_labels

PORT = 80


def api_service(owner: Owner) -> Manifest:
    """The Service; only ready pods are behind it."""
    body = {
        "type": "ClusterIP",
        "selector": selector_labels(owner, "api"),
        "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
    }
    return manifest("v1", "Service", names.api_name(owner.name), owner, labels(owner, "api"), spec=body)


def api_url(owner: Owner) -> str:
    """How the api is reached inside the cluster."""
    return f"http://{names.api_name(owner.name)}.{owner.namespace}.svc:{PORT}"
