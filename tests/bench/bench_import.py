"""CSV import of leads beside a raw ``COPY`` of the same rows, in one run on one server.

The raw copies are the floor: what PostgreSQL takes for rows that are already parsed, validated and written down for it,
into a table without any index and into one with the indexes of ``leads``. The rest is the price of reading CSV,
checking every number, finding duplicates and known leads, and reporting errors.
"""

import io
import random
import time
from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy import make_url

from switchboard_cli.devstack import APP_ROLE, DatabaseUrls, EmbeddedPostgres, temporary_folder
from switchboard_core.db import Database, make_engine
from switchboard_core.leads.csv_import import import_csv
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.settings import MigrationSettings, Settings

CHUNK_BYTES = 64 * 1024
COLUMNS = "business_id, phone, name, email, timezone, tags, attributes"
# Area codes and one of their time zones.
AREAS = (
    ("212", "America/New_York"),
    ("312", "America/Chicago"),
    ("415", "America/Los_Angeles"),
    ("602", "America/Phoenix"),
    ("720", "America/Denver"),
)


def run(rows: int) -> dict[str, float]:
    """Measure once.

    Args:
        rows: leads in the file; 39 million at most.

    Returns:
        Seconds and rows per second of the import, of a second import of the same file (every lead is known), and of
        the two raw copies; ``ratio_*`` is import time divided by a copy's time.
    """
    leads = list(_leads(rows))
    with temporary_folder("switchboard-bench-") as folder, EmbeddedPostgres(folder / "postgres") as postgres:
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        business_id = _prepare(urls)
        content = _csv(leads)
        copied = _copy_text(leads, business_id)
        unindexed_s = _seconds(lambda: _raw_copy(urls, "plain_leads", copied))
        indexed_s = _seconds(lambda: _raw_copy(urls, "indexed_leads", copied))
        import_s = _seconds(lambda: _import(urls, business_id, content))
        again_s = _seconds(lambda: _import(urls, business_id, content))
    return {
        "rows": rows,
        "import_s": import_s,
        "import_rows_per_s": rows / import_s,
        "import_again_s": again_s,
        "copy_unindexed_s": unindexed_s,
        "copy_unindexed_rows_per_s": rows / unindexed_s,
        "copy_indexed_s": indexed_s,
        "copy_indexed_rows_per_s": rows / indexed_s,
        "ratio_to_unindexed_copy": import_s / unindexed_s,
        "ratio_to_indexed_copy": import_s / indexed_s,
    }


Lead = tuple[str, str, str, str]


def _leads(rows: int) -> Iterator[Lead]:
    """Different valid numbers in no order, as they come out of a CRM."""
    chosen = random.Random(7).sample(range(len(AREAS) * 7_900_000), rows)
    for number, index in enumerate(chosen):
        area, zone = AREAS[index % len(AREAS)]
        yield (
            f"+1{area}{2_010_000 + index // len(AREAS) % 7_900_000}",
            f"Lead {number}",
            f"lead{number}@example.com",
            zone,
        )


def _csv(leads: list[Lead]) -> bytes:
    lines = (f"{phone},{name},{email},{zone}\n" for phone, name, email, zone in leads)
    return ("phone,name,email,timezone\n" + "".join(lines)).encode()


def _copy_text(leads: list[Lead], business_id: int) -> bytes:
    return "".join(
        f"{business_id}\t{phone}\t{name}\t{email}\t{zone}\t[]\t{{}}\n" for phone, name, email, zone in leads
    ).encode()


def _prepare(urls: DatabaseUrls) -> int:
    """A business, and two tables with the columns of ``leads``; returns the business's id."""
    with psycopg.connect(_libpq(urls.owner)) as connection:
        connection.execute("CREATE TABLE plain_leads (LIKE leads INCLUDING DEFAULTS INCLUDING IDENTITY)")
        connection.execute("CREATE TABLE indexed_leads (LIKE leads INCLUDING ALL)")
        row = connection.execute("INSERT INTO businesses (name) VALUES ('bench') RETURNING id").fetchone()
    assert row is not None
    return int(row[0])


def _raw_copy(urls: DatabaseUrls, table: str, rows: bytes) -> None:
    # As the owner: row-level security would refuse COPY, which is why the import goes through a temporary table.
    statement = f"COPY {table} ({COLUMNS}) FROM STDIN"
    with (
        psycopg.connect(_libpq(urls.owner)) as connection,
        connection.cursor() as cursor,
        cursor.copy(statement.encode()) as copy,
    ):
        for chunk in _chunks(rows):
            copy.write(chunk)


def _import(urls: DatabaseUrls, business_id: int, content: bytes) -> None:
    settings = Settings(database_url=urls.app)
    database = Database(make_engine(settings, application_name="bench"))
    try:
        with database.tenant(business_id) as session:
            report = import_csv(session, _chunks(content), filename="bench.csv", default_timezone="UTC")
    finally:
        database.dispose()
    assert report.rejected == report.duplicates == 0, report.errors[:3]


def _chunks(content: bytes) -> Iterator[bytes]:
    source = io.BytesIO(content)
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
