"""The API server, spoken to in plain JSON: no generated model may drop a field that it does not know.

Every request has a time limit below the lease's, and no write starts unless this process may still write.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol
from urllib.parse import quote

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from switchboard_operator.kinds import Kind
from switchboard_operator.metrics import API_REQUESTS, API_SECONDS
from switchboard_operator.resources.base import Manifest

REQUEST_TIMEOUT_S = 4.0

Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409


class ApiError(Exception):
    """The API server refused a request, or could not be reached (status 0).

    Attributes:
        status: of the HTTP answer.
        message: the server's words.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NotLeaderError(Exception):
    """This process may not write any more; nothing was sent."""


class Transport(Protocol):
    """Sends one request and returns status and body."""

    async def __call__(
        self, verb: Verb, path: str, query: dict[str, str], body: object, content_type: str, timeout_s: float
    ) -> tuple[int, bytes]:
        """Send it."""
        ...


def no_guard() -> float:
    """For what may always be written: the Lease itself."""
    return REQUEST_TIMEOUT_S


class Api:
    """Typed verbs over a transport.

    Args:
        transport: sends requests.
        write_window: seconds for which this process may still write; not more than 0 forbids it.
    """

    def __init__(self, transport: Transport, write_window: Callable[[], float] = no_guard) -> None:
        self._transport = transport
        self._write_window = write_window

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object; None when there is none."""
        try:
            return await self._call("GET", kind, kind.path(namespace, name))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(self, kind: Kind, namespace: str, selector: str) -> list[Manifest]:
        """All objects with these labels; their kind is filled in, which the API server leaves out of lists."""
        found = await self._call("GET", kind, kind.path(namespace), {"labelSelector": selector})
        return [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in found.get("items") or []]

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows a kind."""
        try:
            found = await self._call("GET", kind, f"/apis/{kind.api_version}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return any(each.get("name") == kind.plural for each in found.get("resources", []))

    async def may_list(self, kind: Kind, namespace: str) -> bool:
        """Whether this process has the right to read a kind in a namespace."""
        try:
            await self._call("GET", kind, kind.path(namespace), {"limit": "1"})
        except ApiError as error:
            if error.status == FORBIDDEN:
                return False
            raise
        return True

    async def create(self, kind: Kind, namespace: str, body: Manifest) -> Manifest:
        """Make an object."""
        return await self._call("POST", kind, kind.path(namespace), body=body)

    async def replace(self, kind: Kind, namespace: str, name: str, body: Manifest) -> Manifest:
        """Replace an object, at the resourceVersion in ``body``."""
        return await self._call("PUT", kind, kind.path(namespace, name), body=body)

    async def apply(self, kind: Kind, namespace: str, body: Manifest, manager: str) -> Manifest:
        """Server-side apply; fields that somebody else has taken come back."""
        path = kind.path(namespace, body["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", kind, path, query, body, APPLY)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: object, content_type: str, subresource: str | None = None
    ) -> Manifest:
        """Change an object."""
        return await self._call("PATCH", kind, kind.path(namespace, name, subresource), None, body, content_type)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, propagation: str) -> None:
        """Delete exactly the object with this uid; nothing happens when it is gone or another one."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": propagation}
        try:
            await self._call("DELETE", kind, kind.path(namespace, name), body=body)
        except ApiError as error:
            if error.status not in {NOT_FOUND, CONFLICT}:
                raise

    async def _call(
        self,
        verb: Verb,
        kind: Kind,
        path: str,
        query: dict[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Manifest:
        timeout_s = REQUEST_TIMEOUT_S if verb == "GET" else self._may_write()
        started = time.monotonic()
        status = 0
        try:
            status, answer = await self._transport(verb, path, query or {}, body, content_type, timeout_s)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            msg = f"The API server does not answer ({type(error).__name__})."
            raise ApiError(0, msg) from error
        finally:
            API_REQUESTS.labels(verb, kind.kind, status).inc()
            API_SECONDS.labels(verb).observe(time.monotonic() - started)
        found: Manifest = _decoded(answer)
        if status >= 400:
            raise ApiError(status, str(found.get("message") or f"HTTP {status}"))
        return found

    def _may_write(self) -> float:
        window_s = self._write_window()
        if window_s <= 0:
            msg = "The lease is not held: nothing may be written."
            raise NotLeaderError(msg)
        return min(REQUEST_TIMEOUT_S, window_s)


def _decoded(answer: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(answer)
    except ValueError:
        return {"message": answer.decode(errors="replace")[:500]}


class KubernetesTransport:
    """The ``kubernetes`` package's asynchronous client: credentials, their renewal and TLS are its business."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def __call__(
        self, verb: Verb, path: str, query: dict[str, str], body: object, content_type: str, timeout_s: float
    ) -> tuple[int, bytes]:
        """Send one request."""
        headers = {"Accept": "application/json", "Content-Type": content_type}
        method, url, headers, payload, _ = await self._client.param_serialize(
            verb,
            quote(path, safe="/:"),
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(
            method, url, headers, payload, _request_timeout=aiohttp.ClientTimeout(total=timeout_s)
        )
        return answer.status, await answer.read()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]


async def connect() -> KubernetesTransport:
    """Connect with the pod's service account, or with a kubeconfig outside of a cluster."""
    configuration = Configuration()
    # A retry that the client makes by itself could start a write after the lease's deadline.
    configuration.retries = None
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return KubernetesTransport(ApiClient(configuration))
