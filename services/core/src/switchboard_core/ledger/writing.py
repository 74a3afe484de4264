"""Documents to rows: a batch at a time, newer versions over older ones, each wrong document named and left out.

Both ways into the ledger, the sync and the CSV import, write through here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ARRAY, Result, Text, TextClause, any_, bindparam, select, text
from sqlalchemy.exc import DataError, IntegrityError, InternalError
from sqlalchemy.orm import Session

from switchboard_core.db import savepoint, tenant_of
from switchboard_core.jobs.slices import BATCH, ItemError, SliceContext
from switchboard_core.ledger.documents import (
    DeletedDocument,
    Document,
    Read,
    TransactionDocument,
    WrongDocument,
    as_json,
    name_of,
)
from switchboard_core.ledger.models import Counterparty
from switchboard_core.ledger.states import Collection

MAX_KNOWN = 100_000
STRANGER = "counterparty: is not one of the counterparties of this connection"

# A batch travels as one JSON text, which is several times cheaper than binding an array for each column. Counterparties
# are found row by row through the unique index: a join could be planned on statistics from before they came.
# A row that was inserted and not updated has no xmax. What is no newer than the row that is there returns nothing.
_UPSERT = """
WITH written AS (
    INSERT INTO {table} AS known (business_id, connection_id, external_id, {columns}, source_version)
    SELECT CAST(:business_id AS bigint), CAST(:connection_id AS bigint), new.id, {values}, new.version
    FROM json_to_recordset(CAST(:rows AS json)) AS new (id text, {fields}, version bigint)
    ON CONFLICT (business_id, connection_id, external_id) DO UPDATE SET
        {changes}, source_version = excluded.source_version, deleted = false, updated_at = now()
    WHERE known.source_version < excluded.source_version
    RETURNING known.xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS created, count(*) FILTER (WHERE NOT is_new) AS updated FROM written
"""
_COUNTERPARTY = """(
        SELECT party.id FROM counterparties party
        WHERE party.business_id = :business_id AND party.connection_id = :connection_id
            AND party.external_id = new.counterparty
    )"""
# Column, and what it is made of.
_COLUMNS = {
    Collection.COUNTERPARTIES: {"name": "new.name", "email": "new.email"},
    Collection.TRANSACTIONS: {
        "counterparty_id": _COUNTERPARTY,
        "amount": "new.amount",
        "currency": "new.currency",
        "booked_on": "new.date",
        "status": "new.status",
        "description": "new.description",
    },
}
_FIELDS = {
    Collection.COUNTERPARTIES: "name text, email text",
    Collection.TRANSACTIONS: (
        "counterparty text, amount numeric, currency text, date date, status text, description text"
    ),
}
_MARK_DELETED = """
WITH marked AS (
    UPDATE {table} AS known SET deleted = true, source_version = gone.version, updated_at = now()
    FROM json_to_recordset(CAST(:rows AS json)) AS gone (id text, version bigint)
    WHERE known.business_id = :business_id AND known.connection_id = :connection_id AND known.external_id = gone.id
        AND known.source_version < gone.version
    RETURNING 1
)
SELECT count(*) FROM marked
"""


def _upsert_of(collection: Collection) -> TextClause:
    columns = _COLUMNS[collection]
    return text(
        _UPSERT.format(
            table=collection.value,
            columns=", ".join(columns),
            values=", ".join(columns.values()),
            fields=_FIELDS[collection],
            changes=", ".join(f"{name} = excluded.{name}" for name in columns),
        )
    )


_WRITE = {collection: _upsert_of(collection) for collection in Collection}
_MARK = {collection: text(_MARK_DELETED.format(table=collection.value)) for collection in Collection}


@dataclass
class Written:
    """What became of documents; what is in none of the counts was no newer than the row that was there."""

    created: int = 0
    updated: int = 0
    deleted: int = 0

    def add(self, more: "Written") -> None:
        """Count further documents."""
        self.created += more.created
        self.updated += more.updated
        self.deleted += more.deleted


def take_turn(session: Session) -> bool:
    """Hold the ledger of the session's business until the transaction ends; False: somebody else holds it."""
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    return bool(session.scalar(statement, {"name": f"ledger:{tenant_of(session)}"}))


class Writer:
    """Writes documents of one collection of one connection.

    Args:
        ctx: whose savepoints, errors and counts are used.
        connection_id: of the session's business.
        collection: what the documents are.
        known: counterparties of the connection that are known to be there, added to here. They never go away as long
            as the connection is there, so it may be kept from one slice to the next.
        name: how people find a document; by default by its id.
        advice: what is said of a stranger, a transaction whose counterparty is not there, besides that it is one.

    Attributes:
        strangers: how many there were.
    """

    def __init__(
        self,
        ctx: SliceContext,
        connection_id: int,
        collection: Collection,
        known: set[str] | None = None,
        name: Callable[[Document], str] | None = None,
        advice: str = "",
    ) -> None:
        self._ctx = ctx
        self._connection_id = connection_id
        self.collection = collection
        self.written = Written()
        self.strangers = 0
        self._known = set() if known is None else known
        self._name = name or partial(name_of, collection)
        self._stranger = STRANGER + advice

    def learn(self, documents: Iterable[Read]) -> None:
        """Look up the counterparties that transactions name; to be called before they are written."""
        named = {
            item.counterparty
            for item in documents
            if isinstance(item, TransactionDocument) and item.counterparty is not None
        }
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        if unseen := named - self._known:
            self._known |= _there(self._ctx.session, self._connection_id, sorted(unseen))

    def write(self, documents: Sequence[Read]) -> None:
        """Write documents. Each one that cannot be written is in ``ctx.errors``; the others are written.

        A whole page goes in one statement, for speed. Where anything in it is refused it goes by the hundred, and by
        halves of that, until the bad document is alone.

        Args:
            documents: those that ``learn`` was told of.
        """
        good: list[Document] = []
        for item in documents:
            if isinstance(item, WrongDocument):
                self._ctx.errors.append(ItemError(item.name, item.message))
            elif self._is_stranger(item):
                self.strangers += 1
                self._ctx.errors.append(ItemError(self._name(item), self._stranger))
            else:
                good.append(item)
        if len(good) <= BATCH or self._ctx.condemned or not self._write_at_once(good):
            self._ctx.each(good, self._apply, name=self._name)

    def _write_at_once(self, documents: Sequence[Document]) -> bool:
        """Write all documents under one savepoint, or none."""
        try:
            with savepoint(self._ctx.session):
                self._apply(documents)
        except (IntegrityError, DataError, InternalError):
            return False
        self._ctx.done += len(documents)
        return True

    def _is_stranger(self, document: Document) -> bool:
        """Whether a transaction names a counterparty that is not there."""
        named = document.counterparty if isinstance(document, TransactionDocument) else None
        return named is not None and named not in self._known

    def _apply(self, documents: Sequence[Document]) -> None:
        newest: dict[str, Document] = {}
        for document in documents:
            before = newest.get(document.id)
            if before is None or before.version < document.version:
                newest[document.id] = document
        made = Written()
        gone = [document for document in newest.values() if isinstance(document, DeletedDocument)]
        rows = [document for document in newest.values() if not isinstance(document, DeletedDocument)]
        if gone:
            made.deleted = self._run(_MARK[self.collection], gone).scalar_one()
        if rows:
            counts = self._run(_WRITE[self.collection], rows).one()
            made.created, made.updated = counts.created, counts.updated
        self.written.add(made)

    def _run(self, statement: TextClause, documents: Sequence[Document]) -> Result[Any]:
        session = self._ctx.session
        owner = {"business_id": tenant_of(session), "connection_id": self._connection_id}
        return session.execute(statement, {**owner, "rows": as_json(documents)})


def _there(session: Session, connection_id: int, external_ids: list[str]) -> set[str]:
    """Which of these counterparties a connection of the session's business has."""
    return set(
        session.scalars(
            select(Counterparty.external_id).where(
                Counterparty.business_id == tenant_of(session),
                Counterparty.connection_id == connection_id,
                Counterparty.external_id == any_(bindparam("external_ids", external_ids, type_=ARRAY(Text))),
            )
        )
    )
