"""``python -m properties``: the long walks. A seed is printed and replays them.

make properties ARGS="--events 1000000 --real-events 10000"
"""

import argparse
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from integration.calls_servers import calls_bench
from properties import pure, real
from switchboard_cli.devstack import APP_ROLE, EmbeddedPostgres, EmbeddedValkey, temporary_folder
from switchboard_core.logs import configure_logging
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.settings import MigrationSettings


def main() -> None:
    """Walk, and say what was seen."""
    parser = argparse.ArgumentParser(prog="python -m properties", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the rules alone")
    parser.add_argument("--real-events", type=int, default=10_000, help="events of the admission in PostgreSQL")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    configure_logging("ERROR")
    logging.disable(logging.CRITICAL)  # a carrier that fails is what the walk is about
    sys.stdout.write(f"seed {options.seed}\n")
    _timed("rules", options.events, lambda: pure.walk(options.events, options.seed))
    if options.real_events:
        _timed("admission in PostgreSQL", options.real_events, lambda: _real(options.real_events, options.seed))


def _real(events: int, seed: int) -> Counter[str]:
    with (
        temporary_folder("switchboard-properties-") as folder,
        EmbeddedPostgres(folder / "postgres", fsync=False) as postgres,
        EmbeddedValkey(folder / "valkey") as valkey,
    ):
        urls = postgres.create_database("template")
        settings = MigrationSettings(_env_file=None, migration_database_url=urls.owner, app_database_role=APP_ROLE)
        run_migrations(settings)
        with calls_bench(postgres, "template", valkey) as bench:
            return real.walk(bench, events, seed)


def _timed(what: str, events: int, walk: Callable[[], Counter[str]]) -> None:
    began = time.monotonic()
    seen = walk()
    sys.stdout.write(f"{what}: {events:,} events in {time.monotonic() - began:.0f} s, every one as the model says\n")
    sys.stdout.write("".join(f"  {number:>9,} {name}\n" for name, number in seen.most_common()))


if __name__ == "__main__":
    main()
