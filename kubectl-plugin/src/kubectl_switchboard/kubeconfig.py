"""Finds cluster, user and namespace as kubectl does: flags, then ``KUBECONFIG``, then ``~/.kube/config``."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernetes import config
from kubernetes.client import ApiClient, Configuration

from kubectl_switchboard.errors import PluginError

_SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Connection:
    """Where requests go.

    Attributes:
        client: of the ``kubernetes`` package, which has the credentials.
        namespace: that is meant when none is named.
        context: name of the kubeconfig's context; empty inside a pod.
    """

    client: ApiClient
    namespace: str
    context: str


def connect(kubeconfig: Path | None = None, context: str | None = None) -> Connection:
    """Read the configuration; nothing is sent yet.

    Args:
        kubeconfig: a file; None for the usual places.
        context: of that file; None for its current one.

    Raises:
        PluginError: there is none, or it cannot be used.
    """
    configuration = Configuration()
    # One clear failure at once is worth more to a person than three silent attempts.
    configuration.retries = False
    if kubeconfig is None and "KUBECONFIG" not in os.environ and not _default_file().exists():
        return _inside_a_pod(configuration)
    source = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or str(_default_file())
    if not any(Path(each).expanduser().exists() for each in source.split(os.pathsep) if each):
        msg = f"There is no kubeconfig at {source}: name another file with --kubeconfig, or set KUBECONFIG."
        raise PluginError(msg)
    try:
        with _complaints() as complaints:
            contexts, active = config.list_kube_config_contexts(source)  # type: ignore[no-untyped-call]
            config.load_kube_config(source, context, configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise PluginError(_sentence(str(error), source, context)) from error
    except Exception as error:
        # The loader lets every mistake of a file through as it comes: YAML's errors, KeyError, TypeError.
        msg = f"The kubeconfig {source} cannot be read ({type(error).__name__}): correct it, or name another one."
        raise PluginError(msg) from error
    if complaints:
        msg = f"The credentials of context {context or active['name']} cannot be had: {'; '.join(complaints)}"
        raise PluginError(msg)
    chosen = next((each for each in contexts if each["name"] == context), active)
    return Connection(ApiClient(configuration), chosen["context"].get("namespace") or "default", chosen["name"])


def _default_file() -> Path:
    return Path("~/.kube/config").expanduser()


def _inside_a_pod(configuration: Configuration) -> Connection:
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        msg = (
            "There is no kubeconfig, and this is no pod: set KUBECONFIG, name a file with --kubeconfig, or write "
            "~/.kube/config."
        )
        raise PluginError(msg) from error
    namespace = "default"
    if _SERVICE_ACCOUNT_NAMESPACE.exists():
        namespace = _SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    return Connection(ApiClient(configuration), namespace, "")


def _sentence(reason: str, source: str, context: str | None) -> str:
    if context and "contexts" in reason:
        return f"The kubeconfig {source} has no context {context}: `kubectl config get-contexts` lists what it has."
    if "current-context" in reason or "contexts" in reason:
        return f"The kubeconfig {source} has no usable current context: name one with --context."
    return f"The kubeconfig {source} cannot be used: {reason}"


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what the loader only logs: it goes on without credentials when a credential plugin fails."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Collector(logging.ERROR)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield found
    finally:
        root.removeHandler(handler)
