"""Every command explains itself, with an example, and speaks JSON."""

import pytest
from typer.testing import CliRunner

from switchboard_cli.main import app

COMMANDS = [
    "demo",
    "migrate",
    "openapi",
    "stop-calls",
    "business create",
    "business list",
    "business new-key",
    "leads import",
    "leads list",
    "run start",
    "run list",
    "run show",
    "run watch",
    "run pause",
    "run resume",
    "run cancel",
    "tasks list",
    "tasks show",
    "tasks cancel",
    "tasks watch",
    "ledger connect",
    "ledger connections",
    "ledger sync",
    "ledger import",
    "ledger transactions",
    "ledger counterparties",
    "recordings list",
    "recordings search",
    "mailbox connect",
    "mailbox list",
    "mailbox rules",
    "mailbox sort",
    "mailbox remove",
]
# They have no key to use, or make their own.
WITHOUT_API = {"demo", "migrate", "openapi", "stop-calls", "business create", "business list", "business new-key"}


def help_of(command: str) -> str:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "serve"])
def test_help_has_an_example_of_the_command(command: str) -> None:
    assert f"switchboard {command}" in help_of(command).partition("Example: ")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_speaks_json(command: str) -> None:
    assert "--json" in help_of(command)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - WITHOUT_API))
def test_every_command_of_the_api_takes_its_address_and_key(command: str) -> None:
    told = help_of(command)
    assert "SWITCHBOARD_URL" in told
    assert "SWITCHBOARD_API_KEY" in told


def test_the_services_are_those_that_can_be_installed() -> None:
    assert "api|worker|recorder|simulator" in help_of("serve").replace(" ", "")


def test_the_version_is_shown() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("switchboard 0.")
