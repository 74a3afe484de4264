"""Alerts go by what is wrong, not by what looks like it: a migration that runs, another pool that works."""

from pathlib import Path

import yaml

from charts.paths import OPERATOR, SWITCHBOARD


def expression(chart: Path, name: str) -> str:
    groups = yaml.safe_load((chart / "files" / "alerts.yaml").read_text("utf-8"))["groups"]
    return next(str(rule["expr"]) for group in groups for rule in group["rules"] if rule["alert"] == name)


def test_a_migration_that_is_under_way_wakes_nobody() -> None:
    found = expression(OPERATOR, "SwitchboardMigrationFailed")

    assert found.startswith("switchboard_operator_migration_failing{")
    assert "switchboard_operator_condition" not in found


def test_a_problem_that_comes_and_goes_is_told_too() -> None:
    assert expression(OPERATOR, "SwitchboardDegraded").startswith("max_over_time(switchboard_operator_condition{")


def test_idle_workers_are_found_pool_by_pool() -> None:
    found = expression(SWITCHBOARD, "SwitchboardWorkersIdle")
    monitor = (SWITCHBOARD / "templates" / "podmonitor.yaml").read_text("utf-8")

    before, _, after = found.partition("unless on (pool) label_replace(")
    assert before.rstrip().endswith("> 1")
    assert '"pool", "$1", "switchboard_dev_pool"' in after
    assert "switchboard.dev/pool]" in monitor
