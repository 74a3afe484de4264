"""Measures, and writes docs/benchmarks.md: ``make bench``, or ``make bench ARGS=--quick`` to see that it works.

Figures beyond what is to be held are written too; then the command names them and exits with 1. With ``--quick`` it
only names them: so little work says little about speed.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_import
import bench_limits
import bench_worker
import fairness
import fairness_calls
import fan_out
import leads_bulk
import ledger_sync
import operator_scale
import scale_report
import texts
import transcript_search
import webhooks
from bench_limits import at_least, at_most

from cluster.errors import ClusterError
from switchboard_core.ledger.cursors import PAGE_LIMIT
from switchboard_worker.tasks.entry import BUDGET_WHILE_OTHERS_WAIT_S

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PEER = "rq SimpleWorker"
QUICK_SWITCHBOARDS = 20
QUICK_STEADY_S = 20.0


@dataclass(frozen=True)
class Measured:
    """What a section found.

    Attributes:
        text: for the page.
        broken: a line for each figure that is not what is to be held.
    """

    text: str
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A section of the page: its heading, and what measures it."""

    heading: str
    measure: Callable[[argparse.Namespace], Measured]


def main() -> None:
    """Run benchmarks and write the page; sections that were not measured stay as they are."""
    options = _options()
    chosen = [options.only] if options.only else list(SECTIONS)
    if "operator-scale" in chosen and sys.platform != "linux":
        sys.exit("The operator at scale is measured on Linux only: choose other sections with --only.")
    written = _sections_of(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    broken: list[str] = []
    unmeasured: list[str] = []
    for heading, measure in ((SECTIONS[name].heading, SECTIONS[name].measure) for name in chosen):
        _say(f"{heading} …")
        try:
            found = measure(options)
        except ClusterError as error:
            sys.exit(str(error))
        except TimeoutError as error:
            unmeasured.append(f"NOT MEASURED  {heading}: {error}")
            continue
        written[heading] = f"Measured on {datetime.now(UTC).date()}: {_machine()}.\n\n{found.text}"
        broken += [f"NOT HELD  {heading}: {line}" for line in found.broken]
    order = [section.heading for section in SECTIONS.values()]
    page = "\n".join([texts.HEAD, *(f"## {heading}\n\n{written[heading]}" for heading in order if heading in written)])
    if options.quick:
        _say(page)
    else:
        PAGE.write_text(page, encoding="utf-8")
        _say(f"written: {PAGE}")
    for line in [*unmeasured, *broken]:
        _say(line)
    if unmeasured or (broken and not options.quick):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a fraction of the work; writes nothing, holds to no limit"
    )
    parser.add_argument("--only", choices=list(SECTIONS), help="measure this section alone")
    parser.add_argument(
        "--switchboards", type=int, default=operator_scale.SWITCHBOARDS, help="how many for operator-scale"
    )
    options = parser.parse_args()
    if options.switchboards < 1:
        parser.error("--switchboards must be at least 1")
    return options


def _sections_of(page: str) -> dict[str, str]:
    """Texts by heading."""
    parts = (part.partition("\n") for part in page.split("\n## ")[1:])
    return {heading: text.strip("\n") + "\n" for heading, _, text in parts}


def _worker(options: argparse.Namespace) -> Measured:
    workers = bench_worker.run(quick=options.quick)
    return Measured(texts.WORKER.format(peer=PEER, rows="\n".join(_worker_rows(workers))))


def _import(options: argparse.Namespace) -> Measured:
    number = 5_000 if options.quick else 100_000
    return Measured(texts.IMPORT.format(number=number, rows="\n".join(_import_rows(bench_import.run(number)))))


def _leads_bulk(options: argparse.Namespace) -> Measured:
    number = 5_000 if options.quick else 100_000
    rows = [
        f"| {what} | {bulk.task_s:.2f} | {number / bulk.task_s:,.0f} | {bulk.raw_s:.2f} "
        f"| {bulk.task_s / bulk.raw_s:.1f} | {bulk.slices} |"
        for what, bulk in leads_bulk.run(number).items()
    ]
    return Measured(texts.LEADS_BULK.format(number=number, rows="\n".join(rows)))


def _fan_out(options: argparse.Namespace) -> Measured:
    sockets, seconds = (100, 3.0) if options.quick else (1000, 20.0)
    found = fan_out.run(sockets, seconds)
    rows = [f"| {name} | {lag.p50_ms:.0f} | {lag.p95_ms:.0f} | {lag.max_ms:.0f} |" for name, lag in found.items()]
    limit = bench_limits.FAN_OUT_MS
    broken = [line for name, lag in found.items() for line in at_most(f"p95, {name},", lag.p95_ms, limit, " ms")]
    return Measured(texts.FAN_OUT.format(sockets=sockets, limit_ms=limit, rows="\n".join(rows)), broken)


def _ledger(options: argparse.Namespace) -> Measured:
    figures = ledger_sync.run(5_000 if options.quick else 100_000)
    number, limit = int(figures["documents"]), bench_limits.LEDGER_RATIO
    rows, broken = [], []
    for name, what in (("new", "all new"), ("again", "all known, each in a newer version")):
        raw_s, sync_s = figures[f"raw_{name}_s"], figures[f"{name}_s"]
        rows.append(f"| {what} | {raw_s:.2f} | {sync_s:.2f} | {number / sync_s:,.0f} | {sync_s / raw_s:.1f} |")
        broken += at_most(f"the sync, {what},", sync_s / raw_s, limit, " times the raw statements")
    text = texts.LEDGER.format(
        number=number,
        counterparties=ledger_sync.COUNTERPARTIES,
        runs=ledger_sync.RUNS,
        page=PAGE_LIMIT,
        limit=limit,
        rows="\n".join(rows),
    )
    return Measured(text, broken)


def _operator_scale(options: argparse.Namespace) -> Measured:
    if options.quick:
        report = operator_scale.run(QUICK_SWITCHBOARDS, _say, steady_s=QUICK_STEADY_S)
    else:
        report = operator_scale.run(options.switchboards, _say)
    broken = at_most("the number of writes at rest", len(report.steady.writes), 0)
    return Measured(scale_report.section(report), broken)


def _transcript_search(options: argparse.Namespace) -> Measured:
    calls, queries = (5_000, 20) if options.quick else (100_000, 250)
    found, limit = transcript_search.run(calls, queries), bench_limits.SEARCH_MS
    rows = [f"| {one.kind} | {one.queries} | {one.p50:.0f} | {one.p95:.0f} | {one.worst:.0f} |" for one in found]
    text = texts.TRANSCRIPT_SEARCH.format(calls=calls, others=calls // 5, limit_ms=limit, rows="\n".join(rows))
    every = next(one for one in found if one.kind == transcript_search.EVERY)
    return Measured(text, at_most("p95 of all queries", every.p95, limit, " ms"))


def _fairness(options: argparse.Namespace) -> Measured:
    quick = fairness.Size(businesses=20, backlog=5_000, arrivals=40, contended_s=15.0)
    size = quick if options.quick else fairness.Size()
    found = fairness.run(size)
    # The slice as the job is told it: what the kernel adds to it is not to make the limit larger.
    limit = found.idle_p95 + 1000 * size.slice_s
    text = texts.FAIRNESS.format(
        businesses=size.businesses,
        backlog=size.backlog,
        slice_ms=1000 * size.slice_s,
        contended=size.contended_s,
        jain_limit=bench_limits.JAIN,
        limit=limit,
        found=found,
    )
    broken = at_most("p95 of the start delay beside the backlog", found.beside_p95, limit, " ms")
    return Measured(text, broken + at_least("the Jain index", found.jain, bench_limits.JAIN))


def _fairness_calls(options: argparse.Namespace) -> Measured:
    quick = fairness_calls.Size(businesses=5, leads=2_000, arrivals=20, contended_s=15.0)
    size = quick if options.quick else fairness_calls.Size()
    found = fairness_calls.run(size)
    slice_ms, turns_ms = 1000 * BUDGET_WHILE_OTHERS_WAIT_S, 2000 / size.rate
    limit = found.idle_p95 + slice_ms + turns_ms
    text = texts.FAIRNESS_CALLS.format(
        size=size, slice_ms=slice_ms, turns_ms=turns_ms, jain_limit=bench_limits.JAIN, limit=limit, found=found
    )
    broken = at_most("p95 of the start delay beside the long run", found.beside_p95, limit, " ms")
    return Measured(text, broken + at_least("the Jain index", found.jain, bench_limits.JAIN))


def _webhooks(options: argparse.Namespace) -> Measured:
    rates, seconds, warm_up_s = ((50.0,), 8.0, 3.0) if options.quick else ((100.0, 500.0), 60.0, 10.0)
    found = {rate: webhooks.run(rate, seconds, warm_up_s) for rate in rates}
    limit = bench_limits.WEBHOOKS_MS
    rows, broken = [], []
    for rate, one in found.items():
        rows.append(
            f"| {rate:.0f} | {one.number:,} | {one.p50:.0f} | {one.p95:.0f} | {one.p99:.0f} | {one.most:.0f} "
            f"| {one.cpu:.1f} | {one.lost} |"
        )
        broken += at_most(f"p99 at {rate:.0f}/s", one.p99, limit, " ms")
        broken += at_most(f"the number of lost callbacks at {rate:.0f}/s", one.lost, 0)
    text = texts.WEBHOOKS.format(apis=webhooks.APIS, warm_up=warm_up_s, limit_ms=limit, rows="\n".join(rows))
    return Measured(text, broken)


SECTIONS = {
    "worker": Section("Worker", _worker),
    "import": Section("Import of leads", _import),
    "leads-bulk": Section("Bulk tasks of leads", _leads_bulk),
    "fairness": Section("Fairness between businesses", _fairness),
    "fairness-calls": Section("Fairness of calls", _fairness_calls),
    "webhooks": Section("Webhooks", _webhooks),
    "fan-out": Section("Live progress", _fan_out),
    "transcript-search": Section("Search in transcripts", _transcript_search),
    "ledger": Section("Ledger sync", _ledger),
    "operator-scale": Section("Operator at scale", _operator_scale),
}


def _worker_rows(workers: dict[str, dict[str, Any]]) -> list[str]:
    peer = workers[PEER]["jobs_per_s"]
    return [
        f"| {name} | {row['jobs_per_s']:.0f} | {row['jobs_per_s'] / peer:.2f} | {row['pickup_p50_ms']} "
        f"| {row['pickup_p99_ms']} |"
        for name, row in workers.items()
    ]


def _import_rows(figures: dict[str, float]) -> list[str]:
    rows, copy_s = figures["rows"], figures["copy_indexed_s"]
    measured = {
        "raw COPY, no index": figures["copy_unindexed_s"],
        "raw COPY, the indexes of leads": copy_s,
        "CSV import, all new": figures["import_s"],
        "CSV import, all known": figures["import_again_s"],
    }
    return [f"| {name} | {s:.2f} | {rows / s:,.0f} | {s / copy_s:.1f} |" for name, s in measured.items()]


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
