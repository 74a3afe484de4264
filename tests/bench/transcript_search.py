"""Search in the transcripts of 100,000 calls, as ``GET /api/recordings/search`` does it: with the application's role,
under row-level security, beside the calls of another business.

What is said follows Zipf's law, as it does in every language: a few words are in thousands of calls and most in a
handful. Queries are words of one call each, the frequent ones as often as they are said, so that the costly queries,
which have to rank thousands of calls, are among them in their proportion and beyond: a quarter asks for one of the
thirty most frequent words alone.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import make_url

from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres, temporary_folder
from switchboard_core.db import Database, make_engine
from switchboard_core.mailbox.ranking import terms_of
from switchboard_core.mailbox.search import find_calls
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.recordings.service import search
from switchboard_core.settings import MigrationSettings, Settings

SEED = 7
WORDS = 20_000
# The most frequent words of a language say nothing and are not indexed; what is said begins behind them.
STOP_WORDS = 30
SAID = range(20, 120)
LIMIT = 20
EVERY = "all of these"
COLUMNS = "business_id, recording_sid, call_sid, media_url, status, transcript"
_SYLLABLES = ("ba", "do", "ka", "lu", "mi", "ne", "po", "ra", "si", "tu", "ve", "zo")


@dataclass(frozen=True)
class Timing:
    """How long queries of one kind took, in milliseconds.

    Attributes:
        kind: of the queries, in words.
        queries: how many.
        p50: median.
        p95: of a hundred, five took longer.
        worst: the longest.
    """

    kind: str
    queries: int
    p50: float
    p95: float
    worst: float


def run(calls: int, queries: int) -> list[Timing]:
    """Measure once.

    Args:
        calls: of the business that searches; another one has a fifth of them.
        queries: of each kind.
    """
    dice = random.Random(SEED)
    vocabulary = _vocabulary()
    with temporary_folder("switchboard-bench-") as folder, EmbeddedPostgres(folder / "postgres") as postgres:
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        transcripts = list(_transcripts(dice, vocabulary, calls))
        business_id = _fill(urls, "bench", transcripts)
        _fill(urls, "rival", transcripts[: calls // 5])
        return _measure(urls, business_id, _queries(dice, vocabulary, transcripts, queries))


def _vocabulary() -> list[str]:
    """Words that no stemmer shortens, the most frequent first."""
    pairs = itertools.product(_SYLLABLES, repeat=4)
    return ["".join(syllables) + "k" for syllables in itertools.islice(pairs, WORDS)]


def _transcripts(dice: random.Random, vocabulary: Sequence[str], number: int) -> Iterator[str]:
    weights = list(itertools.accumulate(1 / rank for rank in range(STOP_WORDS, STOP_WORDS + len(vocabulary))))
    for _ in range(number):
        yield " ".join(dice.choices(vocabulary, cum_weights=weights, k=dice.choice(SAID)))


def _fill(urls: DatabaseUrls, name: str, transcripts: Sequence[str]) -> int:
    """A business with these calls; its id."""
    with psycopg.connect(_libpq(urls.owner)) as connection, connection.cursor() as cursor:
        row = cursor.execute("INSERT INTO businesses (name) VALUES (%s) RETURNING id", (name,)).fetchone()
        assert row is not None
        with cursor.copy(f"COPY recordings ({COLUMNS}) FROM STDIN".encode()) as copy:
            for number, transcript in enumerate(transcripts):
                call = (f"RE{name}{number}", f"CA{number}", "http://127.0.0.1/", "completed")
                copy.write_row((row[0], *call, transcript))
    with psycopg.connect(_libpq(urls.owner), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE recordings")
    return int(row[0])


def _queries(
    dice: random.Random, vocabulary: Sequence[str], transcripts: Sequence[str], number: int
) -> dict[str, list[str]]:
    def said(words: int) -> str:
        return " ".join(dice.sample(dice.choice(transcripts).split(), words))

    def phrase() -> str:
        words = dice.choice(transcripts).split()
        start = dice.randrange(len(words) - 2)
        return f'"{" ".join(words[start : start + 2])}"'

    return {
        "one of the 30 most frequent words": [dice.choice(vocabulary[:30]) for _ in range(number)],
        "one word": [said(1) for _ in range(number)],
        "two or three words": [said(dice.choice((2, 3))) for _ in range(number)],
        "a phrase of two words": [phrase() for _ in range(number)],
    }


def _measure(urls: DatabaseUrls, business_id: int, queries: dict[str, list[str]]) -> list[Timing]:
    database = Database(make_engine(Settings(database_url=urls.app), application_name="bench"))

    def listed(query: str) -> int:
        with database.tenant(business_id) as session:
            return len(search(session, query, limit=LIMIT))

    def found(query: str) -> int:
        with database.tenant(business_id) as session:
            return len(find_calls(session, terms_of(query)))

    try:
        assert all(listed(query) for query in queries["one word"][:20]), "what was said is not found"
        timings = [_timing(kind, [_ms(listed, query) for query in of_kind]) for kind, of_kind in queries.items()]
        every = [_ms(listed, query) for of_kind in queries.values() for query in of_kind]
        spoken = [_ms(found, query) for query in queries["two or three words"]]
    finally:
        database.dispose()
    return [*timings, _timing(EVERY, every), _timing("calls for `/voice/search`, two or three words", spoken)]


def _ms(look: Callable[[str], int], query: str) -> float:
    started = time.perf_counter()
    look(query)
    return (time.perf_counter() - started) * 1000


def _timing(kind: str, took: list[float]) -> Timing:
    cuts = statistics.quantiles(took, n=20)
    return Timing(kind, len(took), statistics.median(took), cuts[18], max(took))


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
