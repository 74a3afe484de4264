"""A small synchronous client of the API server for the tests: plain JSON, and waiting by watches."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from switchboard_operator.kinds import (
    DEPLOYMENT,
    EVENT,
    JOB,
    LEASE,
    OWNED,
    OWNED_WITH_KEDA,
    POD,
    SECRET,
    SWITCHBOARD,
    Kind,
)

Object = dict[str, Any]

REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
KINDS = {
    kind.kind: kind
    for kind in (*OWNED, *OWNED_WITH_KEDA, SECRET, POD, EVENT, LEASE, DEPLOYMENT, JOB, SWITCHBOARD, REPLICA_SET)
}


class ApiRefusedError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Client:
    """Verbs on objects.

    Args:
        url: of the API server.
        token: bearer token.
        authority: certificate to trust.
    """

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=str(authority)),
            timeout=30.0,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """The API server serves."""
        return self._http.get("/readyz").is_success

    def request(
        self,
        verb: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """One request.

        Raises:
            ApiRefusedError: the API server refused it.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": accept}
        answer = self._http.request(verb, path, content=content, headers=headers)
        found: Object = answer.json()
        if answer.is_error:
            raise ApiRefusedError(answer.status_code, str(found.get("message")))
        return found

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """One object, which must be there."""
        return self.request("GET", KINDS[kind].path(namespace, name))

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object; None when there is none."""
        try:
            return self.get(kind, namespace, name)
        except ApiRefusedError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str) -> list[Object]:
        """All objects of a kind in a namespace."""
        found: list[Object] = self.request("GET", KINDS[kind].path(namespace))["items"]
        return found

    def create(self, found: Object, namespace: str | None = None) -> Object:
        """Make an object."""
        kind = KINDS[found["kind"]]
        return self.request("POST", kind.path(namespace or found["metadata"]["namespace"]), found)

    def patch(self, kind: str, namespace: str, name: str, change: object, *, subresource: str | None = None) -> Object:
        """Change an object by a merge patch, or by a JSON patch where ``change`` is a list."""
        form = "application/json-patch+json" if isinstance(change, list) else "application/merge-patch+json"
        return self.request("PATCH", KINDS[kind].path(namespace, name, subresource), change, form)

    def delete(self, kind: str, namespace: str, name: str, **options: object) -> None:
        """Delete an object."""
        self.request("DELETE", KINDS[kind].path(namespace, name), options or None)

    def make_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """Make a namespace."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        self.request("POST", "/api/v1/namespaces", body)

    def await_namespace_gone(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until a namespace that was deleted does not exist any more."""
        path, selector = "/api/v1/namespaces", f"metadata.name={name}"
        listed = self.request("GET", f"{path}?fieldSelector={selector}")
        if not listed["items"]:
            return
        for change, _ in self.watch(path, listed["metadata"]["resourceVersion"], timeout_s, selector):
            if change == "DELETED":
                return
        msg = f"waited {timeout_s:g} s in vain for namespace {name} to be gone"
        raise AssertionError(msg)

    def install_crd(self, crd: Object) -> None:
        """Make a custom resource definition and wait until its kind is served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        name = crd["metadata"]["name"]
        self.request("POST", path, crd)
        listed = self.request("GET", f"{path}?fieldSelector=metadata.name={name}")
        if _is_established(listed["items"][0]):
            return
        for _, found in self.watch(path, listed["metadata"]["resourceVersion"], 30, f"metadata.name={name}"):
            if _is_established(found):
                return
        msg = f"the API server does not serve {name}: {listed['items'][0].get('status')}"
        raise AssertionError(msg)

    def remove_crd(self, name: str) -> None:
        """Delete a custom resource definition and wait until its kind is gone."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        listed = self.request("GET", f"{path}?fieldSelector=metadata.name={name}")
        self.request("DELETE", f"{path}/{name}")
        for change, _ in self.watch(path, listed["metadata"]["resourceVersion"], 30, f"metadata.name={name}"):
            if change == "DELETED":
                return
        msg = f"the API server still has {name}"
        raise AssertionError(msg)

    def watch(self, path: str, version: str, timeout_s: float, selector: str = "") -> Iterator[tuple[str, Object]]:
        """Changes since a resourceVersion, until ``timeout_s`` is over."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(max(1, int(timeout_s)))}
        if selector:
            query["fieldSelector"] = selector
        with self._http.stream("GET", path, params=query, timeout=timeout_s + 10) as answer:
            for line in answer.iter_lines():
                change = json.loads(line)
                yield change["type"], change["object"]

    def wait(
        self,
        kind: str,
        namespace: str,
        name: str,
        holds: Callable[[Object | None], bool],
        what: str,
        timeout_s: float = 60.0,
    ) -> Object | None:
        """Wait until something holds for an object, which is None while it does not exist.

        Returns:
            The object for which it held.

        Raises:
            AssertionError: it did not come to hold in time; the message shows the object as it was last seen.
        """
        deadline = time.monotonic() + timeout_s
        path, selector = KINDS[kind].path(namespace), f"metadata.name={name}"
        last: Object | None = None
        while (left_s := deadline - time.monotonic()) > 0:
            listed = self.request("GET", f"{path}?fieldSelector={selector}")
            last = listed["items"][0] if listed["items"] else None
            if holds(last):
                return last
            for change, found in self.watch(path, listed["metadata"]["resourceVersion"], left_s, selector):
                if change == "ERROR":
                    break
                last = None if change == "DELETED" else found
                if holds(last):
                    return last
                if time.monotonic() > deadline:
                    break
        msg = f"waited {timeout_s:g} s in vain for {what}; {kind} {name}: {_shown(last)}"
        raise AssertionError(msg)


def _is_established(crd: Object) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _shown(found: Object | None) -> str:
    if found is None:
        return "does not exist"
    shown = {key: value for key, value in found.items() if key in {"spec", "status"}}
    if found.get("kind") == "Switchboard":
        shown = {"conditions": found.get("status", {}).get("conditions"), "gate": found.get("status", {}).get("gate")}
    return json.dumps(shown, indent=1)[:4000]
