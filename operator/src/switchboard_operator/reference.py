"""Generates the reference of the custom resource: ``python -m switchboard_operator.reference [--check]``.

From the same models as the CRD, so the page says what the API server enforces.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from switchboard_operator import crd, names
from switchboard_operator.schema import Part
from switchboard_operator.spec import SwitchboardSpec
from switchboard_operator.state import State

DEFAULT_PATH = Path(__file__).resolve().parents[3] / "docs" / "crd-reference.md"

_HEADER = "<!-- Generated from the operator's models: change spec.py or state.py, then run `make generated`. -->"
_INTRODUCTION = """\
A `{kind}` describes one whole installation. Its API version is `{version}`. It belongs to a namespace, and its
short name is `sb`: `kubectl get sb` lists them. [Installing](kubernetes-install.md) shows how one is made,
[Conditions](conditions.md) says what its status means.

The API server enforces everything in the column *constraints* and every rule below. It refuses what breaks one, with a
message that names the field. Defaults become part of the stored resource. A field with neither a default nor
*required* may be left out. `kubectl explain {kind_lower}.spec --recursive` shows the same in a terminal."""
_SCALE = (
    "`kubectl scale sb/NAME --replicas=3` sets `spec.api.replicas`; pools and the recorder are set in their own fields."
)

Schema = dict[str, Any]


def _cell(text: str) -> str:
    """Text for a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


def _code(value: object) -> str:
    """A value between backticks, as in YAML's short form."""
    text = value if isinstance(value, str) else _flow(value)
    return f"`{text.replace('|', chr(92) + '|')}`" if text else "empty"


def _flow(value: object) -> str:
    """A value as YAML in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=sys.maxsize)
    return text.removesuffix("...\n").strip()


def _range(low: object, high: object, what: str = "") -> str:
    """An interval in words; empty where it is open on both sides."""
    if low is None and high is None:
        return ""
    if low is not None and high is not None:
        words = f"{low}" if low == high else f"{low} to {high}"
    else:
        words = f"at least {low}" if high is None else f"at most {high}"
    return f"{words} {what.removesuffix('s') if words == '1' else what}".strip()


def _plain(schema: Schema) -> Schema:
    """A field's schema without the choice of null that pydantic writes for what may be left out."""
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        return {**choices[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    return schema


def _model(schema: Schema) -> str | None:
    """Name of the model that a field, the items of its list or the values of its map have."""
    schema = _plain(schema)
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            return _model(schema[part])
    return None


def _type(schema: Schema) -> str:
    """A field's type in words."""
    schema = _plain(schema)
    if "$ref" in schema:
        name = _model(schema)
        return f"[{name}](#{str(name).lower()})"
    if "anyOf" in schema:
        return " or ".join(str(choice["type"]) for choice in schema["anyOf"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return f"map of {_type(values)}" if isinstance(values, dict) else "object"
    return str(schema["type"])


def _constraints(schema: Schema) -> Iterator[str]:
    """What a value must keep to."""
    schema = _plain(schema)
    if "enum" in schema:
        yield "one of " + ", ".join(_code(value) for value in schema["enum"])
    yield _range(schema.get("minimum"), schema.get("maximum"))
    if "exclusiveMinimum" in schema:
        yield f"more than {schema['exclusiveMinimum']}"
    yield _range(schema.get("minLength"), schema.get("maxLength"), "characters")
    yield _range(schema.get("minItems"), schema.get("maxItems"), "items")
    yield _range(schema.get("minProperties"), schema.get("maxProperties"), "entries")
    if "pattern" in schema:
        yield f"matches {_code(schema['pattern'])}"
    if schema.get("x-kubernetes-list-type") == "set":
        yield "each item once"
    if keys := schema.get("x-kubernetes-list-map-keys"):
        yield f"each {_code(', '.join(keys))} once"
    if isinstance(schema.get("items"), dict) and "$ref" not in schema["items"]:
        yield from (f"items: {each}" for each in _constraints(schema["items"]) if each)


class Reference:
    """The page.

    Args:
        spec: model of ``spec``.
        status: model of ``status``.
    """

    def __init__(self, spec: type[Part], status: type[Part]) -> None:
        self._roots = (("Spec", spec), ("Status", status))

    def render(self) -> str:
        """The whole page."""
        kind = {"kind": names.KIND, "kind_lower": names.KIND.lower(), "version": names.API_VERSION}
        parts = [_HEADER, f"# Reference of the {names.KIND} resource", _INTRODUCTION.format(**kind)]
        parts += ["## The resource", *_resource()]
        for heading, root in self._roots:
            parts += [f"## {heading}", *self._sections(root)]
        return "\n\n".join(parts) + "\n"

    def _sections(self, root: type[Part]) -> Iterator[str]:
        """The root's fields, then each model below it, once, where it is first met."""
        schema = root.model_json_schema(by_alias=True, mode="validation")
        definitions: dict[str, Schema] = schema.get("$defs", {})
        yield from _section(schema, definitions)
        waiting, seen = _models(schema), set[str]()
        while waiting:
            name = waiting.pop(0)
            if name not in seen:
                seen.add(name)
                yield f"### {name}"
                yield from _section(definitions[name], definitions)
                waiting = [*_models(definitions[name]), *waiting]


def _models(schema: Schema) -> list[str]:
    """Models that the fields of a model have, in order."""
    return [name for field in schema["properties"].values() if (name := _model(field))]


def _section(schema: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    """A model: what it is, its fields, its rules."""
    if description := schema.get("description"):
        yield _cell(description)
    lines = ["| field | type | default | constraints | meaning |", "|---|---|---|---|---|"]
    for name, field in schema["properties"].items():
        meaning = field.get("description") or definitions.get(_model(field) or "", {}).get("description", "")
        limits = "; ".join(filter(None, _constraints(field)))
        default = "**required**" if name in schema.get("required", []) else _default(field, definitions)
        lines.append(f"| `{name}` | {_type(field)} | {default} | {limits} | {_cell(meaning)} |")
    yield "\n".join(lines)
    yield from _rules(schema.get("x-kubernetes-validations", []))


def _default(field: Schema, definitions: dict[str, Schema]) -> str:
    """What stands in a field that was left out."""
    found = field.get("default")
    if found is None:
        return ""
    if found in ([], {}):
        return "empty"
    model = _model(field)
    if isinstance(found, dict) and model:
        fields = definitions[model]["properties"]
        usual = {name: each["default"] for name, each in fields.items() if "default" in each}
        return "the defaults of its fields" if found == usual else _code(_given(found, usual))
    return _code(found)


def _given(found: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value != usual.get(key)}


def _rules(rules: list[dict[str, str]]) -> Iterator[str]:
    """CEL rules: what they say, and as they are written."""
    if rules:
        yield "\n".join(["Rules:", "", *(f"- {rule['message']}: `{rule['rule']}`" for rule in rules)])


def _resource() -> Iterator[str]:
    """Rules about the whole resource, and how it is listed and scaled."""
    version = crd.build_crd()["spec"]["versions"][0]
    yield from _rules(version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"])
    lines = ["| column | from |", "|---|---|"]
    for column in version["additionalPrinterColumns"]:
        wide = " (with `-o wide`)" if column.get("priority") else ""
        lines.append(f"| {column['name']}{wide} | `{column['jsonPath'].removeprefix('.')}` |")
    yield "\n".join(["`kubectl get sb` prints these columns:", "", *lines])
    yield _SCALE


def render() -> str:
    """The page as Markdown."""
    return Reference(SwitchboardSpec, State).render()


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or compare it with what stands there.

    Returns:
        0; 1 when ``--check`` finds a difference.
    """
    parser = argparse.ArgumentParser(
        prog="python -m switchboard_operator.reference", description="Generate the reference of the custom resource."
    )
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when the file is outdated")
    parser.add_argument("--path", type=Path, default=DEFAULT_PATH)
    options = parser.parse_args(arguments)
    wanted = render()
    if not options.check:
        options.path.write_text(wanted, "utf-8")
        return 0
    found = options.path.read_text("utf-8") if options.path.exists() else ""
    if found != wanted:
        sys.stderr.write(f"{options.path.name} is outdated: run `python -m switchboard_operator.reference`.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
