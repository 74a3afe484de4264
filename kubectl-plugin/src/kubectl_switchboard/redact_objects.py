"""Takes secrets out of objects: what is known about a field's place decides before any pattern does. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubectl_switchboard.kinds import Json
from kubectl_switchboard.redact import MASK, Redactor, mask_phone, names_a_phone, names_a_secret

HARMLESS_VARIABLES = frozenset(
    {
        "APP_DATABASE_ROLE",
        "CARRIER_CALLS_PER_SECOND",
        "HEALTH_PORT",
        "LEASE_NAME",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "METRICS_PORT",
        "MIGRATION_LOCK_TIMEOUT_SECONDS",
        "MIGRATION_STATEMENT_TIMEOUT_SECONDS",
        "PUBLIC_URL",
        "RECONCILE_WORKERS",
        "RECORDINGS_URL",
        "RQ_QUEUES",
        "S3_ENDPOINT_URL",
        "SERVICE_ROLE",
        "SWITCHBOARD_HOST",
        "SWITCHBOARD_PORT",
        "TWILIO_BASE_URL",
        "TWILIO_MEDIA_HOSTS",
        "WATCH_NAMESPACES",
    }
)
"""Variables whose values help and tell nothing; of every other one only the name is kept."""

_HARMLESS_ANNOTATIONS = (
    "switchboard.dev/",
    "deployment.kubernetes.io/",
    "batch.kubernetes.io/",
    "pod.kubernetes.io/",
    "autoscaling.alpha.kubernetes.io/",
    "cluster-autoscaler.kubernetes.io/",
    "meta.helm.sh/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "kubectl.kubernetes.io/restartedAt",
)
_SHORTEST_SECRET = 8
# Names of objects and fields, not secrets, although they end like one.
_HARMLESS_FIELDS = frozenset({"nextToken", "automountServiceAccountToken"})


def redact_object(found: Json, redactor: Redactor) -> Json:
    """An object as it may leave the cluster."""
    cleaned: Json = _walk(only_keys(found) if found.get("kind") == "Secret" else found, redactor, "")
    return cleaned


def only_keys(secret: Json) -> Json:
    """Of a Secret: that it exists, its type and its keys; neither values nor their lengths."""
    metadata = secret.get("metadata") or {}
    kept = ("name", "namespace", "uid", "creationTimestamp", "ownerReferences")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "type": secret.get("type", "Opaque"),
        "keys": sorted(secret.get("data") or {}),
    }


def redact_log(log: str, redactor: Redactor) -> str:
    """A log; lines of JSON are taken apart, so that no escaping hides a secret."""
    return "".join(f"{_line(line, redactor)}\n" for line in log.splitlines())


def secret_values(objects: Iterable[Json]) -> Iterator[str]:
    """Values that are masked where they stand; they may stand elsewhere too."""
    for found in objects:
        if found.get("kind") != "Secret":
            yield from _secret_values(found, "")


def _secret_values(value: Any, key: str) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        for each in value:
            if key == "env" and isinstance(each, Mapping) and each.get("name") not in HARMLESS_VARIABLES:
                yield from _telling(each.get("value"))
            yield from _secret_values(each, key)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str) and names_a_secret(name) and name not in _HARMLESS_FIELDS:
                yield each
            elif key == "annotations" and not name.startswith(_HARMLESS_ANNOTATIONS):
                yield from _telling(each)
            else:
                yield from _secret_values(each, name)


def _telling(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """A value that may be a secret, unless it is an ordinary word or a whole document."""
    if isinstance(value, str) and len(value) >= _SHORTEST_SECRET and not value.startswith(("{", "[")):
        yield value


def _line(line: str, redactor: Redactor) -> str:
    # The API server writes the time before each line.
    stamp, space, rest = line.partition(" ")
    if rest.startswith("{") and rest.endswith("}"):
        try:
            found = json.loads(rest)
        except ValueError:
            return redactor.text(line)
        return f"{stamp}{space}{json.dumps(_walk(found, redactor, ''), ensure_ascii=False)}"
    return redactor.text(line)


def _walk(value: Any, redactor: Redactor, key: str) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_variable(each, redactor) if key == "env" else _walk(each, redactor, key) for each in value]
    if isinstance(value, dict):
        if key == "annotations":
            return {redactor.text(name): _annotation(name, each, redactor) for name, each in value.items()}
        return {redactor.text(name): _walk(each, redactor, name) for name, each in value.items()}
    if value is None or isinstance(value, bool):
        return value
    return _leaf(value, redactor, key)


def _leaf(value: str | float, redactor: Redactor, key: str) -> str | float:
    """A string or number; a number that is no secret stays a number."""
    text = str(value)
    if text and names_a_secret(key) and key not in _HARMLESS_FIELDS:
        return MASK
    if names_a_phone(key, text):
        return mask_phone(text)
    cleaned = redactor.text(text)
    return value if cleaned == text else cleaned


def _variable(variable: Any, redactor: Redactor) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(variable, Mapping) or "value" not in variable:
        return _walk(variable, redactor, "")
    name = str(variable.get("name", ""))
    # That one is empty is worth to know, and no secret.
    shown = name in HARMLESS_VARIABLES or variable["value"] == ""
    value = redactor.text(str(variable["value"])) if shown else MASK
    return {**{key: _walk(each, redactor, "") for key, each in variable.items()}, "value": value}


def _annotation(name: str, value: Any, redactor: Redactor) -> str:  # noqa: ANN401 - any JSON value
    return redactor.text(str(value)) if name.startswith(_HARMLESS_ANNOTATIONS) else MASK
