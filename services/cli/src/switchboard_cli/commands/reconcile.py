"""``switchboard reconcile``: after a restore, write the carrier's calls into the rows before anybody is called."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from switchboard_cli.errors import CliError
from switchboard_cli.options import AsJson
from switchboard_cli.output import Output
from switchboard_cli.runtime import database_troubles, runtime_of_environment

if TYPE_CHECKING:
    from switchboard_core.calls.reconcile import Reconciled

EXAMPLE = "Example: [bold]switchboard reconcile --since 2026-01-26T11:05:00Z[/bold]"


def reconcile(
    since: Annotated[str, typer.Option(help="The moment of the backup, or earlier: 2026-01-26T11:05:00Z.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """After a restore: pause every run, and take out who was called since the backup.

    Run it before anything starts. It asks the carrier for all its calls since that moment, settles what the backup
    holds as open, and marks the waiting calls to every number that was called as skipped, so that nobody is called
    again. Runs stay paused. Run it as often as you like.
    """
    from switchboard_core.calls import reconcile as core
    from switchboard_core.calls.carrier import CarrierUnavailableError

    moment = _moment(since)
    output = Output(as_json=as_json)
    if not yes and not typer.confirm("Pause every run of every business and reconcile it with the carrier?", err=True):
        raise typer.Exit(1)
    with runtime_of_environment("switchboard-reconcile") as runtime, database_troubles():
        try:
            report = core.reconcile(runtime, moment)
        except CarrierUnavailableError as error:
            raise CliError(
                f"The carrier does not answer ({error}). Every run is paused; run this again before any is resumed."
            ) from None
    _show(output, report)


def _moment(words: str) -> datetime:
    try:
        moment = datetime.fromisoformat(words)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CliError(f"--since {words!r} is no moment with a time zone: write it as 2026-01-26T11:05:00Z.", 2)
    return moment


def _show(output: Output, report: "Reconciled") -> None:
    if output.as_json:
        found = asdict(report)
        found["paused"] = [{"business": business, "run": run} for business, run in report.paused]
        found["senders"] = [{"business": business, "task": task} for business, task in report.senders]
        output.json(found)
        return
    output.record(
        {
            "runs paused": len(report.paused),
            "calls at the carrier since": report.calls,
            "open calls settled": report.settled,
            "waiting calls skipped": report.skipped,
        }
    )
    for business, run in report.paused:
        output.note(f"paused: run {run} of business {business}; resume it with `switchboard run resume {run}`")
    for run in report.unexpanded:
        output.warn(f"The leads of run {run} could not be listed. Reconcile again before it is resumed.")
    if report.live:
        output.warn(f"{report.live} calls go on of which no row knows. They end by themselves, outside every cap.")
    for business, task in report.senders:
        output.warn(f"Task {task} of business {business} may send messages again that were sent since: cancel it.")
