"""``python -m properties``: the long walks. A seed is printed and replays them.

make properties ARGS="--events 1000000 --real-events 100000"
"""

import argparse
import logging
import random
import time
from collections import Counter
from collections.abc import Callable

from redis import Redis

from faults.console import show
from integration.calls_servers import calls_bench
from properties import pure, real, slots
from switchboard_cli.devstack import APP_ROLE, EmbeddedPostgres, EmbeddedValkey, temporary_folder
from switchboard_core.logs import configure_logging
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.settings import MigrationSettings


def main() -> None:
    """Walk, and say what was seen."""
    parser = argparse.ArgumentParser(prog="python -m properties", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the rules, and of the slots in Valkey")
    parser.add_argument("--real-events", type=int, default=100_000, help="events of the admission in PostgreSQL")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    configure_logging("ERROR")
    logging.disable(logging.CRITICAL)  # a carrier that fails is what the walk is about
    show(f"seed {options.seed}")
    _timed("rules", options.events, lambda: pure.walk(options.events, options.seed))
    _timed("slots in Valkey", options.events, lambda: _slots(options.events, options.seed))
    if options.real_events:
        _timed("admission in PostgreSQL", options.real_events, lambda: _real(options.real_events, options.seed))


def _slots(events: int, seed: int) -> Counter[str]:
    with (
        temporary_folder("switchboard-properties-") as folder,
        EmbeddedValkey(folder / "valkey") as valkey,
        Redis.from_url(valkey.url) as redis,
    ):
        return slots.walk(redis, events, seed)


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
    show(f"{what}: {events:,} events ...")
    began = time.monotonic()
    seen = walk()
    show(f"every one as the model says, in {time.monotonic() - began:.0f} s")
    for name, number in seen.most_common():
        show(f"  {number:>9,} {name}")


if __name__ == "__main__":
    main()
