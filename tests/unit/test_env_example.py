"""``.env.example`` lists every variable that the services read, with its default."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from switchboard_core.settings import WORKER_QUEUES, MigrationSettings, Settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
LINE = re.compile(r"^(?P<comment>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$")
FIELDS = {**MigrationSettings.model_fields, **Settings.model_fields}

LISTED = {match["name"]: match for line in EXAMPLE.read_text("utf-8").splitlines() if (match := LINE.match(line))}


def variable_of(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


def as_written(default: Any) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(int(default))
        case SecretStr():
            return default.get_secret_value()
        case tuple():
            return ",".join(default)
        case float():
            return f"{default:g}"
        case _:
            return str(default)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_variable_is_listed_with_its_default(name: str) -> None:
    field = FIELDS[name]
    line = LISTED[variable_of(name, field)]
    if field.is_required():
        assert not line["comment"], "a variable without a default is for people to fill in"
    else:
        shown = WORKER_QUEUES if name == "rq_queues" else field.default
        assert (line["comment"], line["value"]) == ("#", as_written(shown))


@pytest.mark.parametrize(
    "name",
    [
        *("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "SERVICE_ROLE", "RQ_QUEUES", "RUN_MIGRATIONS"),
        *("LOG_LEVEL", "LOG_FORMAT", "PUBLIC_URL", "PYTHONUNBUFFERED"),
    ],
)
def test_a_variable_of_the_contract_is_listed(name: str) -> None:
    assert name in LISTED
