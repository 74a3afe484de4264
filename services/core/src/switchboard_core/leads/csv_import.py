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
# The index finds the first row of each number; statistics of a temporary table nobody else collects.
_INDEX = text("CREATE INDEX ON staged_leads (phone, line) WHERE errors IS NULL")
_ANALYZE = text("ANALYZE staged_leads")

# Sorted by number, so that two imports at once take their row locks in one order. A row that was inserted and not
# updated has no xmax. EXCLUDED cannot say whether the file named a time zone, so that is looked up.
_UPSERT = text("""
WITH written AS (
    INSERT INTO leads AS lead (business_id, phone, name, email, timezone, tags, attributes, import_id)
    SELECT DISTINCT ON (phone)
        CAST(:business_id AS bigint), phone, name, email, coalesce(timezone, zone_of_number),
        coalesce(tags, '[]'), coalesce(attributes, '{}'), CAST(:import_id AS bigint)
    FROM staged_leads
    WHERE errors IS NULL
    ORDER BY phone, line
    ON CONFLICT (business_id, phone) WHERE deleted_at IS NULL DO UPDATE SET
        name = coalesce(excluded.name, lead.name),
        email = coalesce(excluded.email, lead.email),
        timezone = coalesce((
            SELECT staged.timezone FROM staged_leads staged
            WHERE staged.errors IS NULL AND staged.phone = excluded.phone
            ORDER BY staged.line LIMIT 1
        ), lead.timezone),
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
        PhoneError, ZoneError: ``default_region`` or ``default_timezone`` does not exist.
    """
    region, zone = require_region(default_region), require_zone(default_timezone)
    reader = CsvReader(stream, limits or CsvLimits())
    parser = RowParser(reader.header, region=region, default_timezone=zone)
    with session.begin_nested(), _patient(session):
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


@contextmanager
def _patient(session: Session) -> Iterator[None]:
    """Longer limits for the statements of an import."""
    session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
    yield
    session.execute(text("SET LOCAL statement_timeout TO DEFAULT"))


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
    session.execute(_INDEX)
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
