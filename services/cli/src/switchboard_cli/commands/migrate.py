"""``switchboard migrate``: bring the database's schema to this release."""

import logging
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.options import AsJson
from switchboard_cli.output import Output
from switchboard_cli.stopping import stops_interrupt

if TYPE_CHECKING:
    from switchboard_core.migrate import MigrationReport
    from switchboard_core.settings import MigrationSettings

EXAMPLE = (
    "Example: [bold]MIGRATION_DATABASE_URL=postgresql+psycopg://owner:…@host/switchboard switchboard migrate[/bold]"
)
NOT_DONE = 1
PENDING = 3
INCOMPATIBLE = 4
"""This release and the schema cannot live together; the operator refuses a downgrade by it."""


class Phase(StrEnum):
    """When, in a rollout."""

    EXPAND = "expand"
    CONTRACT = "contract"


def migrate(
    phase: Annotated[
        Phase, typer.Option(help="expand: before a rollout. contract: once no process of the release before is left.")
    ] = Phase.EXPAND,
    check: Annotated[bool, typer.Option("--check", help="Only say what is missing; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema to this release.

    Connects as the owner (MIGRATION_DATABASE_URL), straight to PostgreSQL and not through a transaction pooler. Any
    number may be started at once: one migrates, the others find nothing left to do. The log goes to standard error.

    Exit status: 0 the schema is as it should be; 1 it could not be done, and why; 3 with --check: something is missing;
    4 this release and the schema cannot live together, and nothing was touched.
    """
    from switchboard_core.migrate import IncompatibleSchema, MigrationError, run_migrations

    settings = _settings()
    _log_to_stderr(settings)
    output = Output(as_json=as_json)
    try:
        # A pod that is taken away leaves at once, and the statement under way is rolled back.
        with stops_interrupt():
            report = run_migrations(settings, phase=phase.value, check=check)
    except MigrationError as error:
        if as_json:
            output.json({"ok": False, "phase": phase.value, "check": check, "reason": str(error)})
        raise CliError(str(error), INCOMPATIBLE if isinstance(error, IncompatibleSchema) else NOT_DONE) from None
    if as_json:
        output.json(report.model_dump(mode="json"))
    else:
        output.line(_sentence(report))
    if not report.ok:
        raise typer.Exit(PENDING)


def _settings() -> "MigrationSettings":
    from pydantic import ValidationError

    from switchboard_core.settings import MigrationSettings, describe

    try:
        return MigrationSettings()
    except ValidationError as error:
        raise CliError(
            f"Settings are wrong. {describe(error)}. `switchboard migrate` needs MIGRATION_DATABASE_URL, the URL of "
            "the database for its owner; see .env.example.",
            NOT_DONE,
        ) from None


def _log_to_stderr(settings: "MigrationSettings") -> None:
    """Keep standard output for the result; on a terminal the log is text unless LOG_FORMAT says otherwise."""
    from switchboard_core.logs import configure_logging

    for_people = sys.stderr.isatty() and "LOG_FORMAT" not in os.environ
    configure_logging(settings.log_level, "text" if for_people else settings.log_format, service="migrate")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)


def _sentence(report: "MigrationReport") -> str:
    if report.applied:
        return (
            f"Migrated ({report.phase}) from {report.from_seq} to {report.to_seq} in {report.duration_s:g} s: "
            f"{', '.join(report.applied)}."
        )
    return report.reason
