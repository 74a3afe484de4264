"""The API server, spoken to in plain JSON: no generated model may drop a field that it does not know."""

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTResponse

from kubectl_switchboard import names
from kubectl_switchboard.errors import ClusterError, ForbiddenError, NotFoundError
from kubectl_switchboard.kinds import SWITCHBOARD, Json, Kind
from kubectl_switchboard.kubeconfig import Connection

_TIMEOUT_S = 10.0
_WATCH_S = 15.0
_PAGE = 500
_MERGE_PATCH = "application/merge-patch+json"

INSTALL_HINT = "Install the operator's chart first: it brings the resource type along."


class Cluster:
    """Typed verbs over the client of the ``kubernetes`` package: credentials, their renewal and TLS are its business.

    Args:
        connection: where requests go.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.namespace = connection.namespace

    def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """One object.

        Raises:
            NotFoundError: it is not there, or its kind is not.
            ForbiddenError: the user may not read it.
            ClusterError: anything else.
        """
        return self._json("GET", kind.path(namespace, name), kind=kind)

    def list(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Json]:
        """All objects that match; their kind is filled in, which the API server leaves out of lists.

        Raises:
            ClusterError: as ``get``.
        """
        query = {"limit": str(_PAGE), "labelSelector": labels, "fieldSelector": fields}
        found: list[Json] = []
        while True:
            page = self._json("GET", kind.path(namespace), {key: each for key, each in query.items() if each}, kind)
            found += ({"apiVersion": kind.api_version, "kind": kind.kind} | item for item in page.get("items") or [])
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return found

    def merge(self, kind: Kind, namespace: str, name: str, change: Json) -> Json:
        """Change an object by a merge patch; returns it as it is then."""
        query = {"fieldManager": names.FIELD_MANAGER}
        return self._json("PATCH", kind.path(namespace, name), query, kind, change)

    def follow(self, kind: Kind, namespace: str, name: str, timeout_s: float) -> Iterator[Json | None]:
        """The object now and after each change, until ``timeout_s`` is over; None once it is deleted.

        Raises:
            ClusterError: it cannot be read. An API server that is away for a moment is waited for.
        """
        deadline = time.monotonic() + timeout_s
        fields = f"metadata.name={name}"
        while time.monotonic() < deadline:
            try:
                listed = self._json("GET", kind.path(namespace), {"fieldSelector": fields}, kind)
                yield listed["items"][0] if listed["items"] else None
                version = listed["metadata"]["resourceVersion"]
                yield from self._watch(kind, namespace, fields, version, deadline - time.monotonic())
            except ClusterError as error:
                if error.status != 0:
                    raise
                time.sleep(1.0)

    def _watch(self, kind: Kind, namespace: str, fields: str, version: str, left_s: float) -> Iterator[Json | None]:
        seconds = max(1, int(min(_WATCH_S, left_s)))
        query = {"watch": "1", "fieldSelector": fields, "resourceVersion": version, "timeoutSeconds": str(seconds)}
        answer = self._send("GET", kind.path(namespace), query, timeout_s=seconds + _TIMEOUT_S)
        try:
            for line in _lines(answer):
                change = json.loads(line)
                if change["type"] == "ERROR":
                    return
                yield None if change["type"] == "DELETED" else change["object"]
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(self._away(error)) from error
        finally:
            answer.response.close()

    def log(self, namespace: str, pod: str, container: str, *, lines: int, previous: bool = False) -> str:
        """Last lines of a container's log; of the container before when ``previous``."""
        query = {"container": container, "tailLines": str(lines), "timestamps": "true"}
        if previous:
            query["previous"] = "true"
        return self._body("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query).decode(errors="replace")

    def version(self) -> Json:
        """What the API server says about itself."""
        return self._json("GET", "/version")

    def _json(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None = None,
        kind: Kind | None = None,
        change: object = None,
    ) -> Json:
        body = self._body(verb, path, query, kind, change)
        try:
            found: Json = json.loads(body)
        except ValueError as error:
            msg = f"{self._host()} answers, but not as a Kubernetes API server: look at the server of your kubeconfig."
            raise ClusterError(msg) from error
        return found

    def _body(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None = None,
        kind: Kind | None = None,
        change: object = None,
    ) -> bytes:
        answer = self._send(verb, path, query or {}, change)
        try:
            body: bytes = answer.read()  # type: ignore[no-untyped-call]
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(self._away(error)) from error
        if answer.status >= 400:
            raise self._refusal(answer.status, body, kind)
        return body

    def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        change: object = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> RESTResponse:
        headers = {"Accept": "application/json, */*"}
        if change is not None:
            headers["Content-Type"] = _MERGE_PATCH
        client = self.connection.client
        method, url, headers, body, _ = client.param_serialize(
            verb,
            quote(path, safe="/:"),
            query_params=list(query.items()),
            header_params=headers,
            body=change,
            auth_settings=["BearerToken"],
        )
        try:
            return client.call_api(method, url, headers, body, _request_timeout=timeout_s)
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise ClusterError(self._away(error)) from error

    def _host(self) -> str:
        return str(self.connection.client.configuration.host)

    def _away(self, error: Exception) -> str:
        context = f" of context {self.connection.context}" if self.connection.context else ""
        if "SSL" in str(error) or isinstance(error, ssl.SSLError):
            return (
                f"The certificate of the API server {self._host()} is not accepted: the kubeconfig{context} may be "
                "outdated, or somebody stands in between."
            )
        return (
            f"The API server {self._host()}{context} does not answer: look at your network (VPN?) and at the context "
            "(`kubectl config current-context`)."
        )

    def _refusal(self, status: int, body: bytes, kind: Kind | None) -> ClusterError:
        try:
            answer = json.loads(body)
            words, details = str(answer.get("message", "")), answer.get("details") or {}
        except (ValueError, AttributeError):
            words, details = body.decode(errors="replace")[:200].strip(), {}
        if status == 401:
            return ClusterError("The API server does not accept your credentials: log in to the cluster again.", status)
        if status == 403:
            return ForbiddenError(f"You may not do that: {words}", status)
        if status == 404 and kind == SWITCHBOARD and not details.get("name"):
            msg = f"This cluster has no resource type {SWITCHBOARD.resource}. {INSTALL_HINT}"
            return NotFoundError(msg, status)
        if status == 404:
            return NotFoundError(words or "not found", status)
        return ClusterError(f"The API server refused it (HTTP {status}): {words}", status)


def _lines(answer: RESTResponse) -> Iterator[bytes]:
    """The lines of an answer as they arrive."""
    rest = b""
    for chunk in answer.response.stream(None):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
