"""An API server's REST surface in memory: enough to run the operator's I/O without a cluster."""

import copy
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

from switchboard_operator.api import APPLY, JSON_PATCH, MERGE_PATCH, Verb
from switchboard_operator.kinds import SCALED_OBJECT, SWITCHBOARD

_PATH = re.compile(
    r"/(?:api|apis/[^/]+)/[^/]+/namespaces/(?P<ns>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/status)?$"
)

Answer = tuple[int, bytes]


class FakeApi:
    """Objects by namespace, plural and name; ``requests`` are all that were made."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.requests: list[tuple[Verb, str]] = []
        self.refused: dict[str, tuple[int, str]] = {}
        self.served = {f"/apis/{SWITCHBOARD.api_version}": SWITCHBOARD.plural}
        self.forbidden: set[str] = set()
        self.look: Callable[[str, str], None] = lambda _verb, _path: None
        self._versions = itertools.count(1)

    async def __call__(
        self, verb: Verb, path: str, query: dict[str, str], body: object, content_type: str, timeout_s: float
    ) -> Answer:
        """Serve one request."""
        assert timeout_s > 0
        self.requests.append((verb, path))
        self.look(verb, path)
        match = _PATH.match(path)
        if match is None:
            plural = self.served.get(path)
            return _answer(200, {"resources": [{"name": plural}]}) if plural else _answer(404, {"message": "not found"})
        namespace, plural, name = match["ns"], match["plural"], match["name"]
        if namespace in self.forbidden:
            return _answer(403, {"message": "forbidden"})
        if verb != "GET" and plural in self.refused:
            status, words = self.refused[plural]
            return _answer(status, {"message": words})
        payload = copy.deepcopy(body)
        if verb == "GET":
            return self._get(namespace, plural, name, query)
        if verb == "POST":
            assert isinstance(payload, dict)
            return self._post(namespace, plural, payload)
        if verb == "DELETE":
            return self._delete(namespace, plural, str(name), payload)
        return self._change((namespace, plural, str(name)), verb, payload, content_type)

    def install_keda(self) -> None:
        """Serve KEDA's kinds."""
        self.served[f"/apis/{SCALED_OBJECT.api_version}"] = SCALED_OBJECT.plural

    def writes(self) -> list[tuple[Verb, str]]:
        """Requests that were no reads."""
        return [request for request in self.requests if request[0] != "GET"]

    def put(self, plural: str, found: dict[str, Any], namespace: str = "calls") -> dict[str, Any]:
        """Store an object."""
        stored = copy.deepcopy(found)
        metadata = stored.setdefault("metadata", {})
        metadata |= {"namespace": namespace, "resourceVersion": str(next(self._versions))}
        metadata.setdefault("uid", f"uid-{plural}-{metadata['name']}")
        metadata.setdefault("generation", 1)
        self.objects[namespace, plural, metadata["name"]] = stored
        return stored

    def _get(self, namespace: str, plural: str, name: str | None, query: dict[str, str]) -> Answer:
        if name is None:
            wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            items = [
                each
                for key, each in self.objects.items()
                if key[:2] == (namespace, plural) and wanted.items() <= each["metadata"].get("labels", {}).items()
            ]
            return _answer(200, {"items": items})
        found = self.objects.get((namespace, plural, name))
        return _answer(200, found) if found else _answer(404, {"message": f"{name} not found"})

    def _post(self, namespace: str, plural: str, payload: dict[str, Any]) -> Answer:
        if (namespace, plural, payload["metadata"]["name"]) in self.objects:
            return _answer(409, {"message": "already exists"})
        return _answer(201, self.put(plural, payload, namespace))

    def _delete(self, namespace: str, plural: str, name: str, payload: Any) -> Answer:
        found = self.objects.get((namespace, plural, name))
        if found is None:
            return _answer(404, {"message": "not found"})
        if payload["preconditions"]["uid"] != found["metadata"]["uid"]:
            return _answer(409, {"message": "uid differs"})
        del self.objects[namespace, plural, name]
        return _answer(200, {})

    def _change(self, key: tuple[str, str, str], verb: Verb, payload: Any, content_type: str) -> Answer:
        old = self.objects.get(key)
        if content_type == APPLY:
            merged = _merged(old or {}, payload)
            return _answer(200, self.put(key[1], merged, key[0]))
        if old is None:
            return _answer(404, {"message": "not found"})
        if content_type == MERGE_PATCH:
            return _answer(200, self.put(key[1], _merged(old, payload), key[0]))
        changed = _patched(old, payload) if content_type == JSON_PATCH else payload
        if changed["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            return _answer(409, {"message": "the object has been modified"})
        assert verb in {"PATCH", "PUT"}
        return _answer(200, self.put(key[1], changed, key[0]))


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    found = dict(old)
    for key, value in new.items():
        found[key] = _merged(found.get(key, {}), value) if isinstance(value, dict) else value
    return found


def _patched(old: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    found = copy.deepcopy(old)
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = found
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = operation["value"]
    return found


def _answer(status: int, body: object) -> Answer:
    return status, json.dumps(body).encode()
