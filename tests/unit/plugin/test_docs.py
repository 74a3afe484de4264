"""The page of the plugin is complete; that what pages show of it exists is tested with the other commands."""

from typing import Any

import typer

from docs_pages import read
from kubectl_switchboard.main import commands


def test_the_page_of_the_plugin_shows_every_command_and_option() -> None:
    shown = read("kubectl-plugin.md")
    group: Any = typer.main.get_command(commands)
    for name, command in group.commands.items():
        assert f"kubectl switchboard {name}" in shown
        known = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        assert {option for option in known if f"{option}`" not in shown and f"{option} " not in shown} == set()
