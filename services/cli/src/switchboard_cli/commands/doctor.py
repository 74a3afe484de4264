"""``switchboard doctor``: the invariants of a live installation, looked at and, where asked for, mended."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from switchboard_cli.options import AsJson
from switchboard_cli.output import Output
from switchboard_cli.runtime import database_troubles, runtime_of_environment

if TYPE_CHECKING:
    from switchboard_core.doctor.examine import Diagnosis, Scope
    from switchboard_core.doctor.rules import Finding
    from switchboard_core.runtime import Runtime

EXAMPLE = "Example: [bold]switchboard doctor --json[/bold]"
_FOUND = 1
_COULD_NOT_LOOK = 2


def doctor(
    business: Annotated[int | None, typer.Option(help="Look at this business only. Default: all.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Look at open runs and at those that ended so recently.")] = 7,
    carrier: Annotated[bool, typer.Option(help="Hold the slots against the calls that live at the carrier.")] = True,
    within: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that a breach must last to count. Default: what the sweep needs to heal it."),
    ] = None,
    mend: Annotated[bool, typer.Option("--repair", help="Mend what is found, after a yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Mend without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that rows, queues, slots and the carrier's calls agree. Reads only, unless --repair is given.

    Works beside a live system with the environment of a worker (DATABASE_URL, REDIS_URL, TWILIO_…). A breach counts
    only if it is still there at a second look.

    Exit status: 0 nothing is wrong; 1 something is, also after a repair; 2 it could not look everywhere.
    """
    from switchboard_core.doctor.examine import Scope

    output = Output(as_json=as_json)
    scope = Scope(business, days, carrier)
    with runtime_of_environment("switchboard-doctor") as runtime, database_troubles(_COULD_NOT_LOOK):
        status = _doctor(runtime, output, scope, within, mend=mend, yes=yes)
    if status:
        raise typer.Exit(status)


def _doctor(
    runtime: "Runtime", output: Output, scope: "Scope", within_s: float | None, *, mend: bool, yes: bool
) -> int:
    from switchboard_core.doctor.examine import examine
    from switchboard_core.doctor.repair import curable

    diagnosis = examine(runtime, scope, within_s=within_s)
    repaired: list[dict[str, Any]] = []
    if mend and (found := curable(diagnosis.findings)):
        if not output.as_json:
            _show(output, diagnosis)
        _announce(output, found)
        if not yes and not typer.confirm("Mend these?", err=True):
            return _FOUND
        repaired = [_mend(runtime, output, finding) for finding in found]
        diagnosis = examine(runtime, scope, within_s=within_s)
    _show(output, diagnosis, repaired)
    if diagnosis.findings:
        return _FOUND
    return _COULD_NOT_LOOK if diagnosis.unasked else 0


def _announce(output: Output, found: "list[Finding]") -> None:
    from switchboard_core.doctor.rules import WORDS

    for finding in found:
        output.note(f"{finding.rule}, {finding.subject} ({_whose(finding)}): {WORDS[finding.rule].cure}")


def _mend(runtime: "Runtime", output: Output, finding: "Finding") -> dict[str, Any]:
    from switchboard_core.calls.carrier import CarrierUnavailableError
    from switchboard_core.doctor.repair import repair

    try:
        done = repair(runtime, finding)
    except CarrierUnavailableError:
        done = "not mended: the carrier does not answer"
    output.note(f"{finding.rule}, {finding.subject} ({_whose(finding)}): {done}")
    return {"rule": finding.rule.value, "business": finding.business_id or None, "row": finding.subject, "done": done}


def _show(output: Output, diagnosis: "Diagnosis", repaired: list[dict[str, Any]] | None = None) -> None:
    from switchboard_core.doctor.rules import WORDS

    rows = [
        {
            "rule": finding.rule.value,
            "business": finding.business_id or None,
            "row": finding.subject,
            "detail": finding.detail,
            "means": WORDS[finding.rule].means,
            "advice": WORDS[finding.rule].advice or None,
        }
        for finding in diagnosis.findings
    ]
    if output.as_json:
        output.json(
            {
                "ok": not rows and not diagnosis.unasked,
                "businesses": diagnosis.businesses,
                "findings": rows,
                "repaired": repaired or [],
                "not_asked": list(diagnosis.unasked),
            }
        )
        return
    if rows:
        columns = ("rule", "business", "row", "detail", "means")
        output.table(columns, [tuple(row[name] for name in columns) for row in rows])
        for advice in dict.fromkeys(row["advice"] for row in rows if row["advice"]):
            output.note(str(advice))
    elif not diagnosis.unasked:
        output.line(f"Nothing is wrong with {diagnosis.businesses} businesses.")
    for server in diagnosis.unasked:
        output.warn(f"{server} does not answer, so what depends on it was not looked at.")


def _whose(finding: "Finding") -> str:
    return f"business {finding.business_id}" if finding.business_id else "all"
