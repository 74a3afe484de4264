"""Generates ``spec`` in the values schema of the chart ``switchboard`` from the CRD, so that the two never differ.

The rest of that schema is written by hand.
"""

import json
from typing import Any

from charts.paths import SWITCHBOARD
from switchboard_operator.crd import schema_of
from switchboard_operator.spec import SwitchboardSpec

PATH = SWITCHBOARD / "values.schema.json"

Schema = dict[str, Any]

_FILLED_IN = ("database", "redis", "carrier", "storage", "api")
"""Parts whose required fields the chart may fill in."""

_DESCRIPTION = (
    "The spec of the Switchboard, passed on as it is (docs/crd-reference.md). The chart fills in, where they are not "
    "set: version, the references to the Secrets that it makes, api.publicUrl, and carrier and storage of a trial."
)


def strict(schema: Schema) -> Schema:
    """A CRD's schema as JSON Schema (draft 7) that refuses fields it does not know."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if found.get(flag) is True:
            found[flag] = found.pop(bound)
    if "properties" in found:
        found["properties"] = {name: strict(each) for name, each in found["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found["additionalProperties"] = False
    elif isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = strict(found["additionalProperties"])
    if "items" in found:
        found["items"] = strict(found["items"])
    return found


def spec_schema() -> Schema:
    """Schema of the value ``spec``: the CRD's, without the demand for what the chart fills in."""
    found = strict(schema_of(SwitchboardSpec))
    found.pop("required")
    found["description"] = _DESCRIPTION
    for part in _FILLED_IN:
        found["properties"][part].pop("required", None)
    return found


def render() -> str:
    """The whole values schema, with ``spec`` as it should be."""
    schema = json.loads(PATH.read_text("utf-8"))
    schema["properties"]["spec"] = spec_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
