"""The reference page says what the CRD says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs_pages import table_rows
from switchboard_operator import crd, reference
from switchboard_operator.spec import SwitchboardSpec

PAGE = reference.render()
SCHEMA = crd.build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and everything below it."""
    yield schema
    for below in schema.get("properties", {}).values():
        yield from schemas(below)
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from schemas(schema[part])


def row(section: str, field: str) -> list[str]:
    """The row of a field in a section of the page."""
    text = PAGE.partition(f"\n### {section}\n")[2].partition("\n##")[0]
    return next(cells for cells in table_rows(text) if cells[0] == f"`{field}`")


def test_the_page_is_up_to_date() -> None:
    assert reference.main(["--check"]) == 0, "run `python -m switchboard_operator.reference`"


def test_the_check_tells_an_outdated_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "reference.md"
    assert reference.main(["--check", "--path", str(page)]) == 1
    assert "is outdated" in capsys.readouterr().err
    assert reference.main(["--path", str(page)]) == 0
    assert reference.main(["--check", "--path", str(page)]) == 0


def test_every_field_and_every_rule_of_the_crd_is_on_the_page() -> None:
    parts = [each for top in ("spec", "status") for each in schemas(SCHEMA["properties"][top])]
    fields = {f"`{name}`" for part in parts for name in part.get("properties", {})}
    rules = {rule["rule"] for part in [SCHEMA, *parts] for rule in part.get("x-kubernetes-validations", [])}

    assert fields <= {cells[0] for cells in table_rows(PAGE)}
    assert {rule for rule in rules if f"`{rule}`" not in PAGE} == set()


def test_every_field_of_the_spec_says_what_it_means() -> None:
    schema = SwitchboardSpec.model_json_schema()
    spec = PAGE.partition("\n## Spec\n")[2].partition("\n## Status\n")[0]

    assert len(list(table_rows(spec))) > len(schema["properties"])
    assert [cells[0] for cells in table_rows(spec) if not cells[4]] == []


def test_a_row_has_type_default_constraints_and_meaning() -> None:
    assert row("Autoscaling", "jobsPerReplica") == [
        "`jobsPerReplica`",
        "integer",
        "`10`",
        "1 to 100000",
        "Runnable jobs that justify one replica.",
    ]
    assert row("Carrier", "secretRef")[1:3] == ["[SecretRef](#secretref)", "**required**"]
    assert row("Carrier", "callsPerSecond")[3] == "more than 0"
    assert row("Volume", "accessModes")[2] == "`[ReadWriteMany]`"
    assert row("Volume", "size")[1] == "integer or string"


def test_resources_that_a_role_gets_by_default_are_written_out() -> None:
    assert row("Recorder", "resources")[2].startswith("`{requests: {cpu: 250m, ")
