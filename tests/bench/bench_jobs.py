"""Jobs that the worker benchmark runs on every engine; importable by ``rq worker`` through PYTHONPATH."""

import os
import time
from functools import lru_cache

import psycopg


@lru_cache(maxsize=1)
def _connection() -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True)


def durable(number: int) -> None:
    """One transaction in PostgreSQL: the body that every engine runs."""
    _connection().execute("INSERT INTO bench_done (number, at) VALUES (%s, %s)", (number, time.time()))
