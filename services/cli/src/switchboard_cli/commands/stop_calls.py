"""``switchboard stop-calls``: pause every run at once, with nothing but the database at hand."""

from typing import Annotated

import typer

from switchboard_cli.commands.business import check_business
from switchboard_cli.options import AsJson
from switchboard_cli.output import Output
from switchboard_cli.runtime import database_of_environment, database_troubles

EXAMPLE = "Example: [bold]switchboard stop-calls[/bold]"


def stop_calls(
    business: Annotated[int | None, typer.Option(help="Of this business only. Default: of all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pause every run of every business: from then on no call is begun.

    Works on the database (DATABASE_URL), also with every service dead. Calls that live go on to their end. Runs that
    are started afterwards are not stopped by it; each business resumes its runs itself.
    """
    from switchboard_core.calls import stop_calls as core

    whose = "every business" if business is None else f"business {business}"
    if not yes and not typer.confirm(f"Pause every run of {whose}?", err=True):
        raise typer.Exit(1)
    with database_of_environment() as database, database_troubles():
        if business is not None:
            check_business(database, business)
        paused = core.stop_calls(database, business)
    output = Output(as_json=as_json)
    if as_json:
        output.json({"paused": [{"business": each, "run": run} for each, run in paused]})
        return
    output.record({"runs paused": len(paused)})
    for each, run in paused:
        output.note(f"paused: run {run} of business {each}; resume it with `switchboard run resume {run}`")
