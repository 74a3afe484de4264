"""Facts that the pages about Kubernetes state and the operator's code decides."""

import re

import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

import switchboard_operator.metrics
from docs_pages import ROOT, in_code, read, section, table_rows
from switchboard_operator import crd, gate, names
from switchboard_operator.resources import job, keda, pods
from switchboard_operator.spec import Autoscaling, Migrations

SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("operator/src/**/*.py")))
METRICS = {
    metric._name + ("_total" if isinstance(metric, Counter) else ""): metric
    for metric in vars(switchboard_operator.metrics).values()
    if isinstance(metric, MetricWrapperBase)
}


def test_the_operators_metrics_are_on_the_page_with_their_labels() -> None:
    rows = table_rows(section("kubernetes-install.md", "The operator's own settings"))
    shown = {row[0].strip("`"): in_code(row[1]) for row in rows}
    assert shown == {name: set(metric._labelnames) for name, metric in METRICS.items()}


def reasons_in_gitops() -> list[str]:
    folder = ROOT / "examples" / "gitops"
    lua = (folder / "argocd-health.yaml").read_text(encoding="utf-8")
    flux = (folder / "flux-kustomization.yaml").read_text(encoding="utf-8")
    found = [*re.findall(r"(\w+) = true", lua), *re.findall(r"reason == \"(\w+)\"", lua)]
    return sorted({*found, *re.findall(r"'(\w+(?:Failed|Refused))'", flux)})


@pytest.mark.parametrize("reason", reasons_in_gitops())
def test_a_reason_that_a_health_check_looks_for_exists(reason: str) -> None:
    assert f'"{reason}"' in SOURCE


def reasons_in_upgrade() -> list[str]:
    words = in_code(read("upgrade-and-rollback.md"))
    return sorted(word for word in words if re.fullmatch(r"([A-Z][a-z]+){1,3}", word) and word != "Switchboard")


@pytest.mark.parametrize("reason", reasons_in_upgrade())
def test_a_reason_or_outcome_that_the_upgrade_page_names_exists(reason: str) -> None:
    assert f'"{reason}"' in SOURCE


def test_numbers_on_the_upgrade_page_are_the_codes() -> None:
    page = read("upgrade-and-rollback.md")
    assert gate.CHECK_AGAIN_S == 60
    assert "repeated every\nminute by itself" in page
    assert pods.PRE_STOP_S == 5
    assert "goes on serving for five seconds after it left the Service" in page
    assert names.EXIT_INCOMPATIBLE == 4
    assert "exit code 4" in page
    assert f"`{names.RETRY_ANNOTATION}`" in page


@pytest.mark.parametrize("step", ["check", "expand", "contract"])
def test_a_job_has_the_name_that_the_upgrade_page_says(step: str) -> None:
    assert job.command(step)
    assert f"`{names.migrate_job_name('NAME', 7, step, 1).replace('-7-', '-N-')}`" in read("upgrade-and-rollback.md")


def test_numbers_on_the_autoscaling_page_are_the_codes() -> None:
    page = read("autoscaling.md")
    assert keda.POLL_S == 15
    assert page.count("every 15 seconds") == 2
    assert Autoscaling(max=1).scale_down_stabilization_seconds == 300
    assert "five minutes by default" in page
    assert (pods.DRAIN_S + pods.MARGIN_S, pods.PRE_STOP_S + pods.DRAIN_S + pods.MARGIN_S) == (15, 20)
    assert "15 seconds for workers and recorders, 20 for the api" in page


def test_the_readme_shows_the_columns_that_kubectl_prints() -> None:
    columns = crd.build_crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = next(line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if "MIGRATED" in line)
    assert shown.split() == ["NAME", *(each["name"].upper() for each in columns if not each.get("priority"))]


def test_limits_of_a_migration_are_named_as_the_resource_has_them() -> None:
    page = read("upgrade-and-rollback.md")
    for field in ("backoff_limit", "active_deadline_seconds"):
        alias = Migrations.model_fields[field].alias
        assert f"{alias}`" in page
