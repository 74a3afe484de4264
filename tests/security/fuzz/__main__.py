"""``make fuzz``: thousands of made-up requests against the whole api, from a seed that is printed and replays them."""

import argparse
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from security.fuzz.driver import Fuzz
from security.fuzz.links import CANCEL_RUN, FORCE_CANCEL_RUN, LIST_RUNS, START_RUN
from security.fuzz.sender import Sender
from security.world import furnished_api, rows_of
from switchboard_cli.devstack import APP_ROLE, EmbeddedPostgres, EmbeddedValkey, temporary_folder
from switchboard_core.logs import configure_logging
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.settings import MigrationSettings

REQUESTS = 10_000
TEMPLATE = "fuzz_template"


@contextmanager
def fuzzing(
    postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey, seed: int, *, breaks: bool = True
) -> Iterator[tuple[Fuzz, "Verdict"]]:
    """Two businesses that send, one that only watches, and the api between them."""
    with furnished_api(postgres, template, valkey, 3) as (api, marked):
        sender = Sender(api, marked[:2], marked[2], Random(seed))
        yield Fuzz(sender, api.app.openapi(), seed, breaks), Verdict(sender, rows_of(api, marked[2].tenant.id))


class Verdict:
    """What the requests have come to."""

    def __init__(self, sender: Sender, rows_before: dict[str, str]) -> None:
        self.sender = sender
        self._rows_before = rows_before

    def changed_tables(self) -> list[str]:
        """Tables in which a row of the business that sends nothing has changed."""
        now = rows_of(self.sender.api, self.sender.bystander.tenant.id)
        return sorted(table for table, digest in now.items() if self._rows_before[table] != digest)

    def untouched(self) -> list[str]:
        """Operations to which no request was sent."""
        paths = self.sender.api.app.openapi()["paths"]
        labels = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
        return sorted(labels - set(self.sender.operations))

    def missed(self) -> list[str]:
        """What the chains of a whole run always come to, and these have not; those of a short run may miss it."""
        chained = self.sender.chained
        cancelled = sum(
            chained.followed[source, target]
            for source in (START_RUN, LIST_RUNS)
            for target in (CANCEL_RUN, FORCE_CANCEL_RUN)
        )
        wanted = {
            "half of the requests in chains take something from an earlier answer": 2 * chained.linked >= chained.steps,
            "somebody follows an answer to another business": chained.strangers > 0,
            "a run is started and cancelled": cancelled > 0,
        }
        return [sentence for sentence, holds in wanted.items() if not holds]


def main() -> int:
    """Fuzz, say what was found, and return the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many at least (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to make the same requests up again")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    again = f'make fuzz ARGS="--seed={seed} --requests={options.requests}"'
    say(f"seed {seed}: `{again}` makes the same requests up again")
    configure_logging("ERROR", "json")
    with (
        temporary_folder("switchboard-fuzz-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", fsync=False) as postgres,
    ):
        urls = postgres.create_database(TEMPLATE)
        run_migrations(MigrationSettings(_env_file=None, migration_database_url=urls.owner, app_database_role=APP_ROLE))
        with (
            EmbeddedValkey(Path(folder) / "valkey") as valkey,
            fuzzing(postgres, TEMPLATE, valkey, seed) as (fuzz, verdict),
        ):
            started = time.monotonic()
            fuzz.run(options.requests, say)
            return report(verdict, seed, time.monotonic() - started)


def report(verdict: Verdict, seed: int, seconds: float) -> int:
    """Print the outcome; returns the exit status."""
    sender = verdict.sender
    by_status = ", ".join(f"{number} x {status}" for status, number in sorted(sender.statuses.items()))
    say(f"{sender.requests} requests to {len(sender.operations)} operations in {seconds:.0f} s: {by_status}")
    say(f"{sum(count > 0 for count in sender.successes.values())} operations succeeded at least once")
    say(f"{sender.foreign_ids} requests had ids of another business in their path")
    chained = sender.chained
    say(
        f"{chained.steps} requests were sent in chains, {chained.linked} of them took something from an earlier answer"
        f" ({chained.strangers} from one to another business), and {chained.followed.total()} of those succeeded"
    )
    never = verdict.untouched()
    changed = verdict.changed_tables()
    if never:
        say(f"no request was sent to: {', '.join(never)}")
    if changed:
        say(f"rows of a business that sent nothing changed in: {', '.join(changed)}")
    missed = verdict.missed()
    if missed:
        say(f"not so in the chains: {', '.join(missed)}")
    wrong = len(sender.defects) + len(changed) + len(never) + (len(missed) if sender.requests >= REQUESTS else 0)
    say(f"\nseed {seed}: {'nothing is wrong' if not wrong else f'{wrong} things are wrong'}")
    return 1 if wrong else 0


def say(words: str) -> None:
    """One line for whoever watches."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
