"""A CSV of counterparties or transactions into the ledger, in the caller's one transaction.

Rows are documents like those of an accounting system and are written in the same way: a wrong row is left out and
reported, and harms no other. A malformed file writes nothing.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard_core.db import savepoint, tenant_of
from switchboard_core.jobs.slices import BATCH, ItemError, SliceContext
from switchboard_core.leads.csv_reader import CsvFileError, CsvLimits, CsvReader, CsvRow, is_text
from switchboard_core.ledger.documents import Document, Read, WrongDocument, understand
from switchboard_core.ledger.models import LedgerConnection
from switchboard_core.ledger.schemas import ERRORS_SHOWN, LedgerImportReport, LedgerRowError
from switchboard_core.ledger.service import ConnectionNotFoundError, LedgerBusyError, NotSyncableError
from switchboard_core.ledger.states import Collection, ConnectionKind
from switchboard_core.ledger.writing import Writer, take_turn
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

COLUMNS: dict[Collection, tuple[str, ...]] = {
    Collection.COUNTERPARTIES: ("id", "name", "email", "version", "deleted"),
    Collection.TRANSACTIONS: (
        "id",
        "amount",
        "currency",
        "date",
        "status",
        "counterparty",
        "description",
        "version",
        "deleted",
    ),
}
_YES = frozenset({"yes", "y", "true", "1"})
_NO = frozenset({"", "no", "n", "false", "0"})


def import_ledger_csv(
    session: Session,
    settings: Settings,
    stream: Iterable[bytes],
    *,
    connection_id: int,
    collection: Collection,
    now_ms: int | None = None,
) -> LedgerImportReport:
    """Import documents into a connection of the session's business.

    Args:
        session: bound to the business; the caller commits.
        settings: of the process; ``max_import_bytes`` limits the file.
        stream: the file in pieces of any size.
        connection_id: of the kind csv.
        collection: what the rows are.
        now_ms: version of rows that name none, so that a later file wins; by default the machine's clock in
            milliseconds.

    Raises:
        ConnectionNotFoundError: the business has none with this id.
        NotSyncableError: it is synced with an accounting system.
        LedgerBusyError: a sync or another import of the business is writing.
        CsvFileError: the file as a whole cannot be imported; nothing was written.
    """
    _require_csv(session, connection_id)
    reader = CsvReader(stream, CsvLimits(max_bytes=settings.max_import_bytes))
    rows = _Rows(collection, reader.header, time.time_ns() // 1_000_000 if now_ms is None else now_ms)
    if not take_turn(session):
        msg = "A sync or another import of this business is writing: wait until it has ended, then try again."
        raise LedgerBusyError(msg)
    # Not a job's slice, but its savepoints and its search for the one bad item.
    ctx = SliceContext(session, settings, job_id=0, business_id=tenant_of(session))
    writer = Writer(ctx, connection_id, collection, name=rows.place_of)
    total, rejected = 0, 0
    shown: list[LedgerRowError] = []
    with savepoint(session):
        for batch in rows.batches(reader):
            writer.learn(batch)
            writer.write(batch)
            total += len(batch)
            rejected += len(ctx.errors)
            # A file of millions of wrong rows must not fill the memory.
            shown += [
                fault for error in ctx.errors[: max(0, ERRORS_SHOWN - len(shown))] for fault in rows.errors_of(error)
            ]
            ctx.errors.clear()
    return _report(writer, connection_id, total, rejected, shown[:ERRORS_SHOWN])


def _require_csv(session: Session, connection_id: int) -> None:
    kind = session.scalar(
        select(LedgerConnection.kind).where(
            LedgerConnection.id == connection_id, LedgerConnection.business_id == tenant_of(session)
        )
    )
    if kind is None:
        msg = f"There is no connection {connection_id}."
        raise ConnectionNotFoundError(msg)
    if kind is not ConnectionKind.CSV:
        msg = "This connection is synced with an accounting system: make one of the kind csv for files."
        raise NotSyncableError(msg)


def _report(
    writer: Writer, connection_id: int, total: int, rejected: int, errors: list[LedgerRowError]
) -> LedgerImportReport:
    made, collection = writer.written, writer.collection
    log.info(
        "ledger imported", connection_id=connection_id, collection=collection.value, total=total, rejected=rejected
    )
    return LedgerImportReport(
        connection_id=connection_id,
        collection=collection,
        total=total,
        created=made.created,
        updated=made.updated,
        deleted=made.deleted,
        unchanged=total - made.created - made.updated - made.deleted - rejected,
        rejected=rejected,
        errors=errors,
    )


class _Rows:
    """Understands the rows under one header.

    Raises:
        CsvFileError: a column is unknown, named twice, or missing.
    """

    def __init__(self, collection: Collection, header: Sequence[str], version: int) -> None:
        self._collection = collection
        self._version = version
        self._names = [cell.strip().lower() for cell in header]
        self._places: dict[int, str] = {}
        self._faults: dict[str, tuple[tuple[str | None, str], ...]] = {}
        allowed = COLUMNS[collection]
        for name in self._names:
            if name not in allowed:
                shown = name[:50] if is_text(name) else "one that is not UTF-8"
                msg = (
                    f"The columns of {collection} are {', '.join(allowed)}; the file has {shown!r}. Rename or drop it."
                )
                raise CsvFileError(msg)
        if len(set(self._names)) < len(self._names):
            msg = "A column is there twice: keep one of them."
            raise CsvFileError(msg)
        if "id" not in self._names:
            msg = "The column id is missing: it says which document a row is."
            raise CsvFileError(msg)

    def batches(self, reader: CsvReader) -> Iterator[list[Read]]:
        """The documents of all rows, by the hundred."""
        rows = iter(reader)
        while batch := [(f"line {row.line}", self._read(row)) for row in islice(rows, BATCH)]:
            self._places = {id(document): place for place, document in batch}
            yield [document for _, document in batch]

    def place_of(self, document: Document) -> str:
        """Where a document of the current batch stands in the file."""
        return self._places[id(document)]

    def _read(self, row: CsvRow) -> Read:
        place, raw = f"line {row.line}", self._raw(row)
        if isinstance(raw, tuple):
            found: Read = WrongDocument(place, (raw,))
        else:
            found = understand(self._collection, raw, place)
        if isinstance(found, WrongDocument):
            if len(self._faults) < ERRORS_SHOWN:
                self._faults[place] = found.faults
            return replace(found, name=place)
        return found

    def errors_of(self, error: ItemError) -> Iterator[LedgerRowError]:
        """What is wrong in a row, cell by cell."""
        line = int(error.item.removeprefix("line "))
        for column, fault in self._faults.get(error.item, ((None, error.message),)):
            yield LedgerRowError(line=line, column=column, message=fault)

    def _raw(self, row: CsvRow) -> dict[str, object] | tuple[str | None, str]:
        """A row as an accounting system would send it, or the column that cannot be read and why."""
        cells = row.cells
        if any(cell.strip() for cell in cells[len(self._names) :]):
            return (None, "has more cells than there are columns: quote cells that hold the delimiter")
        found: dict[str, object] = {"version": self._version}
        for name, cell in zip(self._names, cells, strict=False):
            if not is_text(cell):
                return (name, "is not valid UTF-8: save the file as CSV in UTF-8")
            if cell.strip():
                found[name] = cell.strip()
        word = str(found.pop("deleted", "")).lower()
        if word not in _YES | _NO:
            return ("deleted", "is neither yes nor no")
        return found | {"deleted": word in _YES}
