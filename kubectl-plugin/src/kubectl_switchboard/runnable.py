"""Asks an api pod for the work that could run now, through a port-forward.

The API server's proxy would be simpler, but it takes the ``Authorization`` header for its own and drops it.
"""

import http.client
import json
import re
from typing import Any

from kubernetes.client import CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from kubectl_switchboard import names
from kubectl_switchboard.cluster import Cluster
from kubectl_switchboard.errors import ClusterError, ForbiddenError
from kubectl_switchboard.resource import Resource

_TIMEOUT_S = 5.0
_OK = 200
_FORBIDDEN = 403
_HANDSHAKE = re.compile(r"Handshake status (\d{3})")
_MESSAGE = re.compile(r'"message":"((?:[^"\\]|\\.)*)"')


def ask(cluster: Cluster, resource: Resource, pod: str, token: str) -> dict[str, int]:
    """Runnable work per pool (``recorder`` for the recorder).

    Args:
        cluster: where the pod runs.
        resource: the Switchboard.
        pod: one of its api pods.
        token: the internal token.

    Raises:
        ClusterError: the pod cannot be reached, or does not answer.
    """
    core = CoreV1Api(cluster.connection.client)
    try:
        tunnel = portforward(
            core.connect_get_namespaced_pod_portforward, pod, resource.namespace, ports=str(names.API_PORT)
        )
    except ApiException as error:
        raise _refusal(error) from error
    socket = tunnel.socket(names.API_PORT)
    try:
        socket.settimeout(_TIMEOUT_S)
        connection = http.client.HTTPConnection(pod, timeout=_TIMEOUT_S)
        connection.sock = socket
        return _ask_each(connection, resource, token)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        msg = f"the api pod {pod} does not say how much work could run ({type(error).__name__})."
        raise ClusterError(msg) from error
    finally:
        tunnel.close()


def _ask_each(connection: http.client.HTTPConnection, resource: Resource, token: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for pool in resource.pools:
        if not pool.queues:
            continue
        name = names.RECORDER_POOL if pool.role == "recorder" else pool.name
        connection.request("GET", names.backlog_path(name, pool.queues), headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body: Any = json.loads(answer.read())
        if answer.status != _OK:
            msg = f"the api refused to say how much work could run (HTTP {answer.status})."
            raise ClusterError(msg)
        found[name] = int(body["runnable"])
    return found


def _refusal(error: ApiException) -> ClusterError:
    # The client puts the whole HTTP answer of a failed handshake into one line.
    reason = str(error.reason)
    status, message = _HANDSHAKE.search(reason), _MESSAGE.search(reason)
    if status and int(status[1]) == _FORBIDDEN:
        return ForbiddenError("You may not forward a port to pods.", _FORBIDDEN)
    words = json.loads(f'"{message[1]}"') if message else reason.partition(" -+-+- ")[0]
    return ClusterError(f"no port can be forwarded to an api pod: {words}")
