"""The command ``kubectl switchboard``: kubectl finds ``kubectl-switchboard`` on the PATH."""

import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kubectl_switchboard import pause, report, retry, status
from kubectl_switchboard.errors import PluginError
from kubectl_switchboard.output import Output

PROGRAM = "kubectl switchboard"
_INTERRUPTED = 130


class _Sentences(TyperGroup):
    """Turns every failure that was foreseen into its sentence and exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context of the Click that Typer contains
        """Run the command."""
        try:
            return super().invoke(ctx)
        except PluginError as error:
            Output().error(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


commands = typer.Typer(
    cls=_Sentences,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # they may hold tokens
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How a Switchboard is, what to do about it, and the few things that are done by hand.",
    epilog="Begin with [bold]kubectl switchboard status[/bold]. Exit code: 0 when all is well, 1 when it is not or a "
    "command failed, 2 for wrong options.",
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        sys.stdout.write(f"{PROGRAM} {metadata.version('kubectl-switchboard')}\n")
        raise typer.Exit


@commands.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options of the program itself; Typer shows the application's own help."""


commands.command("status")(status.status)
commands.command("pause")(pause.pause)
commands.command("resume")(pause.resume)
commands.command("retry")(retry.retry)
commands.command("report")(report.report)


def app() -> None:
    """Run it under the name that people type."""
    commands(prog_name=PROGRAM)
