"""CSV import: a stream of bytes into leads, in constant memory and in the caller's one transaction.

Rows flow by one ``COPY`` into a temporary table (``COPY`` into a table with policies is refused) and from there by
set-based statements into ``leads``, ``do_not_call`` and ``lead_import_errors``. All of it is one savepoint: a file that
turns out to be malformed in its last line has written nothing.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.leads.csv_reader import CsvLimits, CsvReader
from switchboard_core.leads.csv_rows import LeadRow, RowParser
from switchboard_core.leads.do_not_call import IMPORTED, PHONE_HASH_SQL
from switchboard_core.leads.models import LeadImport
from switchboard_core.leads.phones import require_region
from switchboard_core.leads.schemas import ImportReport
from switchboard_core.leads.service import import_report
from switchboard_core.leads.zones import require_zone
from switchboard_core.logs import get_logger

log = get_logger(__name__)

STATEMENT_TIMEOUT_S = 1800
"""Limit of one statement of an import in seconds; the ordinary one would end a large file halfway."""

SORT_MEMORY_MB = 64
"""What PostgreSQL may use to sort the rows before it goes to disk."""

_STAGE = text("""
CREATE TEMPORARY TABLE staged_leads (
    line bigint NOT NULL,
    phone text,
    name text,
    email text,
    timezone text,
    zone_of_number text,
    tags jsonb,
    attributes jsonb,
    do_not_call boolean NOT NULL,
    errors jsonb
) ON COMMIT DROP
""")
_COPY = (
    "COPY staged_leads (line, phone, name, email, timezone, zone_of_number, tags, attributes, do_not_call, errors) "
    "FROM STDIN"
)
# Statistics of a temporary table are collected by nobody else.
_ANALYZE = text("ANALYZE staged_leads")

# Sorted by number, so that two imports at once take their row locks in one order. A row that was inserted and not
# updated has no xmax. A known lead's zone is looked up beforehand: EXCLUDED cannot say whether the file named one.
_UPSERT = text("""
WITH written AS (
    INSERT INTO leads AS lead (business_id, phone, name, email, timezone, tags, attributes, import_id)
    SELECT DISTINCT ON (staged.phone)
        CAST(:business_id AS bigint), staged.phone, staged.name, staged.email,
        coalesce(staged.timezone, known.timezone, staged.zone_of_number),
        coalesce(staged.tags, '[]'), coalesce(staged.attributes, '{}'), CAST(:import_id AS bigint)
    FROM staged_leads staged
    LEFT JOIN leads known
        ON known.business_id = :business_id AND known.phone = staged.phone AND known.deleted_at IS NULL
    WHERE staged.errors IS NULL
    ORDER BY staged.phone, staged.line
    ON CONFLICT (business_id, phone) WHERE deleted_at IS NULL DO UPDATE SET
        name = coalesce(excluded.name, lead.name),
        email = coalesce(excluded.email, lead.email),
        timezone = excluded.timezone,
        tags = CASE WHEN excluded.tags = '[]' THEN lead.tags ELSE excluded.tags END,
        attributes = lead.attributes || excluded.attributes,
        import_id = excluded.import_id,
        updated_at = now()
    RETURNING lead.xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS created, count(*) FILTER (WHERE NOT is_new) AS updated FROM written
""")
# Rejected rows count as well: whoever asked not to be called must not be called because of a wrong e-mail address.
_LIST = text(f"""
WITH marked AS (
    SELECT DISTINCT {PHONE_HASH_SQL.format(business_id="CAST(:business_id AS bigint)", phone="phone")} AS phone_hash
    FROM staged_leads
    WHERE do_not_call AND phone IS NOT NULL
), written AS (
    INSERT INTO do_not_call (business_id, phone_hash, reason)
    SELECT CAST(:business_id AS bigint), phone_hash, :reason FROM marked ORDER BY phone_hash
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM marked
""")  # noqa: S608 - two constants are put together
_REPORT_ERRORS = text("""
INSERT INTO lead_import_errors (business_id, import_id, line, "column", message)
SELECT :business_id, :import_id, staged.line, wrong.cell ->> 0, wrong.cell ->> 1
FROM staged_leads staged
CROSS JOIN LATERAL jsonb_array_elements(staged.errors) WITH ORDINALITY AS wrong (cell, position)
ORDER BY staged.line, wrong.position
""")


class ImportRunningError(Exception):
    """Another import of the business has not ended yet."""


@dataclass(frozen=True)
class _Counts:
    total: int
    rejected: int


def import_csv(
    session: Session,
    stream: Iterable[bytes],
    *,
    filename: str,
    default_timezone: str,
    default_region: str | None = None,
    limits: CsvLimits | None = None,
) -> ImportReport:
    """Import leads into the session's business.

    A number that is known already has its lead updated where the file says something, and stays what it is where a
    cell is empty; tags are replaced, attributes merged. Where a number stands in several rows, the first one counts;
    ``do_not_call`` of any of them holds.

    Args:
        session: bound to the business; the caller commits.
        stream: the file in pieces of any size.
        filename: for people.
        default_timezone: IANA name, where neither file nor number says one.
        default_region: two letters of the country that numbers without a country code belong to.
        limits: of the file.

    Returns:
        What became of the rows, with the first errors.

    Raises:
        CsvFileError: the file as a whole cannot be imported; nothing was written.
        ImportRunningError: another import of the business is running.
        PhoneError, ZoneError: ``default_region`` or ``default_timezone`` does not exist.
    """
    region, zone = require_region(default_region), require_zone(default_timezone)
    reader = CsvReader(stream, limits or CsvLimits())
    parser = RowParser(reader.header, region=region, default_timezone=zone)
    _take_turn(session)
    with session.begin_nested(), _generous(session):
        session.execute(_STAGE)
        counts = _copy(session, map(parser.parse, reader))
        record = _write(session, filename, counts)
        session.execute(text("DROP TABLE staged_leads"))
    log.info(
        "leads imported",
        import_id=record.id,
        total=record.total,
        created=record.created,
        updated=record.updated,
        duplicates=record.duplicates,
        rejected=record.rejected,
        do_not_call=record.do_not_call,
    )
    return import_report(session, record.id)


def _take_turn(session: Session) -> None:
    """One import of a business at a time, until the transaction ends: others are refused instead of waiting.

    So a business cannot occupy all connections of the api, and no count is wrong because of a neighbour.
    """
    name = f"leads import:{tenant_of(session)}"
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    if not session.execute(statement, {"name": name}).scalar_one():
        msg = "Another import of this business is running: wait until it has ended, then try again."
        raise ImportRunningError(msg)


@contextmanager
def _generous(session: Session) -> Iterator[None]:
    """More time and memory for the statements of an import than a request's statements have."""
    session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
    session.execute(text(f"SET LOCAL work_mem = '{SORT_MEMORY_MB}MB'"))
    yield
    session.execute(text("SET LOCAL statement_timeout TO DEFAULT"))
    session.execute(text("SET LOCAL work_mem TO DEFAULT"))


def _copy(session: Session, rows: Iterable[LeadRow]) -> _Counts:
    """Stage all rows; one at a time is in memory."""
    connection: psycopg.Connection[Any] | None = session.connection().connection.driver_connection
    assert connection is not None
    total = rejected = 0
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            total += 1
            errors = None
            if row.errors:
                rejected += 1
                errors = json.dumps(row.errors)
            copy.write_row(
                (
                    row.line,
                    row.phone,
                    row.name,
                    row.email,
                    row.timezone,
                    row.zone_of_number,
                    row.tags,
                    row.attributes,
                    row.do_not_call,
                    errors,
                )
            )
    return _Counts(total, rejected)


def _write(session: Session, filename: str, counts: _Counts) -> LeadImport:
    """Move what is staged into the tables of the domain."""
    business_id = tenant_of(session)
    session.execute(_ANALYZE)
    import_id = session.scalars(
        insert(LeadImport).values(business_id=business_id, filename=filename[:255]).returning(LeadImport.id)
    ).one()
    ids = {"business_id": business_id, "import_id": import_id}
    written = session.execute(_UPSERT, ids).one()
    marked = session.execute(_LIST, {"business_id": business_id, "reason": IMPORTED}).scalar_one()
    if counts.rejected:
        session.execute(_REPORT_ERRORS, ids)
    duplicates = counts.total - counts.rejected - written.created - written.updated
    assert duplicates >= 0, "more leads written than rows read"
    return session.scalars(
        update(LeadImport)
        .where(LeadImport.id == import_id)
        .values(
            total=counts.total,
            created=written.created,
            updated=written.updated,
            duplicates=duplicates,
            rejected=counts.rejected,
            do_not_call=marked,
        )
        .returning(LeadImport)
    ).one()
