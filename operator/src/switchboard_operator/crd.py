"""Generates the CRD from the models: ``python -m switchboard_operator.crd [--check]``.

Kubernetes wants a *structural* schema: no references, no titles, a type everywhere, ``nullable`` nowhere that it is not
needed. Pydantic's schema is turned into one here.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from switchboard_operator import names
from switchboard_operator.schema import Part, cel
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import State

DEFAULT_PATH = (
    Path(__file__).resolve().parents[3]
    / "charts"
    / "switchboard-operator"
    / "files"
    / "crds"
    / "switchboards.switchboard.dev.yaml"
)
MAX_NAME_LENGTH = 30
"""Of a Switchboard: the longest name made of it, a Job's pod, has to stay a valid host name."""

_DROPPED = ("title", "$defs", "const")
_HEADER = "# Generated from the operator's models: change spec.py or state.py, then run `make generated`.\n"

Schema = dict[str, Any]


def _structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Make one pydantic schema structural, with everything below it."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _structural(target | rest, definitions)
    if "anyOf" in schema:
        return _union(schema, definitions)
    found = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "default" in found:
        found["default"] = _without_nulls(found["default"])
        if found["default"] is None:
            del found["default"]
    # OpenAPI 3.0, which CRDs use, writes an open interval as a flag beside the bound.
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if flag in found:
            found[bound], found[flag] = found[flag], True
    if "properties" in found:
        found["properties"] = {name: _structural(each, definitions) for name, each in found["properties"].items()}
    if isinstance(found.get("items"), dict):
        found["items"] = _structural(found["items"], definitions)
    extra = found.get("additionalProperties")
    if isinstance(extra, dict) and extra:
        found["additionalProperties"] = _structural(extra, definitions)
    elif extra is True:
        del found["additionalProperties"]
        found["x-kubernetes-preserve-unknown-fields"] = True
    return found


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return value


def _union(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(choices) == 1:
        return _structural(choices[0] | rest, definitions)
    if {choice.get("type") for choice in choices} == {"integer", "string"}:
        # A bound applies to numbers alone, a pattern to strings alone.
        limits = {key: value for choice in choices for key, value in choice.items() if key != "type"}
        return _structural(rest | limits, definitions) | {"x-kubernetes-int-or-string": True}
    msg = f"a CRD cannot express this choice: {schema}"
    raise ValueError(msg)


def schema_of(model: type[Part]) -> Schema:
    """The structural schema of a model."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _columns() -> list[dict[str, Any]]:
    def condition(kind: str, field: str) -> str:
        return f".status.conditions[?(@.type=='{kind}')].{field}"

    return [
        {"name": "Version", "type": "string", "jsonPath": ".status.version", "description": "The release that runs."},
        {"name": "Ready", "type": "string", "jsonPath": condition("Ready", "status")},
        {"name": "Status", "type": "string", "jsonPath": condition("Ready", "reason")},
        {"name": "Migrated", "type": "string", "jsonPath": condition("DatabaseMigrated", "status")},
        {"name": "Api", "type": "integer", "jsonPath": ".status.roles.api.available"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Message", "type": "string", "jsonPath": condition("Ready", "message"), "priority": 1},
    ]


def build_crd() -> dict[str, Any]:
    """The whole CustomResourceDefinition."""
    root = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema_of(SwitchboardSpec),
            "status": schema_of(State),
        },
        "x-kubernetes-validations": [
            cel(
                f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
                f"metadata.name must not be longer than {MAX_NAME_LENGTH} characters",
            ),
            cel(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "metadata.name must consist of lower-case letters, digits and hyphens and begin with a letter",
            ),
        ],
    }
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.api.replicas",
                "statusReplicasPath": ".status.roles.api.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _columns(),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": "switchboard",
                "shortNames": ["sb"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes every value out: the reader of a CRD should not have to follow anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base class's signature
        return True


def render() -> str:
    """The CRD as YAML."""
    return _HEADER + yaml.dump(build_crd(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: list[str] | None = None) -> int:
    """Write the CRD, or compare it with what stands there.

    Returns:
        0; 1 when ``--check`` finds a difference.
    """
    parser = argparse.ArgumentParser(prog="python -m switchboard_operator.crd", description="Generate the CRD.")
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when the file is outdated")
    parser.add_argument("--path", type=Path, default=DEFAULT_PATH)
    options = parser.parse_args(arguments)
    wanted = render()
    if options.check:
        found = options.path.read_text("utf-8") if options.path.exists() else ""
        if found != wanted:
            sys.stderr.write(f"{options.path.name} is outdated: run `python -m switchboard_operator.crd`.\n")
            return 1
        return 0
    options.path.parent.mkdir(parents=True, exist_ok=True)
    options.path.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
