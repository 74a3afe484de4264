"""A ledger sync of many documents beside a raw ``COPY`` and ``INSERT … ON CONFLICT`` of the same rows.

Both write the same transactions into the same table, with its indexes and foreign keys, on one server. The raw side
gets them as finished rows: one ``COPY`` into a temporary table and one statement from there, in one transaction. Our
side gets them as an accounting system sends them: pages of JSON over HTTP from another process, each document checked,
through the job kernel with its claims, savepoints, counters and cursors. The counterparties are there beforehand on
both sides.
"""

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import psycopg
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import make_url

from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres, EmbeddedValkey, temporary_folder
from switchboard_core.egress import Egress
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.ledger import service
from switchboard_core.ledger.cursors import PAGE_LIMIT
from switchboard_core.ledger.schemas import NewConnection
from switchboard_core.ledger.states import ConnectionKind
from switchboard_core.ledger.sync import AsyncSyncService
from switchboard_core.logs import configure_logging
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import MigrationSettings, Settings, get_settings
from switchboard_core.tenancy.service import create_business

COUNTERPARTIES = 1000
RUNS = 3
_SEED = 7

_STAGE = """
CREATE TEMPORARY TABLE staged (
    external_id text, counterparty text, amount numeric(18, 4), currency text, booked_on date, status text,
    description text, version bigint
) ON COMMIT DROP
"""
_UPSERT = """
INSERT INTO transactions AS known
    (business_id, connection_id, external_id, counterparty_id, amount, currency, booked_on, status, description,
     source_version)
SELECT c.business_id, c.connection_id, s.external_id, c.id, s.amount, s.currency, s.booked_on, s.status, s.description,
    s.version
FROM staged s JOIN counterparties c ON c.external_id = s.counterparty AND c.connection_id = %s
ON CONFLICT (business_id, connection_id, external_id) DO UPDATE SET
    counterparty_id = excluded.counterparty_id, amount = excluded.amount, currency = excluded.currency,
    booked_on = excluded.booked_on, status = excluded.status, description = excluded.description,
    source_version = excluded.source_version, deleted = false, updated_at = now()
WHERE known.source_version < excluded.source_version
"""

Document = dict[str, Any]


def run(documents: int) -> dict[str, float]:
    """Measure both sides in turns, each time into a table without transactions; the best of each counts.

    Args:
        documents: transactions to bring in.

    Returns:
        Seconds of each side for new documents, and for the same ones again in a newer version.
    """
    configure_logging("ERROR")
    first, second = _documents(documents, 1), _documents(documents, 2)
    with (
        temporary_folder("switchboard-bench-") as folder,
        EmbeddedPostgres(folder / "postgres") as postgres,
        EmbeddedValkey(folder / "valkey") as valkey,
        _books(documents) as books_url,
    ):
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        with _environment(urls, valkey.url) as settings:
            runtime = make_runtime(settings, name="bench")
            try:
                rounds = [_round(urls, runtime, books_url, (first, second)) for _ in range(RUNS)]
            finally:
                runtime.close()
    return {"documents": documents, **{name: min(each[name] for each in rounds) for name in rounds[0]}}


def _round(
    urls: DatabaseUrls, runtime: Runtime, books_url: str, listings: tuple[list[Document], list[Document]]
) -> dict[str, float]:
    """Both sides once, beginning without transactions."""
    raw_id, ours = _prepare(urls, runtime, books_url)
    taken: dict[str, float] = {}
    for name, documents in zip(("new", "again"), listings, strict=True):
        taken[f"raw_{name}_s"] = _seconds(partial(_raw, urls, raw_id, documents))
        taken[f"{name}_s"] = _seconds(partial(_sync, runtime, *ours, len(documents)))
        _require_same(urls, raw_id, ours[1])
    return taken


def _documents(number: int, version: int) -> list[Document]:
    dice = random.Random(_SEED)
    return [
        {
            "id": f"T-{dice.getrandbits(32):08x}-{index}",
            "version": version,
            "amount": f"{dice.randrange(1, 10**7) / 100:.2f}",
            "currency": "EUR",
            "date": f"2026-{1 + index % 12:02}-{1 + index % 28:02}",
            "status": "posted",
            "counterparty": f"C-{dice.randrange(COUNTERPARTIES)}",
            "description": f"Invoice {index}",
        }
        for index in range(number)
    ]


# The accounting system, in a process of its own: its work is not ours.


@contextmanager
def _books(documents: int) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(documents, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join(10)


def _serve(documents: int, pipe: Connection) -> None:
    """Answer with pages that were made beforehand: the first listing, then the second."""
    pages = _pages(documents)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = pages[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()


def _pages(documents: int) -> dict[str, bytes]:
    """Pages by their address."""
    first = f"limit={PAGE_LIMIT}"
    companies = [{"id": f"C-{n}", "version": 1, "name": f"Company {n}"} for n in range(COUNTERPARTIES)]
    pages = {f"/counterparties?{first}": json.dumps({"items": companies, "next": None}).encode()}
    for version, begin in ((1, f"/transactions?{first}"), (2, f"/transactions?{first}&updated_since=1")):
        address = begin
        listing = _documents(documents, version)
        for start in range(0, documents, PAGE_LIMIT):
            more = start + PAGE_LIMIT < documents
            following = f"/transactions?version={version}&start={start + PAGE_LIMIT}" if more else None
            items = listing[start : start + PAGE_LIMIT]
            pages[address] = json.dumps({"items": items, "next": following, "as_of": str(version)}).encode()
            address = following or address
    return pages


# The two sides


@contextmanager
def _environment(urls: DatabaseUrls, redis_url: str) -> Iterator[Settings]:
    given = {
        "DATABASE_URL": urls.app,
        "REDIS_URL": redis_url,
        "CREDENTIALS_KEYS": Fernet.generate_key().decode(),
        "TRUSTED_HOSTS": "127.0.0.1",
    }
    before = dict(os.environ)
    os.environ.update(given)
    get_settings.cache_clear()
    try:
        yield get_settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
        get_settings.cache_clear()


def _prepare(urls: DatabaseUrls, runtime: Runtime, books_url: str) -> tuple[int, tuple[int, int]]:
    """Two businesses without transactions; the raw side's connection, and our business with its own."""
    with psycopg.connect(_libpq(urls.owner), autocommit=True) as connection:
        connection.execute("DELETE FROM businesses")
        connection.execute("VACUUM ANALYZE transactions")
    (_, raw_id), ours = (_connection(runtime, name, books_url) for name in ("raw", "ours"))
    with psycopg.connect(_libpq(urls.owner)) as connection:
        connection.execute(
            "INSERT INTO counterparties (business_id, connection_id, external_id, name, source_version) "
            "SELECT c.business_id, c.id, 'C-' || n, 'Company ' || n, 1 "
            "FROM ledger_connections c, generate_series(0, %s) n",
            (COUNTERPARTIES - 1,),
        )
        connection.execute("ANALYZE counterparties")
    return raw_id, ours


def _connection(runtime: Runtime, name: str, books_url: str) -> tuple[int, int]:
    business = create_business(runtime.database, name)
    order = NewConnection(name=name, kind=ConnectionKind.API, base_url=books_url, token=SecretStr("bench"))
    with runtime.database.tenant(business.id) as session:
        return business.id, service.connect(session, runtime.settings, order).id


def _raw(urls: DatabaseUrls, connection_id: int, documents: list[Document]) -> None:
    # As the owner: row-level security would refuse COPY into a table with policies, and costs the statement more.
    fields = ("id", "counterparty", "amount", "currency", "date", "status", "description", "version")
    rows = "".join("\t".join(str(document[name]) for name in fields) + "\n" for document in documents).encode()
    with psycopg.connect(_libpq(urls.owner)) as connection:
        connection.execute(_STAGE)
        with connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN") as copy:
            copy.write(rows)
        connection.execute(_UPSERT, (connection_id,))


def _sync(runtime: Runtime, business_id: int, connection_id: int, documents: int) -> None:
    worker = AsyncSyncService(runtime.database, Egress(runtime.settings.trusted_hosts))
    kernel = Kernel(
        runtime.settings, runtime.database, runtime.transport, runtime.tasks, {service.JOB_TYPE: worker.sync}
    )
    try:
        with runtime.database.tenant(business_id) as session:
            task = service.start_sync(session, runtime, connection_id)
        while kernel.run_slice(task.id) is Outcome.AGAIN:
            pass
        with runtime.database.tenant(business_id) as session:
            ended = runtime.tasks.get(session, task.id)
    finally:
        kernel.close()
        worker.close()
    assert ended.result is not None, ended.reason
    assert ended.result["created"] + ended.result["updated"] == documents, ended


def _require_same(urls: DatabaseUrls, raw_id: int, synced_id: int) -> None:
    digest = """
        SELECT count(*), sum(hashtext(t::text)::bigint) FROM (
            SELECT external_id, amount, currency, booked_on, status, description, source_version, deleted
            FROM transactions WHERE connection_id = %s
        ) t
    """
    with psycopg.connect(_libpq(urls.owner)) as connection:
        raw, synced = (connection.execute(digest, (each,)).fetchone() for each in (raw_id, synced_id))
    assert raw == synced, f"the two sides differ: {raw} and {synced}"


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
