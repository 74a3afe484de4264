"""A valid Switchboard, its Secrets, and how to look into what was rendered from it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from switchboard_operator.resources.base import Manifest, Owner
from switchboard_operator.spec import SwitchboardSpec

OWNER = Owner(name="main", namespace="calls", uid="uid-main")
START = datetime(2026, 1, 26, 11, 0, tzinfo=UTC)


def spec_dict(version: str = "1.0.0", **changes: Any) -> dict[str, Any]:
    """A valid spec; ``changes`` replace whole fields."""
    found: dict[str, Any] = {
        "version": version,
        "database": {
            "secretRef": {"name": "switchboard-db", "key": "url"},
            "migrationSecretRef": {"name": "switchboard-db", "key": "ownerUrl"},
        },
        "redis": {"secretRef": {"name": "switchboard-redis", "key": "url"}},
        "carrier": {"secretRef": {"name": "twilio"}},
        "storage": {"url": "s3://recordings"},
        "api": {"replicas": 2, "publicUrl": "https://calls.example.com"},
        "workers": [
            {"name": "calls", "queues": ["high", "default"], "replicas": 2},
            {"name": "bulk", "queues": ["low", "receipts", "receipts_sync", "maintenance", "broadcasts"]},
        ],
        "recorder": {},
    }
    return found | changes


def make_spec(version: str = "1.0.0", **changes: Any) -> SwitchboardSpec:
    """The same as a model."""
    return SwitchboardSpec.model_validate(spec_dict(version, **changes))


def make_secrets() -> dict[str, dict[str, str] | None]:
    """The Secrets that ``spec_dict`` names, and those that the operator makes."""
    return {
        "switchboard-db": {"url": "YXBw", "ownerUrl": "b3duZXI="},
        "switchboard-redis": {"url": "cmVkaXM="},
        "twilio": {"accountSid": "QUM=", "authToken": "dG9rZW4="},
        "main-internal": {"token": "cmFuZG9t"},
        "main-credentials-keys": {"CREDENTIALS_KEYS": "a2V5"},
    }


def containers(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Containers of a Deployment or Job."""
    yield from manifest["spec"]["template"]["spec"]["containers"]


def environment(manifest: Manifest) -> dict[str, Any]:
    """Variables of the first container."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in next(containers(manifest))["env"]}
