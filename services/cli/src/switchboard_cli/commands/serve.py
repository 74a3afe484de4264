"""``switchboard serve``: run one of the services in the foreground."""

from collections.abc import Callable
from enum import StrEnum
from importlib import metadata
from typing import Annotated

import typer

from switchboard_cli.errors import CliError

GROUP = "switchboard.services"
EXAMPLE = "Example: [bold]SERVICE_ROLE=api switchboard serve api[/bold]"


class Service(StrEnum):
    """What can be served."""

    API = "api"
    WORKER = "worker"
    RECORDER = "recorder"
    SIMULATOR = "simulator"


def serve(service: Annotated[Service, typer.Argument(help="Which service.")]) -> None:
    """Run a service until it is told to stop.

    Settings come from the environment; .env.example lists them all. Only the package of this one service has to be
    installed.
    """
    load_service(service.value)()


def load_service(name: str) -> Callable[[], None]:
    """The main function of an installed service.

    Raises:
        CliError: its package is not installed.
    """
    found = metadata.entry_points(group=GROUP, name=name)
    if not found:
        raise CliError(
            f"The package switchboard-{name} is not installed here: install it (in a checkout: `make setup`), "
            f"or use the image made for the {name}."
        )
    main: Callable[[], None] = next(iter(found)).load()
    return main
