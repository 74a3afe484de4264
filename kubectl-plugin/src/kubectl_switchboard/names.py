"""Names that the operator decides. The plugin imports nothing of it, so a test compares these with the operator's."""

GROUP = "switchboard.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "Switchboard"
PLURAL = "switchboards"

ROLE_LABEL = f"{GROUP}/role"
POOL_LABEL = f"{GROUP}/pool"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "switchboard-operator"
VERSION_LABEL = "app.kubernetes.io/version"

RETRY_ANNOTATION = f"{GROUP}/retry"

RECORDER_POOL = "recorder"
RECORDER_QUEUES = ("recordings",)

API_PORT = 8000
"""Where the api listens in its pod."""
TOKEN_KEY = "token"  # noqa: S105 - the name of a key, not a token
"""Key of the internal token in its Secret."""

OPERATOR_NAME = "switchboard-operator"
"""Label ``app.kubernetes.io/name`` of the operator's own objects, and the usual name of its Lease."""

FIELD_MANAGER = "kubectl-switchboard"
"""Of what this plugin writes."""


def api_name(instance: str) -> str:
    """Deployment and Service of the api."""
    return f"{instance}-api"


def recorder_name(instance: str) -> str:
    """Deployment of the recorder."""
    return f"{instance}-recorder"


def worker_name(instance: str, pool: str) -> str:
    """Deployment of a worker pool."""
    return f"{instance}-worker-{pool}"


def internal_secret_name(instance: str) -> str:
    """Secret with the token between the api and whoever asks it for runnable work."""
    return f"{instance}-internal"


def credentials_secret_name(instance: str) -> str:
    """Secret with the keys that seal what businesses entrust to a Switchboard."""
    return f"{instance}-credentials-keys"


def backlog_path(pool: str, queues: tuple[str, ...]) -> str:
    """Where the api tells the runnable work of a pool."""
    return f"/internal/autoscaling/{pool}?queues={','.join(queues)}"
