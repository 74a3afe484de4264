"""Names that people, charts and the operator's own restarts depend on."""

GROUP = "switchboard.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "Switchboard"
PLURAL = "switchboards"

FIELD_MANAGER = "switchboard-operator"
SCALE_MANAGER = "switchboard-operator-scale"
"""Keeps ``spec.replicas`` at its value while an autoscaler takes the field over."""

ROLE_LABEL = f"{GROUP}/role"
POOL_LABEL = f"{GROUP}/pool"
RELEASE_LABEL = f"{GROUP}/release"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "switchboard-operator"

HASH_ANNOTATION = f"{GROUP}/applied-hash"
TEMPLATE_ANNOTATION = f"{GROUP}/template-hash"
CHECKSUM_ANNOTATION = f"{GROUP}/secrets-checksum"
RETRY_ANNOTATION = f"{GROUP}/retry"

RECORDER_POOL = "recorder"

TOKEN_KEY = "token"  # noqa: S105 - the name of a key, not a token
"""Key of the internal token in its Secret."""
CREDENTIALS_KEY = "CREDENTIALS_KEYS"
"""Key of the sealing keys in their Secret, and the variable that it becomes."""

EXIT_PENDING = 3
"""``switchboard migrate --check``: something is to be applied."""
EXIT_INCOMPATIBLE = 4
"""``switchboard migrate``: release and schema do not fit; nothing was touched."""


def api_name(instance: str) -> str:
    """Deployment, Service and PodDisruptionBudget of the api."""
    return f"{instance}-api"


def recorder_name(instance: str) -> str:
    """Deployment of the recorder and what belongs to it."""
    return f"{instance}-recorder"


def worker_name(instance: str, pool: str) -> str:
    """Deployment of a worker pool and what belongs to it."""
    return f"{instance}-worker-{pool}"


def internal_secret_name(instance: str) -> str:
    """Secret with the token between the api and whoever asks it for runnable work."""
    return f"{instance}-internal"


def credentials_secret_name(instance: str) -> str:
    """Secret with the keys that seal what businesses entrust to a Switchboard; it outlives it."""
    return f"{instance}-credentials-keys"


def migrate_job_name(instance: str, transition: int, step: str, run: int) -> str:
    """Job of one run of one step; no two runs ever share a name."""
    return f"{instance}-migrate-{transition}-{step}-{run}"
