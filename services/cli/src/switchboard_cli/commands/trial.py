"""``switchboard trial``: PostgreSQL and Valkey in containers, for trials and tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.output import Output
from switchboard_cli.trial import POSTGRESQL_PORT, VALKEY_PORT

DATA = Path("/var/lib/switchboard")

app = typer.Typer(
    no_args_is_help=True,
    help="Run PostgreSQL or Valkey in the foreground. For trials and tests only: one server, no backups, no TLS.",
)


class Server(StrEnum):
    """What can be run."""

    POSTGRESQL = "postgresql"
    VALKEY = "valkey"


@app.command("postgresql", epilog="Example: [bold]OWNER_PASSWORD=… APP_PASSWORD=… switchboard trial postgresql[/bold]")
def postgresql(
    data: Annotated[Path, typer.Option(help="Folder that keeps the data.")] = DATA,
    port: Annotated[int, typer.Option(help="TCP port, on all addresses.")] = POSTGRESQL_PORT,
) -> None:
    """Run PostgreSQL until it is told to stop.

    At the first start it makes the database switchboard and its roles: switchboard_owner, which migrates, and
    switchboard_app, which the services use. Their passwords come from OWNER_PASSWORD and APP_PASSWORD, at every start.
    """
    passwords = {"owner_password": _secret("OWNER_PASSWORD"), "app_password": _secret("APP_PASSWORD")}
    with _sentences():
        from switchboard_cli.trial.postgresql import run_postgresql

        raise typer.Exit(run_postgresql(data, port, say=Output().note, **passwords))


@app.command("valkey", epilog="Example: [bold]PASSWORD=… switchboard trial valkey[/bold]")
def valkey(port: Annotated[int, typer.Option(help="TCP port, on all addresses.")] = VALKEY_PORT) -> None:
    """Run Valkey until it is told to stop.

    Its password comes from PASSWORD. It keeps nothing over a restart; Switchboard loses nothing by that.
    """
    password = _secret("PASSWORD")
    with _sentences():
        from switchboard_cli.trial.valkey import run_valkey

        raise typer.Exit(run_valkey(port, password))


@app.command("check", epilog="Example: [bold]switchboard trial check postgresql[/bold], in the server's container")
def check(
    server: Annotated[Server, typer.Argument(help="Which server.")],
    port: Annotated[int | None, typer.Option(help="TCP port; the server's usual one by default.")] = None,
) -> None:
    """Say whether a server on this machine can be used; for probes, with the environment of the server.

    Exit status: 0 it can; 1 it cannot yet, and why.
    """
    with _sentences():
        from switchboard_cli.trial import postgresql as pg
        from switchboard_cli.trial import valkey as vk

        if server is Server.POSTGRESQL:
            reason = pg.why_not_ready(port or POSTGRESQL_PORT, _secret("APP_PASSWORD"))
        else:
            reason = vk.why_not_ready(port or VALKEY_PORT, _secret("PASSWORD"))
    if reason is not None:
        raise CliError(f"{server} is not ready: {reason}")


def _secret(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise CliError(f"{name} is not set: give the server a password in the environment.", 2)
    return value


@contextmanager
def _sentences() -> Iterator[None]:
    from switchboard_cli.devstack import DevstackError

    try:
        yield
    except DevstackError as error:
        raise CliError(str(error)) from None
