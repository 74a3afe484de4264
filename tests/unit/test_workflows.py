"""Habits of the workflows that actionlint does not check: pins, rights, time limits, versions."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.settings import PUBLIC_NODES
from docs_pages import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
FILES = [*WORKFLOWS, *sorted((ROOT / ".github" / "actions").rglob("action.yaml"))]
USES = [
    (path, line.strip())
    for path in FILES
    for line in path.read_text(encoding="utf-8").splitlines()
    if re.match(r"\s*(- )?uses: ", line) and "uses: ./" not in line
]
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def load(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


JOBS = [(path.name, name, job) for path in WORKFLOWS for name, job in load(path)["jobs"].items()]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Path) else value if isinstance(value, str) else ""


@pytest.mark.parametrize(("path", "line"), USES, ids=name_of)
def test_an_action_is_pinned_to_a_commit_with_its_version_beside_it(path: Path, line: str) -> None:
    assert PINNED.search(line), f"{path.name}: {line}"


def test_an_action_has_one_version_everywhere() -> None:
    versions = {line.partition("uses: ")[2] for _, line in USES}
    assert len({version.partition("@")[0] for version in versions}) == len(versions)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_workflow_begins_with_no_right_but_to_read(path: Path) -> None:
    assert load(path)["permissions"] in ({}, {"contents": "read"})


@pytest.mark.parametrize(("workflow", "name", "job"), JOBS, ids=name_of)
def test_a_job_has_a_time_limit_unless_another_workflow_sets_it(workflow: str, name: str, job: dict[str, Any]) -> None:
    assert "uses" in job or job["timeout-minutes"] <= 90, f"{workflow}: {name}"


@pytest.mark.parametrize(("workflow", "name", "job"), JOBS, ids=name_of)
def test_a_checkout_leaves_no_credentials_behind(workflow: str, name: str, job: dict[str, Any]) -> None:
    for step in job.get("steps", []):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, f"{workflow}: {name}"


def test_only_the_release_writes() -> None:
    writing = {workflow for workflow, _, job in JOBS if "write" in job.get("permissions", {}).values()}
    assert writing == {"release.yaml"}


def test_the_matrix_is_every_kubernetes_that_the_cluster_tool_knows() -> None:
    whole = load(ROOT / ".github" / "workflows" / "e2e.yaml")["jobs"]["whole"]
    assert sorted(whole["strategy"]["matrix"]["kubernetes"]) == sorted(PUBLIC_NODES)


def test_the_release_builds_every_image_that_there_is() -> None:
    images = load(ROOT / ".github" / "workflows" / "release.yaml")["env"]["IMAGES"].split()
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(images) == {target for target in targets if not target.endswith("build")} - {"runtime", "shared"}
