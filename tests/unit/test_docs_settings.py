"""``docs/operations.md`` has every setting with its default, and every metric with its labels."""

import re
from typing import Any

import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

import switchboard_api.metrics
import switchboard_core.metrics
from docs_pages import in_code, section, table_rows
from switchboard_core.settings import WORKER_QUEUES, MigrationSettings, Settings

PAGE = "operations.md"
FIELDS = {**MigrationSettings.model_fields, **Settings.model_fields}
SETTINGS = {row[0].strip("`"): row for row in table_rows(section(PAGE, "Settings")) if row[0].startswith("`")}
METRICS = {row[0].strip("`"): row for row in table_rows(section(PAGE, "Health and metrics"))}
# Those that the page describes in words.
IN_WORDS = {"DATABASE_URL", "MIGRATION_DATABASE_URL", "TWILIO_ACCOUNT_SID"}


def variable_of(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


def as_written(name: str, default: Any) -> str:
    value = WORKER_QUEUES if name == "rq_queues" else default
    match value:
        case None:
            return "unset"
        case bool():
            return f"`{int(value)}`"
        case SecretStr():
            return as_written(name, value.get_secret_value())
        case tuple() if value:
            return f"`{','.join(value)}`"
        case float():
            return f"`{value:g}`"
        case "" | ():
            return "empty"
        case _:
            return f"`{value}`"


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_setting_is_on_the_page_with_its_default(name: str) -> None:
    variable = variable_of(name, FIELDS[name])
    assert variable in SETTINGS, f"{PAGE} says nothing of {variable}"
    _, default, meaning = SETTINGS[variable]
    assert meaning
    if variable not in IN_WORDS:
        assert default == as_written(name, FIELDS[name].default)


def test_the_page_has_no_setting_that_does_not_exist() -> None:
    assert set(SETTINGS) == {variable_of(name, field) for name, field in FIELDS.items()}


def exposed() -> dict[str, MetricWrapperBase]:
    """The metrics of core and api by the name that Prometheus sees."""
    found: dict[str, MetricWrapperBase] = {}
    for module in (switchboard_core.metrics, switchboard_api.metrics):
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                found[metric._name + ("_total" if isinstance(metric, Counter) else "")] = metric
    return found


@pytest.mark.parametrize("name", sorted(exposed()))
def test_a_metric_is_on_the_page_with_its_labels(name: str) -> None:
    assert name in METRICS, f"{PAGE} says nothing of {name}"
    assert in_code(METRICS[name][1]) == set(exposed()[name]._labelnames)


def test_the_page_has_no_metric_that_does_not_exist() -> None:
    assert {name for name in METRICS if re.match(r"switchboard_", name)} == set(exposed())
