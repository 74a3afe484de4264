"""The verbs of the ledger domain: connect, look at, sync, disconnect."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from switchboard_core.db import savepoint, tenant_of
from switchboard_core.egress import Egress
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import OPEN
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.ledger.accounting_api import AccountingApi, AccountingError, BusyError
from switchboard_core.ledger.cursors import CollectionCursor
from switchboard_core.ledger.models import Counterparty, LedgerConnection, Transaction
from switchboard_core.ledger.schemas import (
    ConnectionOut,
    CounterpartyOut,
    CounterpartyQuery,
    NewConnection,
    TransactionOut,
    TransactionQuery,
)
from switchboard_core.ledger.states import Collection, ConnectionKind
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.settings import Settings
from switchboard_core.vault import service as vault

log = get_logger(__name__)

JOB_TYPE = "sync_ledger"
SECRET_KIND = "ledger"  # noqa: S105 - a name
PROBE_TIMEOUT_S = 10.0


class ConnectionNotFoundError(LookupError):
    """The business has no such connection."""


class NameTakenError(Exception):
    """The business has a connection of that name already."""


class NotSyncableError(Exception):
    """There is no accounting system behind the connection."""


class LedgerBusyError(Exception):
    """Something else is at work on the ledger of the business; the message says what and what to do."""


class ConnectionRefusedByApiError(Exception):
    """The accounting system did not give its first page; the message says what to do."""


async def probe(settings: Settings, base_url: str, token: SecretStr) -> None:
    """Ask an accounting system for its first page of counterparties, as a sync would. No transaction may be open.

    Raises:
        ConnectionRefusedByApiError: it did not give one.
    """
    egress = Egress(settings.trusted_hosts)
    collection = Collection.COUNTERPARTIES
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        if parts.scheme == "http" and not egress.trusts(host, port):
            msg = "base_url has to begin with https: without encryption anybody on the way could read the token."
            raise ConnectionRefusedByApiError(msg)
    except OSError:
        msg = f"{host} cannot be found: check base_url."
        raise ConnectionRefusedByApiError(msg) from None
    api = AccountingApi(token.get_secret_value(), egress, page_timeout_s=PROBE_TIMEOUT_S)
    try:
        await api.page(collection, CollectionCursor().address(base_url, collection))
    except (AccountingError, BusyError) as error:
        raise ConnectionRefusedByApiError(str(error)) from None
    finally:
        await api.close()


def connect(session: Session, settings: Settings, order: NewConnection) -> ConnectionOut:
    """Remember a connection of the session's business; an accounting system has been probed before.

    Raises:
        NameTakenError: it has one of that name.
        KeysMissingError: this installation cannot keep a token.
    """
    row = LedgerConnection(business_id=tenant_of(session), name=order.name, kind=order.kind, base_url=order.base_url)
    try:
        with savepoint(session):
            session.add(row)
            session.flush()
    except IntegrityError as error:
        if (
            getattr(getattr(error.orig, "diag", None), "constraint_name", "")
            != "uq_ledger_connections_business_id_name"
        ):
            raise
        msg = f"There is a connection called {order.name!r} already: choose another name."
        raise NameTakenError(msg) from None
    if order.token is not None:
        row.credential_id = vault.store(session, settings, SECRET_KIND, {"token": order.token.get_secret_value()})
        session.flush()
    session.refresh(row)
    return _connection_out(row)


def set_token(session: Session, settings: Settings, connection_id: int, token: SecretStr) -> ConnectionOut:
    """Give a connection another token, which has been probed before.

    Raises:
        ConnectionNotFoundError: the business has none with this id.
        NotSyncableError: it has no accounting system behind it.
        KeysMissingError: this installation cannot keep a token.
    """
    row = _syncable(session, connection_id)
    secret = {"token": token.get_secret_value()}
    if row.credential_id is None:
        row.credential_id = vault.store(session, settings, SECRET_KIND, secret)
    else:
        vault.replace(session, settings, row.credential_id, secret)
    session.flush()
    return _connection_out(row)


def base_url_of(session: Session, connection_id: int) -> str:
    """Where the accounting system of a connection is. Raises as ``set_token``."""
    base_url = _syncable(session, connection_id).base_url
    assert base_url is not None
    return base_url


def list_connections(session: Session, *, after_id: int | None = None, limit: int = 50) -> list[ConnectionOut]:
    """Connections of the session's business, oldest first, from behind ``after_id``."""
    rows = session.scalars(
        select(LedgerConnection)
        .where(LedgerConnection.business_id == tenant_of(session), LedgerConnection.id > (after_id or 0))
        .order_by(LedgerConnection.id)
        .limit(limit)
    )
    return [_connection_out(row) for row in rows]


def get_connection(session: Session, connection_id: int) -> ConnectionOut:
    """One connection.

    Raises:
        ConnectionNotFoundError: the business has none with this id.
    """
    return _connection_out(_row(session, connection_id))


def disconnect(session: Session, connection_id: int) -> None:
    """Delete a connection, its token and its documents.

    Raises:
        ConnectionNotFoundError: the business has none with this id.
        LedgerBusyError: a sync of it is open.
    """
    row = _row(session, connection_id)
    open_sync = _open_sync(session)
    if open_sync is not None and open_sync.payload.get("connection_id") == connection_id:
        msg = f"A sync of the connection is running (task {open_sync.id}): cancel it, then try again."
        raise LedgerBusyError(msg)
    credential_id = row.credential_id
    # By statement: an object's own delete would not see what the database deletes with it.
    session.execute(
        delete(LedgerConnection).where(
            LedgerConnection.id == connection_id, LedgerConnection.business_id == tenant_of(session)
        )
    )
    if credential_id is not None:
        vault.forget(session, credential_id)


def start_sync(session: Session, runtime: Runtime, connection_id: int) -> TaskSnapshot:
    """Sync a connection in the background; while a sync of it is open, that one is returned.

    Raises:
        ConnectionNotFoundError: the business has none with this id.
        NotSyncableError: it has no accounting system behind it.
        LedgerBusyError: another connection of the business is being synced.
    """
    _syncable(session, connection_id)
    business_id = tenant_of(session)
    task = runtime.tasks.create(session, JOB_TYPE, {"connection_id": connection_id}, dedupe_key=JOB_TYPE)
    job = session.scalars(
        select(BackgroundJob).where(BackgroundJob.id == task.id, BackgroundJob.business_id == business_id)
    ).one()
    if job.payload.get("connection_id") != connection_id:
        msg = f"Another connection is being synced (task {task.id}): wait until it has ended, then try again."
        raise LedgerBusyError(msg)
    return task


def list_counterparties(
    session: Session, query: CounterpartyQuery, *, after_id: int | None = None, limit: int = 50
) -> list[CounterpartyOut]:
    """Counterparties of the session's business, in the order in which they came, from behind ``after_id``."""
    found = select(Counterparty).where(Counterparty.business_id == tenant_of(session))
    if query.connection_id is not None:
        found = found.where(Counterparty.connection_id == query.connection_id)
    if query.search is not None:
        found = found.where(Counterparty.name.icontains(query.search, autoescape=True))
    if query.deleted is not None:
        found = found.where(Counterparty.deleted.is_(query.deleted))
    rows = session.scalars(found.where(Counterparty.id > (after_id or 0)).order_by(Counterparty.id).limit(limit))
    return [CounterpartyOut.model_validate(row, from_attributes=True) for row in rows]


def list_transactions(
    session: Session, query: TransactionQuery, *, after_id: int | None = None, limit: int = 50
) -> list[TransactionOut]:
    """Transactions of the session's business, in the order in which they came, from behind ``after_id``."""
    wanted: dict[Any, object] = {
        Transaction.connection_id: query.connection_id,
        Transaction.counterparty_id: query.counterparty_id,
        Transaction.status: query.status,
        Transaction.currency: query.currency,
        Transaction.deleted: query.deleted,
    }
    found = select(Transaction).where(Transaction.business_id == tenant_of(session))
    for column, value in wanted.items():
        if value is not None:
            found = found.where(column == value)
    if query.booked_from is not None:
        found = found.where(Transaction.booked_on >= query.booked_from)
    if query.booked_until is not None:
        found = found.where(Transaction.booked_on <= query.booked_until)
    rows: Sequence[Transaction] = session.scalars(
        found.where(Transaction.id > (after_id or 0)).order_by(Transaction.id).limit(limit)
    ).all()
    return [TransactionOut.model_validate(row, from_attributes=True) for row in rows]


def _row(session: Session, connection_id: int) -> LedgerConnection:
    row = session.scalars(
        select(LedgerConnection).where(
            LedgerConnection.id == connection_id, LedgerConnection.business_id == tenant_of(session)
        )
    ).first()
    if row is None:
        msg = f"There is no connection {connection_id}."
        raise ConnectionNotFoundError(msg)
    return row


def _syncable(session: Session, connection_id: int) -> LedgerConnection:
    row = _row(session, connection_id)
    if row.kind is not ConnectionKind.API:
        msg = "This connection takes CSV files: send them to /api/ledger/import."
        raise NotSyncableError(msg)
    return row


def _open_sync(session: Session) -> BackgroundJob | None:
    return session.scalars(
        select(BackgroundJob).where(
            BackgroundJob.business_id == tenant_of(session),
            BackgroundJob.dedupe_key == JOB_TYPE,
            BackgroundJob.status.in_(OPEN),
        )
    ).first()


def _connection_out(row: LedgerConnection) -> ConnectionOut:
    return ConnectionOut.model_validate(row, from_attributes=True)
