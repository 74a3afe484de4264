"""One fault run: its servers, its campaigns, its faults, its judgement."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.judge import Figures, judge
from faults.plan import Fault, plan
from faults.play import Player
from faults.scene import Scene, Size, scene, start_campaigns
from migration_support import migration_settings
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.migrate.runner import run_migrations

ATTEMPTS_A_FAULT = 50
MANY = 1_000
"""Of so many leads more are called again, because they were busy or away, than never reached."""
RECORDINGS_WITHIN_S = 300.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A run that held."""

    seed: int
    seconds: float
    figures: Figures


@contextmanager
def servers_of_its_own(folder: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedValkey, DatabaseUrls]]:
    """A PostgreSQL, migrated, and a Valkey that the run may restart as it likes."""
    # Killed servers lose nothing without fsync, only a power cut would.
    with EmbeddedPostgres(folder / "postgres", fsync=False) as postgres, EmbeddedValkey(folder / "valkey") as valkey:
        urls = postgres.urls("switchboard")
        run_migrations(migration_settings(urls))
        yield postgres, valkey, urls


def fault_run(folder: Path, seed: int, size: Size, say: Say, *, faults: int | None = None) -> Result:
    """Run everything with servers of its own.

    Args:
        folder: for servers, logs and recordings; stays.
        seed: of everything that is left to chance.
        size: of the run.
        say: takes a line for people.
        faults: how many things go wrong with processes and servers; by default one in fifty attempts.

    Raises:
        AssertionError: an invariant is broken.
    """
    with (
        servers_of_its_own(folder) as (postgres, valkey, urls),
        scene(folder / "services", urls, valkey.url, seed, size, (postgres, valkey)) as made,
    ):
        number = max(8, size.leads // ATTEMPTS_A_FAULT) if faults is None else faults
        return played(made, seed, size, say, plan(seed, made.cast, attempts=size.leads, number=number))


def played(made: Scene, seed: int, size: Size, say: Say, faults: list[Fault]) -> Result:
    """Start the campaigns in a scene, play the faults, and judge.

    Raises:
        AssertionError: an invariant is broken.
    """
    began = time.monotonic()
    player = Player(made, start_campaigns(made, seed, size), say)
    try:
        happened = player.play(faults)
        say(f"every fault is over after {time.monotonic() - began:.0f} s; waiting for the rest of the calls")
        player.until_the_end(RECORDINGS_WITHIN_S)
        say("every run has ended; judging")
        figures = judge(made, happened, player.looks)
        check_calls(figures, size.leads)
        return Result(seed, time.monotonic() - began, figures)
    finally:
        player.close()


def check_calls(figures: Figures, leads: int) -> None:
    """Each lead was called, or nobody knows; and a big run has as many calls as it says.

    Raises:
        AssertionError: the carrier had fewer calls.
    """
    expected = leads if leads >= MANY else figures.jobs - figures.unknown
    if figures.calls < expected:
        raise AssertionError(f"only {figures.calls} calls at the carrier, of at least {expected}")
