"""Alerts and dashboards speak of metrics that there are, and of everything a person needs then."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from charts.paths import BOTH, OPERATOR, SWITCHBOARD
from switchboard_api import metrics as of_the_api
from switchboard_core import metrics as of_all_services
from switchboard_operator import metrics as of_the_operator

_METRIC = re.compile(r"\bswitchboard_[a-z_]+")
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def metrics_of(*modules: ModuleType) -> set[str]:
    """Names of the metrics that modules define."""
    defined = [each for module in modules for each in vars(module).values() if isinstance(each, MetricWrapperBase)]
    return {metric.name for each in defined for metric in each.describe()}


def series_of(*modules: ModuleType) -> set[str]:
    """Names of the series that these metrics consist of."""
    defined = [each for module in modules for each in vars(module).values() if isinstance(each, MetricWrapperBase)]
    described = [metric for each in defined for metric in each.describe()]
    return {metric.name + suffix for metric in described for suffix in _SUFFIXES.get(metric.type, ("",))}


def alerts(chart: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((chart / "files" / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(chart: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((chart / "files" / "dashboard.json").read_text("utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions(chart: Path) -> Iterator[str]:
    yield from (alert["expr"] for alert in alerts(chart))
    yield from (target["expr"] for panel in panels(chart) for target in panel["targets"])


@pytest.mark.parametrize("chart", BOTH, ids=lambda chart: chart.name)
def test_every_metric_that_is_asked_for_exists(chart: Path) -> None:
    asked = {name for text in expressions(chart) for name in _METRIC.findall(text)}
    labels = {"switchboard_dev_role", "switchboard_dev_pool"}

    assert asked - labels <= series_of(of_the_api, of_all_services, of_the_operator)


@pytest.mark.parametrize(
    ("chart", "modules"),
    [(SWITCHBOARD, (of_the_api, of_all_services)), (OPERATOR, (of_the_operator,))],
    ids=["services", "operator"],
)
def test_every_metric_is_on_a_dashboard(chart: Path, modules: tuple[ModuleType, ...]) -> None:
    shown = " ".join(target["expr"] for panel in panels(chart) for target in panel["targets"])

    assert [name for name in metrics_of(*modules) if name not in shown] == []


@pytest.mark.parametrize("chart", BOTH, ids=lambda chart: chart.name)
def test_every_alert_says_what_happened_and_what_to_do(chart: Path) -> None:
    for alert in alerts(chart):
        assert alert["labels"]["severity"] in {"critical", "warning"}, alert["alert"]
        assert alert["for"], alert["alert"]
        for part in ("summary", "description", "runbook"):
            assert alert["annotations"][part].endswith("."), (alert["alert"], part)


def test_nobody_is_woken_for_a_switchboard_that_was_paused_on_purpose() -> None:
    expression = next(alert["expr"] for alert in alerts(OPERATOR) if alert["alert"] == "SwitchboardNotReady")

    # As the leader sees it: matched by pod, and before the leader is asked for.
    ready, _, rest = expression.partition("unless on (namespace, name, pod) switchboard_operator_paused{job=")
    assert 'condition="Ready"} == 0' in ready
    assert "== 1\nand on (pod) switchboard_operator_leader" in rest


@pytest.mark.parametrize("chart", BOTH, ids=lambda chart: chart.name)
def test_panels_say_what_they_show_and_do_not_overlap(chart: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(chart):
        assert panel["description"], panel["title"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
