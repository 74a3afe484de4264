"""Figures of fault runs, for people, for machines, and for docs/guarantees.md."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from faults.create import Created
from faults.flush import Flushed
from faults.judge import Spread
from faults.run import Result

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
_BEGIN = "<!-- written by `python -m faults --update-docs`: {0} -->"
_END = "<!-- end of {0} -->"


@dataclass
class Report:
    """What was run."""

    runs: list[Result] = field(default_factory=list)
    created: Created | None = None
    recovery: Spread | None = None
    flushed: Flushed | None = None

    def json(self) -> str:
        """All figures, for machines."""
        return json.dumps({"machine": machine(), **asdict(self)}, indent=2)

    def text(self) -> str:
        """All figures, for people: the tables of the page."""
        return "\n\n".join(self.sections().values())

    def sections(self) -> Mapping[str, str]:
        """The tables by name; only what was run."""
        made: dict[str, str] = {}
        if self.runs:
            made["fault runs"] = _calls_tables(self.runs)
        if self.created is not None:
            made["create calls"] = _create_tables(self.created)
        if self.recovery is not None:
            made["recovery"] = _recovery_table(self.recovery)
        if self.flushed is not None:
            made["flush"] = (
                f"Valkey emptied with {self.flushed.jobs:,} jobs queued in it, and again when half of them had run: "
                f"every job ran, each once, within {self.flushed.seconds:,.0f} s on two workers."
            )
        return made


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def update_docs(report: Report) -> None:
    """Write the tables of what was run into docs/guarantees.md, between their marks.

    Raises:
        ValueError: the page has lost its marks.
    """
    page = PAGE.read_text("utf-8")
    for name, text in report.sections().items():
        page = _replaced(page, name, f"Measured on {datetime.now(UTC).date()}: {machine()}.\n\n{text}")
    PAGE.write_text(page, encoding="utf-8")


def _replaced(page: str, name: str, text: str) -> str:
    begin, end = _BEGIN.format(name), _END.format(name)
    before, found, rest = page.partition(begin)
    _, found_too, after = rest.partition(end)
    if not found or not found_too:
        msg = f"{PAGE.name} has no block for {name}: it needs the lines {begin} and {end}"
        raise ValueError(msg)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _calls_tables(runs: Sequence[Result]) -> str:
    return "\n\n".join(
        "\n".join(rows) for rows in (_held(runs), _kinds(runs), _at_the_carrier(runs), _recoveries(runs))
    )


def _head(*titles: str) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"


def _held(runs: Sequence[Result]) -> Iterator[str]:
    """What a run came to; whatever is not in here broke the run."""
    yield from _head("", *(f"seed {run.seed}" for run in runs))
    for title, cells in (
        ("calls at the carrier", [f"{run.figures.calls:,}" for run in runs]),
        ("call jobs, all ended", [f"{run.figures.jobs:,}" for run in runs]),
        ("attempts", [f"{run.figures.attempts:,}" for run in runs]),
        ("attempts with two calls", ["0" for _ in runs]),
        ("businesses over their cap", ["0" for _ in runs]),
        ("jobs lost", ["0" for _ in runs]),
        ("counters that differ from their rows", ["0" for _ in runs]),
        ("ended as `outcome_unknown`", [f"{run.figures.unknown:,}" for run in runs]),
        ("recordings, each kept once", [f"{run.figures.recordings:,}" for run in runs]),
        ("checks of every invariant while calls went on", [f"{run.figures.looks:,}" for run in runs]),
        ("slot free after its call's end, p50 / p95 / max s", [_spread(run.figures.slots) for run in runs]),
        ("the same, outages included", [_spread(run.figures.slots_in_all) for run in runs]),
        ("duration, min", [f"{run.seconds / 60:.1f}" for run in runs]),
    ):
        yield f"| {title} | {' | '.join(cells)} |"


def _spread(spread: Spread) -> str:
    return f"{spread.p50:.1f} / {spread.p95:.1f} / {spread.max:.1f}"


def _kinds(runs: Sequence[Result]) -> Iterator[str]:
    yield from _head("faults of processes and servers", *(f"seed {run.seed}" for run in runs))
    yield from _counts([run.figures.faults for run in runs])


def _at_the_carrier(runs: Sequence[Result]) -> Iterator[str]:
    yield from _head("faults of the carrier", *(f"seed {run.seed}" for run in runs))
    yield from _counts([run.figures.carrier_faults for run in runs])


def _counts(by_run: Sequence[Mapping[str, int]]) -> Iterator[str]:
    for kind in sorted({kind for counts in by_run for kind in counts}):
        cells = [f"{counts.get(kind, 0):,}" for counts in by_run]
        yield f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |"
    yield f"| *all* | {' | '.join(f'{sum(counts.values()):,}' for counts in by_run)} |"


def _recoveries(runs: Sequence[Result]) -> Iterator[str]:
    """All runs together: a kind of fault comes a handful of times in each."""
    yield from _head("seconds until a call admitted after the fault has ended", "faults", "p50", "p95", "max")
    kinds = sorted({kind for run in runs for kind in run.figures.recovery})
    for kind in kinds:
        spread = Spread.of(second for run in runs for second in run.figures.recovery.get(kind, ()))
        yield f"| {kind} | {spread.number} | {spread.p50:.1f} | {spread.p95:.1f} | {spread.max:.1f} |"


def _create_tables(created: Created) -> str:
    return "\n\n".join("\n".join(rows) for rows in (_fates(created), _came_to(created)))


def _fates(created: Created) -> Iterator[str]:
    yield from _head("fate of a create call", "create calls", "of these, with a call at the carrier")
    for kind, (creates, placed) in created.creates.items():
        yield f"| {kind} | {creates:,} | {placed:,} |"
    yield f"| *all* | {created.number:,} | {sum(placed for _, placed in created.creates.values()):,} |"


def _came_to(created: Created) -> Iterator[str]:
    """What a run came to; whatever is zero in here would have broken it."""
    yield from _head("", f"seed {created.seed}")
    for title, cell in (
        ("attempts with two calls", "0"),
        ("numbers called more often than they were dialled", "0"),
        ("calls of attempts that count as never sent, or as unknown", "0"),
        ("requests that came to the last look a second time, each refused", f"{created.once_more:,}"),
        ("calls at the carrier", f"{created.calls:,}"),
        ("call jobs, all ended", f"{created.jobs:,}"),
        ("ended as `outcome_unknown`, and never dialled again", f"{created.unknown:,}"),
        ("duration, min", f"{created.seconds / 60:.1f}"),
    ):
        yield f"| {title} | {cell} |"


def _recovery_table(spread: Spread) -> str:
    head = "\n".join(_head("killed workers that held a claim", "p50 s", "p95 s", "p99 s", "max s"))
    row = f"| {spread.number} | {spread.p50:.1f} | {spread.p95:.1f} | {spread.p99:.1f} | {spread.max:.1f} |"
    return f"{head}\n{row}"
