"""The command ``switchboard``."""

import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from switchboard_cli.commands import (
    broadcasts,
    business,
    credentials,
    demo,
    doctor,
    leads,
    ledger,
    mailbox,
    migrate,
    openapi,
    receipts,
    reconcile,
    recordings,
    runs,
    serve,
    stop_calls,
    tasks,
    trial,
)
from switchboard_cli.errors import CliError
from switchboard_cli.output import Output

_INTERRUPTED = 130


class _Sentences(TyperGroup):
    """Turns every failure that was foreseen into its sentence and exit status."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context of the Click that Typer contains
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            Output().warn(str(error))
            raise typer.Exit(error.status) from None
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"switchboard {metadata.version('switchboard-cli')}\n")
        raise typer.Exit


app = typer.Typer(
    cls=_Sentences,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # they may hold keys and phone numbers
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Outbound call campaigns, their recordings, and the background work around them.",
    epilog="Begin with [bold]switchboard demo[/bold]. Commands talk to the api that --url and --api-key (or "
    "SWITCHBOARD_URL and SWITCHBOARD_API_KEY) name.",
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options of ``switchboard`` itself; Typer shows the application's own help."""


app.command("demo", epilog=demo.EXAMPLE)(demo.run_demo)
app.command("migrate", epilog=migrate.EXAMPLE)(migrate.migrate)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("reconcile", epilog=reconcile.EXAMPLE)(reconcile.reconcile)
app.command("stop-calls", epilog=stop_calls.EXAMPLE)(stop_calls.stop_calls)
app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.command("openapi", epilog=openapi.EXAMPLE)(openapi.write_openapi)
app.add_typer(business.app, name="business")
app.add_typer(leads.app, name="leads")
app.add_typer(runs.app, name="run")
app.add_typer(tasks.app, name="tasks")
app.add_typer(recordings.app, name="recordings")
app.add_typer(receipts.app, name="receipts")
app.add_typer(mailbox.app, name="mailbox")
app.add_typer(ledger.app, name="ledger")
app.add_typer(broadcasts.app, name="broadcasts")
app.add_typer(credentials.app, name="credentials")
app.add_typer(trial.app, name="trial")
