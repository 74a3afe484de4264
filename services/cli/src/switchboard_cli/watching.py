"""Showing something that goes on, until its end: live on a terminal, a line now and then elsewhere, JSON on demand."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from switchboard_cli.output import Json, Output, clean, styled

_PLAIN_EVERY_S = 5.0
_STOPPED = 130

# In the order in which a call goes through them.
COUNTED = (
    "queued",
    "dialing",
    "ringing",
    "in_progress",
    "uncertain",
    "canceling",
    "completed",
    "busy",
    "no_answer",
    "failed",
    "canceled",
    "skipped",
)
ENDED = ("completed", "busy", "no_answer", "failed", "canceled", "skipped")


@dataclass(frozen=True)
class Sight:
    """How one moment looks.

    Attributes:
        title: what is watched.
        status: its state.
        done: how many items are through.
        total: of how many; None where that is not known yet.
        detail: what else there is to say, in a line.
    """

    title: str
    status: str
    done: int
    total: int | None
    detail: Text

    @property
    def plain(self) -> str:
        """One line of text."""
        of = "?" if self.total is None else self.total
        return f"{self.title} {self.status}: {self.done}/{of}  {self.detail.plain}".rstrip()


def sight_of_task(task: Json) -> Sight:
    """How a background task looks."""
    detail = Text(f"done {task['done']}  ")
    detail.append(f"failed {task['failed']}", style="red" if task["failed"] else "")
    if task["reason"]:
        detail.append(f"  {clean(task['reason'])}")
    done = task["done"] + task["failed"]
    return Sight(f"task {task['id']} {clean(task['job_type'])}", task["status"], done, task["total"], detail)


def sight_of_run(run: Json) -> Sight:
    """How a campaign run looks: its calls by status, and how many live right now."""
    counts = run["counts"]
    active = counts["active"]
    detail = Text(f"active {active}", style="bold cyan" if active else "")
    for status in COUNTED:
        if counts[status]:
            detail.append("  ").append(styled(status)).append(f" {counts[status]}")
    why = run["reason"] or run["waiting_for"]
    if why:
        detail.append(f"  ({clean(why)})", style="dim")
    done = sum(counts[status] for status in ENDED)
    return Sight(f"run {run['id']} {clean(run['name'])}", run["status"], done, counts["total"] or None, detail)


def watch(output: Output, moments: Iterable[Json], look: Callable[[Json], Sight], *, if_stopped: str) -> Json:
    """Show every moment until the last one.

    Args:
        output: where to. With JSON, each change is one line.
        moments: at least one.
        look: how a moment looks.
        if_stopped: said on Ctrl-C, which stops the watching and nothing else.

    Returns:
        The last moment.

    Raises:
        typer.Exit: Ctrl-C was pressed.
    """
    try:
        if output.as_json:
            return _show_json(output, moments)
        return (_show_live if output.is_terminal else _show_plain)(output, moments, look)
    except KeyboardInterrupt:
        output.note(if_stopped)
        raise typer.Exit(_STOPPED) from None


def bars() -> Progress:
    """Progress bars with how many of how many, percent and time."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )


def _show_json(output: Output, moments: Iterable[Json]) -> Json:
    last: Json = {}
    for moment in moments:
        if moment != last:
            output.json_line(moment)
        last = moment
    return last


def _show_plain(output: Output, moments: Iterable[Json], look: Callable[[Json], Sight]) -> Json:
    last: Json = {}
    said, said_at = "", 0.0
    for last in moments:
        words = look(last).plain
        if words != said and time.monotonic() - said_at >= _PLAIN_EVERY_S:
            output.line(words)
            said, said_at = words, time.monotonic()
    if (words := look(last).plain) != said:
        output.line(words)
    return last


def _show_live(output: Output, moments: Iterable[Json], look: Callable[[Json], Sight]) -> Json:
    last: Json = {}
    progress = bars()
    bar = progress.add_task("", total=None)
    with Live(progress, console=output.console, refresh_per_second=4) as live:
        for last in moments:
            sight = look(last)
            progress.update(bar, description=sight.title, completed=sight.done, total=sight.total)
            live.update(Group(progress, Text.assemble(styled(sight.status), "  ", sight.detail)))
    return last
