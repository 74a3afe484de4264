"""What of the charts is generated is up to date, and is made as it should be."""

import json
from pathlib import Path
from typing import Any

import pytest

from charts import __main__ as command
from charts import values_schema, values_table
from charts.schemas import of_crd, of_definitions
from switchboard_operator.crd import build_crd


def test_the_generated_files_are_up_to_date() -> None:
    assert command.main(["generate", "--check"]) == 0, "run `make generated`"


def test_a_schema_of_values_refuses_what_the_crd_would_drop() -> None:
    schema = values_schema.strict(
        {
            "type": "object",
            "properties": {
                "rate": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                "size": {"x-kubernetes-int-or-string": True, "x-kubernetes-validations": []},
                "pools": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}},
            },
        }
    )

    assert schema["additionalProperties"] is False
    assert schema["properties"]["rate"] == {"type": "number", "exclusiveMinimum": 0}
    assert schema["properties"]["size"] == {"type": ["integer", "string"]}
    assert schema["properties"]["pools"]["items"]["additionalProperties"] is False
    assert schema["properties"]["labels"]["additionalProperties"] == {"type": "string"}
    assert "additionalProperties" not in schema["properties"]["open"]


def test_what_the_chart_fills_in_need_not_be_given() -> None:
    schema = values_schema.spec_schema()

    assert "required" not in schema
    assert "required" not in schema["properties"]["database"]
    assert schema["properties"]["workers"]["items"]["required"] == ["name", "queues"]


def test_a_table_shows_defaults_of_the_chart_and_descriptions_of_the_schema() -> None:
    schema = {
        "properties": {
            "replicas": {"type": "integer", "description": "How many."},
            "mode": {"enum": ["a", "b"], "description": "Which | one."},
            "group": {"type": "object", "properties": {"on": {"type": "boolean", "description": "Do it."}}},
        }
    }

    assert list(values_table.rows(schema, {"replicas": 2, "mode": "a", "group": {"on": False}})) == [
        ("replicas", "integer", "`2`", "How many."),
        ("mode", "`a` or `b`", '`"a"`', "Which \\| one."),
        ("group.on", "true or false", "`false`", "Do it."),
    ]


def test_a_readme_without_a_place_for_the_table_is_told(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    chart.mkdir()
    (chart / "README.md").write_text("# Chart\n")

    with pytest.raises(ValueError, match="has no place for the table"):
        values_table.render(chart)


def test_a_kind_comes_with_every_definition_that_it_refers_to() -> None:
    definitions: dict[str, dict[str, Any]] = {
        "v1.Pod": {
            "properties": {"spec": {"$ref": "#/definitions/v1.PodSpec"}},
            "x-kubernetes-group-version-kind": [{"group": "", "kind": "Pod", "version": "v1"}],
        },
        "v1.PodSpec": {
            "properties": {"port": {"$ref": "#/definitions/other"}, "next": {"$ref": "#/definitions/v1.PodSpec"}}
        },
        "other": {"type": "string"},
        "unused": {"type": "string"},
    }

    ((name, schema),) = of_definitions(definitions)

    assert name == "pod_v1_v1.json"
    assert sorted(schema["definitions"]) == ["other", "v1.Pod", "v1.PodSpec"]
    assert schema["definitions"]["v1.PodSpec"]["additionalProperties"] is False


def test_a_custom_resource_gets_the_schema_of_its_version() -> None:
    ((name, schema),) = of_crd(build_crd())

    assert name == "switchboard_switchboard.dev_v1alpha1.json"
    assert schema["properties"]["spec"]["additionalProperties"] is False
    assert json.dumps(schema)
