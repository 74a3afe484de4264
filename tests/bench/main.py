"""Measures, and writes docs/benchmarks.md: ``make bench``, or ``make bench ARGS=--quick`` to see that it works."""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_import
import bench_worker

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PEER = "rq SimpleWorker"

TEXT = """# Benchmarks

Written by `make bench` on {day}: {machine}. Figures of one run on one machine:
the ratios travel, the absolute numbers do not.

## Worker

Two worker processes an engine, PostgreSQL with fsync on and Valkey on loopback. *Durable*: the body of the job does one
transaction in PostgreSQL. *Pick-up*: from the enqueue until the body has run, workers idle. Our *background jobs* do
more than the others: a fenced claim in one transaction, the job's change, its counters and its end in a second one,
so that a killed worker loses and doubles nothing; the others' ordinary jobs promise neither.

| engine | durable jobs/s | x {peer} | pick-up p50 ms | pick-up p99 ms |
|---|---|---|---|---|
{workers}

## Import of leads

A CSV of {rows} leads beside a raw `COPY` of the same rows, already parsed and validated, on the same server.

| what | seconds | rows/s | x COPY |
|---|---|---|---|
{imports}
"""


def main() -> None:
    """Run every benchmark and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fraction of the work; writes nothing")
    quick = parser.parse_args().quick
    _say("worker engines …")
    workers = bench_worker.run(quick=quick)
    for name, figures in workers.items():
        _say(f"  {name}: {figures}")
    _say("import of leads …")
    rows = 5_000 if quick else 100_000
    imports = bench_import.run(rows)
    _say(f"  {imports}")
    page = TEXT.format(
        day=datetime.now(UTC).date(),
        machine=_machine(),
        peer=PEER,
        workers="\n".join(_worker_rows(workers)),
        rows=f"{rows:,}",
        imports="\n".join(_import_rows(imports)),
    )
    if quick:
        _say(page)
    else:
        PAGE.write_text(page, encoding="utf-8")
        _say(f"written: {PAGE.relative_to(Path.cwd())}")


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
