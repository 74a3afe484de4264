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
import operator_scale
import scale_report

from cluster.errors import ClusterError

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PEER = "rq SimpleWorker"
QUICK_SWITCHBOARDS = 20
QUICK_STEADY_S = 20.0

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


def _operator_scale(options: argparse.Namespace) -> str:
    if options.quick:
        report = operator_scale.run(QUICK_SWITCHBOARDS, _say, steady_s=QUICK_STEADY_S)
    else:
        report = operator_scale.run(options.switchboards, _say)
    return scale_report.section(report)


SECTIONS = {
    "worker": Section("Worker", _worker),
    "import": Section("Import of leads", _import),
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
