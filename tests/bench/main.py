"""Measures, and writes docs/benchmarks.md: ``make bench``, or ``make bench ARGS=--quick`` to see that it works."""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_import
import bench_worker
import fairness
import fan_out
import leads_bulk
import ledger_sync
import operator_scale
import scale_report
import transcript_search
import webhooks

from cluster.errors import ClusterError
from switchboard_core.ledger.cursors import PAGE_LIMIT

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PEER = "rq SimpleWorker"
QUICK_SWITCHBOARDS = 20
QUICK_STEADY_S = 20.0
FAN_OUT_LIMIT_MS = 250
SEARCH_LIMIT_MS = 100
WEBHOOKS_LIMIT_MS = 50
JAIN_LIMIT = 0.95

HEAD = """# Benchmarks

Written by `make bench`; `make bench ARGS="--only NAME"` measures one section again. Figures of one run on one machine:
the ratios travel, the absolute numbers do not.
"""

WORKER = """Two worker processes an engine, PostgreSQL with fsync on and Valkey on loopback. *Durable*: the body of the
job does one transaction in PostgreSQL. *Pick-up*: from the enqueue until the body has run, workers idle. Our
*background jobs* do more than the others: a fenced claim in one transaction, the job's change, its counters and its end
in a second one, so that a killed worker loses and doubles nothing; the others' ordinary jobs promise neither.

| engine | durable jobs/s | x {peer} | pick-up p50 ms | pick-up p99 ms |
|---|---|---|---|---|
{rows}
"""

IMPORT = """A CSV of {number:,} leads beside a raw `COPY` of the same rows, already parsed and validated, on the same
server.

| what | seconds | rows/s | x COPY |
|---|---|---|---|
{rows}
"""


LEADS_BULK = """Bulk tasks over {number:,} leads beside one raw `UPDATE` of as many rows, as the tables' owner. The task
commits every slice with its progress, so that it can be cancelled and survives any kill, under row-level security, with
a savepoint for every hundred leads. *Restore* is the undo of the delete.

| task | seconds | leads/s | raw UPDATE, seconds | x raw UPDATE | slices |
|---|---|---|---|---|---|
{rows}
"""

FAN_OUT = """Progress of tasks to {sockets:,} WebSockets of one api process, on loopback: from the commit of a change
until a socket has shown it, or a newer one. To be held: p95 within {limit_ms} ms.

| scene | p50 ms | p95 ms | max ms |
|---|---|---|---|
{rows}
"""


LEDGER = """{number:,} transactions with {counterparties:,} counterparties, in turns on one server; the best of {runs}
rounds of each. *Raw*: finished rows, one `COPY` into a temporary table and one `INSERT … ON CONFLICT` from there into
the table with its indexes and foreign keys, in one transaction. *Sync*: the same documents as pages of {page} in JSON
over HTTP from another process, each one checked, through the job kernel (claims, savepoints, counters, cursors); it
leaves the same rows.

| what | raw s | sync s | documents/s | x raw |
|---|---|---|---|---|
{rows}
"""


TRANSCRIPT_SEARCH = """Search in the transcripts of {calls:,} calls of one business, beside {others:,} of another, with
the application's role under row-level security: one query at a time, from its transaction's first statement to the last
row of the first page. To be held: p95 of all of them within {limit_ms} ms. A frequent word is in thousands of calls.

| queries | number | p50 ms | p95 ms | max ms |
|---|---|---|---|---|
{rows}
"""


FAIRNESS = """{businesses} businesses and two worker processes; one business has a backlog of {backlog:,} separate jobs,
each one slice of {slice_ms:.0f} ms of work. *Start delay*: from the enqueue of a single job of another business until
its slice begins. To be held: p95 within that of idle workers and one slice; Jain index of finished jobs by business
within {contended:.0f} s in which everybody has a backlog at least {jain_limit}.

| others' start delay | p50 ms | p95 ms |
|---|---|---|
| workers idle | {found.idle_p50:.0f} | {found.idle_p95:.0f} |
| beside the backlog | {found.beside_p50:.0f} | {found.beside_p95:.0f} |

From one slice of a worker to its next: {found.slice_p50:.0f} ms, so the limit was {limit:.0f} ms. Jain index:
{found.jain:.4f}; the businesses finished {found.least} to {found.most} jobs each.
"""

WEBHOOKS = """Signed status callbacks at a fixed rate from a process of its own, four for each call and all kinds mixed.
They go to {apis} replicas of the api on loopback, as many as an installation has by default, after a warm-up of
{warm_up:.0f} s; everything shares the machine's cores. Each is applied before it is acknowledged: the call's state, its
slot, the run's counters. The time counts from the moment at which a callback was due: a stall is charged for all it
holds up. *Lost*: not acknowledged with success, or not in the database afterwards. To be held at 500/s: p99 within
{limit_ms} ms, none lost.

| callbacks/s | number | p50 ms | p95 ms | p99 ms | max ms | CPU of the api, ms each | lost |
|---|---|---|---|---|---|---|---|
{rows}

One replica alone keeps up with 500/s, but at a p99 of some hundred milliseconds: it is one process that is busy nearly
all the time.
"""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        heading: of it.
        measure: measures, and returns its text.
    """

    heading: str
    measure: Callable[[argparse.Namespace], str]


def main() -> None:
    """Run benchmarks and write the page; sections that were not measured stay as they are."""
    options = _options()
    chosen = [options.only] if options.only else list(SECTIONS)
    if "operator-scale" in chosen and sys.platform != "linux":
        sys.exit("The operator at scale is measured on Linux only: choose other sections with --only.")
    written = _sections_of(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    for name in chosen:
        section = SECTIONS[name]
        _say(f"{section.heading} …")
        try:
            text = section.measure(options)
        except ClusterError as error:
            sys.exit(str(error))
        written[section.heading] = f"Measured on {datetime.now(UTC).date()}: {_machine()}.\n\n{text}"
    order = [section.heading for section in SECTIONS.values()]
    page = "\n".join([HEAD, *(f"## {heading}\n\n{written[heading]}" for heading in order if heading in written)])
    if options.quick:
        _say(page)
    else:
        PAGE.write_text(page, encoding="utf-8")
        _say(f"written: {PAGE}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fraction of the work; writes nothing")
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


def _worker(options: argparse.Namespace) -> str:
    workers = bench_worker.run(quick=options.quick)
    return WORKER.format(peer=PEER, rows="\n".join(_worker_rows(workers)))


def _import(options: argparse.Namespace) -> str:
    number = 5_000 if options.quick else 100_000
    return IMPORT.format(number=number, rows="\n".join(_import_rows(bench_import.run(number))))


def _leads_bulk(options: argparse.Namespace) -> str:
    number = 5_000 if options.quick else 100_000
    rows = [
        f"| {what} | {bulk.task_s:.2f} | {number / bulk.task_s:,.0f} | {bulk.raw_s:.2f} "
        f"| {bulk.task_s / bulk.raw_s:.1f} | {bulk.slices} |"
        for what, bulk in leads_bulk.run(number).items()
    ]
    return LEADS_BULK.format(number=number, rows="\n".join(rows))


def _fan_out(options: argparse.Namespace) -> str:
    sockets, seconds = (100, 3.0) if options.quick else (1000, 20.0)
    rows = [
        f"| {name} | {lag.p50_ms:.0f} | {lag.p95_ms:.0f} | {lag.max_ms:.0f} |"
        for name, lag in fan_out.run(sockets, seconds).items()
    ]
    return FAN_OUT.format(sockets=sockets, limit_ms=FAN_OUT_LIMIT_MS, rows="\n".join(rows))


def _ledger(options: argparse.Namespace) -> str:
    figures = ledger_sync.run(5_000 if options.quick else 100_000)
    number = int(figures["documents"])
    rows = [
        f"| {what} | {figures[f'raw_{name}_s']:.2f} | {figures[f'{name}_s']:.2f} "
        f"| {number / figures[f'{name}_s']:,.0f} | {figures[f'{name}_s'] / figures[f'raw_{name}_s']:.1f} |"
        for name, what in (("new", "all new"), ("again", "all known, each in a newer version"))
    ]
    return LEDGER.format(
        number=number,
        counterparties=ledger_sync.COUNTERPARTIES,
        runs=ledger_sync.RUNS,
        page=PAGE_LIMIT,
        rows="\n".join(rows),
    )


def _operator_scale(options: argparse.Namespace) -> str:
    if options.quick:
        report = operator_scale.run(QUICK_SWITCHBOARDS, _say, steady_s=QUICK_STEADY_S)
    else:
        report = operator_scale.run(options.switchboards, _say)
    return scale_report.section(report)


def _transcript_search(options: argparse.Namespace) -> str:
    calls, queries = (5_000, 20) if options.quick else (100_000, 250)
    rows = [
        f"| {timing.kind} | {timing.queries} | {timing.p50:.0f} | {timing.p95:.0f} | {timing.worst:.0f} |"
        for timing in transcript_search.run(calls, queries)
    ]
    return TRANSCRIPT_SEARCH.format(calls=calls, others=calls // 5, limit_ms=SEARCH_LIMIT_MS, rows="\n".join(rows))


def _fairness(options: argparse.Namespace) -> str:
    quick = fairness.Size(businesses=20, backlog=5_000, arrivals=40, contended_s=15.0)
    size = quick if options.quick else fairness.Size()
    found = fairness.run(size)
    return FAIRNESS.format(
        businesses=size.businesses,
        backlog=size.backlog,
        slice_ms=1000 * size.slice_s,
        contended=size.contended_s,
        jain_limit=JAIN_LIMIT,
        limit=found.idle_p95 + found.slice_p50,
        found=found,
    )


def _webhooks(options: argparse.Namespace) -> str:
    rates, seconds, warm_up_s = ((50.0,), 8.0, 3.0) if options.quick else ((100.0, 500.0), 60.0, 10.0)
    found = {rate: webhooks.run(rate, seconds, warm_up_s) for rate in rates}
    rows = [
        f"| {rate:.0f} | {one.number:,} | {one.p50:.0f} | {one.p95:.0f} | {one.p99:.0f} | {one.most:.0f} "
        f"| {one.cpu:.1f} | {one.lost} |"
        for rate, one in found.items()
    ]
    return WEBHOOKS.format(apis=webhooks.APIS, warm_up=warm_up_s, limit_ms=WEBHOOKS_LIMIT_MS, rows="\n".join(rows))


SECTIONS = {
    "worker": Section("Worker", _worker),
    "import": Section("Import of leads", _import),
    "leads-bulk": Section("Bulk tasks of leads", _leads_bulk),
    "fairness": Section("Fairness between businesses", _fairness),
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
