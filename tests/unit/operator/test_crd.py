"""The CRD is what the models say, and is one that an API server accepts."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from switchboard_operator import crd
from switchboard_operator.spec import RESERVED_ENV, SwitchboardSpec
from unit.operator.samples import make_spec, spec_dict

ROOT = crd.build_crd()["spec"]["versions"][0]
SCHEMA = ROOT["schema"]["openAPIV3Schema"]
SPEC = SCHEMA["properties"]["spec"]

EXAMPLE = """
version: 1.2.0
database:
  secretRef: {name: switchboard-db, key: url}
  migrationSecretRef: {name: switchboard-db, key: ownerUrl}
redis: {secretRef: {name: switchboard-redis, key: url}}
carrier: {secretRef: {name: twilio}}
storage: {url: s3://recordings}
api: {replicas: 2, publicUrl: https://calls.example.com}
workers:
  - {name: calls, queues: [high, default], autoscaling: {min: 1, max: 20, jobsPerReplica: 10}}
  - {name: bulk, queues: [low, receipts, receipts_sync, maintenance, broadcasts], autoscaling: {min: 0, max: 5}}
recorder: {autoscaling: {min: 1, max: 10}}
migrations: {backoffLimit: 3, activeDeadlineSeconds: 1800}
paused: false
"""


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in the CRD."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from schemas(below, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from schemas(schema[part], f"{path}.{part}")


def rules(schema: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in schema.get("x-kubernetes-validations", [])]


def test_the_file_in_the_chart_is_up_to_date() -> None:
    assert crd.main(["--check"]) == 0, "run `python -m switchboard_operator.crd`"


def test_the_check_tells_an_outdated_file(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--check", "--path", str(tmp_path / "crd.yaml")]) == 1
    assert "is outdated" in capsys.readouterr().err
    assert crd.main(["--path", str(tmp_path / "crd.yaml")]) == 0
    assert crd.main(["--check", "--path", str(tmp_path / "crd.yaml")]) == 0


def test_the_example_of_the_design_is_valid() -> None:
    spec = SwitchboardSpec.model_validate(yaml.safe_load(EXAMPLE))

    assert spec.workers[1].autoscaling
    assert spec.workers[1].autoscaling.jobs_per_replica == 10


@pytest.mark.parametrize(
    ("path", "schema"), list(schemas(SCHEMA)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_schema_is_structural(path: str, schema: dict[str, Any]) -> None:
    assert "type" in schema or schema.get("x-kubernetes-int-or-string"), path
    assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "$defs", "const"} & schema.keys(), path
    assert schema.get("default", ...) is not None, path
    if schema.get("type") == "array":
        assert "items" in schema, path


def test_a_whole_specification_survives_the_model_unchanged() -> None:
    spec = make_spec()

    assert SwitchboardSpec.model_validate(spec.dump()) == spec


def test_rules_guard_queues_names_and_reserved_variables() -> None:
    assert any("exists_one(p, q in p.queues)" in rule for rule in rules(SPEC))
    assert all(f"'{name}'" in rules(SPEC["properties"]["env"]["items"])[0] for name in RESERVED_ENV)
    assert any("self.metadata.name.size()" in rule for rule in rules(SCHEMA))
    assert any("has(self.url) != has(self.volume)" in rule for rule in rules(SPEC["properties"]["storage"]))


def test_recordings_cannot_be_left_without_a_consumer() -> None:
    pool = SPEC["properties"]["workers"]["items"]["properties"]
    recorder = SPEC["properties"]["recorder"]["properties"]

    assert "recordings" not in pool["queues"]["items"]["enum"]
    assert recorder["autoscaling"]["properties"]["min"]["minimum"] == 1
    assert recorder["replicas"]["minimum"] == 1


@pytest.mark.parametrize(
    "workers",
    [
        [{"name": "calls", "queues": ["high", "default"]}],
        [
            {
                "name": "all",
                "queues": ["high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts"],
            },
            {"name": "more", "queues": ["high"]},
        ],
    ],
    ids=["a queue without a pool", "a queue in two pools"],
)
def test_a_spec_that_would_leave_a_queue_wrong_is_refused(workers: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match="every queue must belong to exactly one pool"):
        make_spec(workers=workers)


def test_status_and_scale_are_subresources_and_columns_are_printed() -> None:
    assert set(ROOT["subresources"]) == {"status", "scale"}
    assert [column["name"] for column in ROOT["additionalPrinterColumns"]][:3] == ["Version", "Ready", "Status"]
    assert crd.build_crd()["spec"]["names"]["shortNames"] == ["sb"]


def test_recorded_specs_keep_fields_that_the_schema_does_not_know() -> None:
    applied = SCHEMA["properties"]["status"]["properties"]["applied"]["properties"]["spec"]

    kept = {key: value for key, value in applied.items() if key != "description"}
    assert kept == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_images_come_from_the_repository_unless_replaced() -> None:
    spec = make_spec("1.2.0", images={"repository": "example/switchboard", "worker": "other/worker@sha256:abc"})

    assert spec.image("api") == "example/switchboard-api:1.2.0"
    assert spec.image("worker") == "other/worker@sha256:abc"
    assert spec.image("migrate") == spec.image("api")
    assert spec_dict()["version"] == "1.0.0"
