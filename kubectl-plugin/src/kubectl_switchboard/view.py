"""The screen: what an on-call engineer reads from the top until the cause is clear. Pure.

Order: how it is, what to do, then the evidence. Nothing here asks the cluster or the clock.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kubectl_switchboard.advice import shorten
from kubectl_switchboard.overview import Happening, Overview, Row
from kubectl_switchboard.resource import Condition, Contract, Failure, Gate, Resource

_GOOD, _BAD, _BUSY, _QUIET = "green", "bold red", "yellow", "dim"
_INDENT = (0, 0, 0, 2)


def screen(overview: Overview, now: datetime) -> RenderableType:
    """One Switchboard.

    Args:
        overview: the facts.
        now: the time, with its zone; ages are counted from it.
    """
    resource = overview.resource
    parts: list[RenderableType] = [_headline(overview, now), _serving(resource)]
    parts += _section("What to do", _advice(overview))
    if resource.gate:
        parts += _section("Migration", _gate(resource.gate, now))
    elif resource.contract and resource.stage == "contract":
        parts += _section("Migration", _contract(resource.contract, resource))
    parts += _section("Roles", _roles(overview.rows))
    parts += _section("Conditions", _conditions(overview, now))
    if resource.last_error:
        parts += _section("Last error", _last_error(resource, now))
    if overview.events:
        parts += _section("Events", _events(overview.events, now))
    if overview.gaps:
        parts += ["", _gaps(overview)]
    return Group(*parts)


def listing(resources: Sequence[Resource], now: datetime, *, namespaces: bool) -> RenderableType:
    """Several Switchboards, a line for each.

    Args:
        resources: to list.
        now: the time.
        namespaces: show them.
    """
    table = _table()
    for name in (["NAMESPACE"] if namespaces else []) + ["NAME", "READY", "STATUS", "SERVES", "WANTED", "AGE"]:
        table.add_column(name)
    table.add_column("MESSAGE", ratio=1, overflow="fold")
    for resource in resources:
        ready = resource.condition("Ready")
        reason = ready.reason if ready and resource.is_observed else "NotObserved"
        message = ready.message.partition("\n")[0] if ready else "No operator has looked at it yet."
        made = resource.metadata.get("creationTimestamp")
        cells = [
            Text("yes", _GOOD) if resource.is_ready else Text("no", _BAD),
            Text("Paused", _BUSY) if resource.is_paused else Text(clean(reason)),
            Text(clean(resource.applied or "-")),
            Text(clean(resource.wanted)),
            Text(age(datetime.fromisoformat(made), now) if made else ""),
            Text(clean(message), _QUIET),
        ]
        table.add_row(*([Text(resource.namespace)] if namespaces else []), Text(resource.name), *cells)
    return table


def age(then: datetime | None, now: datetime) -> str:
    """How long ago, as kubectl writes it: ``45s``, ``12m``, ``3h``, ``5d``."""
    if then is None:
        return ""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length, enough in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172800)):
        if seconds < enough:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86400}d"


def clean(text: str) -> str:
    """A line without what would steer a terminal (escape sequences in a log)."""
    return "".join(char if char.isprintable() else " " for char in text)


def _headline(overview: Overview, now: datetime) -> Text:
    resource = overview.resource
    ready = resource.condition("Ready")
    since = f" for {age(ready.since, now)}" if ready and ready.since else ""
    if resource.is_ready:
        mark, words, style = "✔", "Ready", "bold green"
    elif _is_busy(overview):
        mark, words, style = "…", f"Not ready: {overview.reason}", "bold yellow"
    else:
        mark, words, style = "✘", f"Not ready: {overview.reason}", _BAD
    return Text.assemble(
        ("Switchboard ", _QUIET),
        (resource.name, "bold"),
        (f" in namespace {resource.namespace}   ", _QUIET),
        (f"{mark} {words}", style),
        (since, _QUIET),
    )


def _is_busy(overview: Overview) -> bool:
    resource = overview.resource
    degraded = resource.condition("Degraded")
    return resource.is_paused or degraded is None or degraded.status != "True"


def _serving(resource: Resource) -> Text:
    """Which release serves, and whether anybody is affected."""
    applied, wanted = resource.applied, resource.wanted
    if applied is None:
        words = f"Release {wanted} is wanted; nothing runs yet."
    elif applied == wanted:
        stage = {
            "workers": "its workers are rolled out now",
            "api": "its api is rolled out now",
            "contract": "the contract phase of its migration is due",
        }.get(resource.stage or "", "completely rolled out")
        words = f"Release {applied}: {stage}."
    else:
        words = f"Release {applied} serves; {wanted} is wanted."
    text = Text(clean(words))
    available = resource.condition("Available")
    if available and applied:
        text.append(f" {clean(available.message)}", style=_GOOD if available.status == "True" else _BAD)
    if resource.is_paused:
        text.append("  PAUSED", style="bold yellow")
    return text


def _section(title: str, body: RenderableType) -> list[RenderableType]:
    return ["", Text(title, style="bold"), Padding(body, _INDENT)]


def _advice(overview: Overview) -> RenderableType:
    advice = overview.advice
    if not advice.sentences:
        return Text("Nothing: all is as it should be.", style=_GOOD)
    commands = [Text(f"  $ {clean(command)}", style="cyan", overflow="fold") for command in advice.commands]
    return Group(*(Text(clean(sentence)) for sentence in advice.sentences), *commands)


def _gate(gate: Gate, now: datetime) -> RenderableType:
    step = {
        "check": "asking whether the database fits",
        "expand": "expand phase, before the roll-out",
    }.get(gate.step, gate.step)
    style = _BAD if gate.state in {"Failed", "Refused"} else _BUSY
    head = Text.assemble(
        f"Transition {gate.number} to release {clean(gate.version)}: {step}, ",
        (gate.state.lower(), style),
        (f", run {gate.run}, begun {age(gate.started_at, now)} ago", _QUIET),
    )
    parts: list[RenderableType] = [head, *_failure(gate.failure)]
    if gate.retry_at:
        seconds = int((gate.retry_at - now).total_seconds())
        parts.append(Text(f"Asked again by itself {f'in {seconds}s' if seconds > 0 else 'now'}.", style=_QUIET))
    return Group(*parts)


def _contract(contract: Contract, resource: Resource) -> RenderableType:
    style = _BAD if contract.state == "Failed" else _BUSY
    words = f"Contract phase of release {clean(resource.applied or '')}, after the last pod of the release before: "
    head = Text.assemble(words, (contract.state.lower(), style), (f", run {contract.run}", _QUIET))
    return Group(head, *_failure(contract.failure))


def _failure(failure: Failure | None) -> list[RenderableType]:
    if failure is None:
        return []
    code = f", exit code {failure.exit_code}" if failure.exit_code is not None else ""
    parts: list[RenderableType] = [Text(f"Attempt {failure.attempt} of {failure.max_attempts} failed{code}.")]
    # The command for the whole log is the first thing to do, and stands above.
    parts += [Text(f"│ {clean(line)}", style="red") for line in failure.message.splitlines()]
    return parts


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style=_QUIET)


def _roles(rows: Sequence[Row]) -> Table:
    table = _table()
    for name in ("ROLE", "POOL"):
        table.add_column(name)
    work = any(row.runnable is not None for row in rows)
    for name in ("READY", "REPLICAS", *(["RUNNABLE"] if work else []), "RESTARTS"):
        table.add_column(name, justify="right")
    table.add_column("RELEASE")
    table.add_column("QUEUES", overflow="fold")
    for row in rows:
        ready = "-" if row.wanted is None else f"{row.ready}/{row.wanted}"
        table.add_row(
            row.role,
            clean(row.pool),
            Text(ready, _GOOD if row.is_complete else _BAD if row.ready == 0 else _BUSY),
            _limits(row),
            *(["" if row.runnable is None else str(row.runnable)] if work else []),
            Text(str(row.restarts), _BUSY if row.restarts else _QUIET),
            _version(row),
            Text(", ".join(row.queues), _QUIET),
        )
    return table


def _version(row: Row) -> Text:
    text = Text(clean(row.version) or "-")
    if row.old:
        text.append(f" ({row.old} old)", style=_BUSY)
    return text


def _limits(row: Row) -> Text:
    if row.low is None:
        return Text("leaving", _BUSY)
    return Text(str(row.low) if row.low == row.high else f"{row.low}-{row.high}")


def _conditions(overview: Overview, now: datetime) -> RenderableType:
    resource = overview.resource
    if not resource.conditions:
        return Text("None yet.", style=_QUIET)
    table = _table()
    for name in ("TYPE", "STATUS", "REASON", "SINCE"):
        table.add_column(name)
    table.add_column("MESSAGE", overflow="fold")
    gate, contract = resource.gate, resource.contract
    failures = (gate.failure if gate else None, contract.failure if contract else None)
    for condition in resource.conditions:
        message = shorten(condition.message, failures).partition("\n")[0]
        if any(message in sentence for sentence in overview.advice.sentences):
            message = "see above"
        since = age(condition.since, now)
        table.add_row(condition.type, _status(condition), clean(condition.reason), since, Text(clean(message), _QUIET))
    return table


def _status(condition: Condition) -> Text:
    """True or False, in a colour that says whether that is good."""
    is_true = condition.status == "True"
    if condition.status == "Unknown" or (condition.type == "Progressing" and is_true):
        return Text(condition.status, _BUSY)
    if condition.type == "Progressing":
        return Text(condition.status, _QUIET)
    return Text(condition.status, _GOOD if is_true != (condition.type == "Degraded") else _BAD)


def _last_error(resource: Resource, now: datetime) -> RenderableType:
    error, degraded = resource.last_error, resource.condition("Degraded")
    if error is None:
        return Text()
    is_present = degraded is not None and degraded.status == "True" and degraded.message == error.message
    told = " (still so, see above)" if is_present else " (over)"
    head = Text.assemble((clean(error.reason), "bold"), (f", {age(error.at, now)} ago{told}", _QUIET))
    if is_present:
        return head
    return Group(head, *(Text(clean(line), _QUIET) for line in error.message.splitlines()))


def _events(events: Iterable[Happening], now: datetime) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for event in events:
        times = f" ({event.count} times)" if event.count > 1 else ""
        about = f"{clean(event.about)}: " if event.about else ""
        table.add_row(
            Text(age(event.at, now), _QUIET),
            Text("!" if event.warning else "·", _BUSY if event.warning else _QUIET),
            Text(clean(event.reason), _BUSY if event.warning else ""),
            Text(f"{about}{clean(event.message.partition(chr(10))[0])}{times}", _QUIET),
        )
    return table


def _gaps(overview: Overview) -> Text:
    return Text(clean(f"Not shown: {'; '.join(gap.words for gap in overview.gaps)}."), style=_QUIET)
