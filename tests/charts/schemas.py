"""JSON schemas for kubeconform, made without a network: from the API server's own description and from CRDs.

Kubernetes' description of its API and the CRDs of others come out of their Go modules, at pinned versions; the CRD of
Switchboards comes out of the operator's models.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from charts.values_schema import Schema, strict
from cluster.commands import run
from cluster.hashing import key
from cluster.settings import KUBERNETES, cache_root
from switchboard_operator.crd import build_crd

FILE_NAME = "{{.ResourceKind}}_{{.Group}}_{{.ResourceAPIVersion}}.json"
"""How kubeconform is to find a schema in the folder."""


@dataclass(frozen=True)
class Module:
    """A Go module and the files in it that are read."""

    path: str
    version: str
    files: tuple[str, ...]


API = Module("k8s.io/kubernetes", KUBERNETES, ("api/openapi-spec/swagger.json",))
CRDS = (
    Module(
        "sigs.k8s.io/gateway-api",
        "v1.3.0",
        ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
            for plural in ("podmonitors", "prometheusrules", "servicemonitors")
        ),
    ),
)

DRAFT = "http://json-schema.org/draft-07/schema#"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_REF = "#/definitions/"


def folder() -> Path:
    """The folder with all schemas, which is filled first where it does not exist.

    Raises:
        ClusterError: Go, or a module, cannot be had.
    """
    crd = build_crd()
    place = (
        cache_root()
        / "schemas"
        / key(FILE_NAME, [API.version, *(f"{each.path}@{each.version}" for each in CRDS)], crd, files=[Path(__file__)])
    )
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as making:
            made = Path(making) / "schemas"
            made.mkdir()
            for name, schema in (*_of_api(), *_of_crds(), *of_crd(crd)):
                (made / name).write_text(json.dumps(schema), "utf-8")
            made.rename(place)
    return place


def of_crd(crd: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each version of a CRD."""
    spec = crd["spec"]
    for version in spec["versions"]:
        yield (
            _file_name(spec["names"]["kind"], spec["group"], version["name"]),
            {"$schema": DRAFT, **strict(_root(version))},
        )


def of_definitions(definitions: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each kind in a description of an API (OpenAPI 2)."""
    converted = {name: _strict_definition(name, schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            # Options of requests have a kind in every group, and nobody writes them into a file.
            if len(schema["x-kubernetes-group-version-kind"]) > 1:
                continue
            needed = _closure(name, converted)
            whole = {
                "$schema": DRAFT,
                "$ref": f"{_REF}{name}",
                "definitions": {each: converted[each] for each in sorted(needed)},
            }
            yield _file_name(kind["kind"], kind["group"], kind["version"]), whole


def _root(version: Mapping[str, Any]) -> Schema:
    schema: Schema = version["schema"]["openAPIV3Schema"]
    # The schema of metadata is the API server's own.
    return schema | {"properties": schema["properties"] | {"metadata": {"type": "object"}}}


def _file_name(kind: str, group: str, version: str) -> str:
    # The core group has no name; kubeconform takes its version for one.
    return f"{kind.lower()}_{group or version}_{version}.json"


def _strict_definition(name: str, schema: Schema) -> Schema:
    if name == _INT_OR_STRING:
        return {"type": ["integer", "string"]}
    if name == _QUANTITY:
        return {"type": ["number", "string"]}
    found = {field: value for field, value in schema.items() if not field.startswith("x-")}
    if "properties" in found:
        found["additionalProperties"] = False
    return found


def _closure(name: str, definitions: Mapping[str, Schema]) -> set[str]:
    found: set[str] = set()
    open_names = [name]
    while open_names:
        current = open_names.pop()
        if current not in found:
            found.add(current)
            open_names += _references(definitions[current])
    return found


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for field, value in schema.items():
            if field == "$ref" and isinstance(value, str):
                yield value.removeprefix(_REF)
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def _of_api() -> Iterator[tuple[str, Schema]]:
    for file in _read(API):
        yield from of_definitions(json.loads(file)["definitions"])


def _of_crds() -> Iterator[tuple[str, Schema]]:
    for module in CRDS:
        for file in _read(module):
            yield from of_crd(yaml.safe_load(file))


def _read(module: Module) -> Iterator[str]:
    answer = run(["go", "mod", "download", "-json", f"{module.path}@{module.version}"], cwd=Path("/"))
    place = Path(json.loads(answer)["Dir"])
    for file in module.files:
        yield (place / file).read_text("utf-8")
