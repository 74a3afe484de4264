"""``python -m faults``: what ``make faults`` calls. The seed is printed at the start, and replays a run."""

import argparse
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from faults.console import say, show
from faults.create import create_calls
from faults.flush import flush
from faults.found import FOUND, Found
from faults.judge import SLOT_FREE_WITHIN_S
from faults.recovery import WITHIN_S, recovery
from faults.report import Report, update_docs
from faults.run import fault_run
from faults.scene import Size

PARTS = ("calls", "create", "found", "recovery", "flush", "operator")
SEEDS = 3
OPERATOR_KILLS = 50
OPERATOR_TEST = Path(__file__).parents[1] / "apiserver" / "test_kills.py"


def main(words: Sequence[str]) -> int:
    """Run what the command line asks for.

    Args:
        words: the command line, without the program's name.

    Returns:
        The exit code: 0 when everything held.
    """
    options = _parser().parse_args(words)
    # What the harness itself does through the product's own verbs is not worth a line, nor are its own crashes.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report = Report()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="switchboard-faults-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # PostgreSQL's own user passes through
    held = all(_part(name, options, folder, report) for name in _parts(options.command))
    if report.sections():
        show(f"\n{report.text()}\n")
    if options.json:
        Path(options.json).write_text(report.json() + "\n", encoding="utf-8")
        say(f"written: {options.json}")
    if held and options.update_docs:
        update_docs(report)
        say("written: docs/guarantees.md")
    if held and not options.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if held else 1


def _parts(command: str) -> tuple[str, ...]:
    return PARTS if command == "all" else (command,)


def _part(name: str, options: argparse.Namespace, folder: Path, report: Report) -> bool:
    """Run one part; whether it held."""
    if name == "operator":
        return _operator()
    if name == "calls":
        seeds = [options.seed] if options.seed is not None else _fresh_seeds(options.seeds)
        return all(_calls(seed, options, folder / f"seed-{seed}", report) for seed in seeds)
    if name == "found":
        return all(_found(entry, options, folder / f"found-{entry.seed}") for entry in FOUND)
    seed = _fresh_seeds(1)[0] if options.seed is None else options.seed
    place = folder / name
    again = {
        "create": f"create --creates {options.creates} --seed {seed}",
        "recovery": f"recovery --kills {options.kills} --seed {seed}",
        "flush": f"flush --jobs {options.jobs}",
    }[name]
    try:
        if name == "create":
            say(f"create: {options.creates:,} create calls that all go wrong, seed {seed}")
            report.created = create_calls(place, seed, say, creates=options.creates)
            say(f"held: {report.created.number:,} create calls, no attempt with two calls, every job ended")
        elif name == "recovery":
            say(f"recovery: {options.kills} workers are killed while they hold a claim, seed {seed}")
            report.recovery = recovery(place, seed, say, kills=options.kills)
            say(f"held: 99 of 100 jobs were taken over within {report.recovery.p99:.1f} s, at most {WITHIN_S:g} s")
        else:
            say(f"flush: Valkey is emptied with {options.jobs:,} jobs in it")
            report.flushed = flush(place, say, jobs=options.jobs)
            say(f"held: every job ran once, within {report.flushed.seconds:,.0f} s")
    except Exception as error:  # noqa: BLE001 - whatever broke it, the folder and the way to see it again are told
        return _broken(name, error, place, again)
    return True


def _calls(seed: int, options: argparse.Namespace, place: Path, report: Report) -> bool:
    say(f"fault run: {options.calls:,} leads, seed {seed}")
    try:
        result = fault_run(place, seed, Size(leads=options.calls), say, faults=options.faults)
    except Exception as error:  # noqa: BLE001 - as above
        faults = "" if options.faults is None else f" --faults {options.faults}"
        return _broken(f"seed {seed}", error, place, f"calls --calls {options.calls} --seed {seed}{faults}")
    report.runs.append(result)
    figures = result.figures
    say(
        f"seed {seed} held: {figures.calls:,} calls, {sum(figures.faults.values())} faults of processes and servers, "
        f"{sum(figures.carrier_faults.values()):,} of the carrier, every slot free within {figures.slots.max:.1f} s "
        f"(at most {SLOT_FREE_WITHIN_S:g} s), {result.seconds / 60:.1f} min"
    )
    if not options.folder:
        shutil.rmtree(place, ignore_errors=True)
    return True


def _found(entry: Found, options: argparse.Namespace, place: Path) -> bool:
    """Play a seed that found something once; its figures belong in no table."""
    say(f"seed {entry.seed} found this once: {entry.what}")
    size = {"calls": entry.leads, "faults": entry.faults}
    return _calls(entry.seed, argparse.Namespace(**{**vars(options), **size}), place, Report())


def _operator() -> bool:
    """The operator, killed again and again on a real API server; its seed is in the names of the tests."""
    say(f"operator: killed at {OPERATOR_KILLS} moments on a real API server")
    environment = {**os.environ, "SWITCHBOARD_OPERATOR_KILLS": str(OPERATOR_KILLS)}
    return subprocess.run([sys.executable, "-m", "pytest", OPERATOR_TEST], env=environment, check=False).returncode == 0


def _broken(what: str, error: Exception, place: Path, again: str) -> bool:
    say(f"BROKEN: {what}\n{type(error).__name__}: {error}")
    say(f"logs and data: {place}")
    say(f'to replay: make faults ARGS="{again}"')
    return False


def _fresh_seeds(number: int) -> list[int]:
    return random.SystemRandom().sample(range(1, 1_000_000), number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("all", *PARTS), default="all", help="which part; all by default")
    parser.add_argument("--calls", type=int, default=10_000, help="leads of a fault run, each called at least once")
    parser.add_argument("--seed", type=int, help="replay this seed instead of fresh ones")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many fresh seeds in a row")
    parser.add_argument("--faults", type=int, help="faults of processes and servers; one in 50 attempts by default")
    parser.add_argument("--creates", type=int, default=10_000, help="create calls that go wrong, at least")
    parser.add_argument("--kills", type=int, default=200, help="workers to kill for the recovery")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs in Valkey for the flush")
    parser.add_argument("--folder", help="for servers, logs and recordings, and kept; a temporary one by default")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--update-docs", action="store_true", help="write the tables into docs/guarantees.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
