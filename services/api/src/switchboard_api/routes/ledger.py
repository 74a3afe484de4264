"""Transactions and counterparties of an accounting system: connections, sync, CSV import, lists."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, TypeVar

import anyio.from_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import SecretStr
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from switchboard_api.auth import Agent, Caller, Owner, RuntimeDep, Viewer
from switchboard_api.idempotency import Idempotency, IdempotencyDep
from switchboard_api.pagination import MAX_ID, Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_api.uploads import FORM_FIELD, Upload, received_file
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.leads.csv_reader import CsvFileError, CsvTooLargeError
from switchboard_core.ledger import service
from switchboard_core.ledger.csv_import import import_ledger_csv
from switchboard_core.ledger.schemas import (
    ConnectionOut,
    CounterpartyOut,
    CounterpartyQuery,
    LedgerImportReport,
    NewConnection,
    TokenChange,
    TransactionOut,
    TransactionQuery,
)
from switchboard_core.ledger.states import Collection, TransactionStatus
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import record_audit
from switchboard_core.vault.sealing import KeysMissingError

Made = TypeVar("Made")

router = APIRouter(prefix="/api/ledger", tags=["ledger"])

CSV_TYPES = ("text/csv", "application/csv", "text/plain")
_EXAMPLE = "id,amount,currency,date,counterparty,description\nT-2041,119.90,EUR,2026-01-26,C-17,Invoice 2041\n"
_FILE = {"type": "string", "format": "binary", "description": "The CSV."}
_IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE},
            "multipart/form-data": {
                "schema": {"type": "object", "required": [FORM_FIELD], "properties": {FORM_FIELD: _FILE}},
                "example": {FORM_FIELD: _EXAMPLE},
            },
        },
    }
}
_BUSY: dict[int | str, dict[str, Any]] = {
    409: {"description": "Something else is at work on the ledger of the business."}
}

ConnectionFilter = Annotated[int | None, Query(ge=1, le=MAX_ID, description="Came through this connection.")]
Deleted = Annotated[bool, Query(description="Show those that were deleted in the accounting system, and only those.")]


@router.post("/connections", summary="Connect an accounting system", status_code=201, response_model=ConnectionOut)
def connect(order: NewConnection, caller: Owner, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Its first page is asked for before anything is kept. The token is encrypted and never shown again.

    A connection of the kind `csv` has neither `base_url` nor `token`: it takes files at `/api/ledger/import`.
    """

    def effect(session: Session) -> ConnectionOut:
        made = service.connect(session, runtime.settings, order)
        record_audit(session, actor=caller.actor, action="ledger.connected", subject=f"connection {made.id}")
        return made

    probed = None if order.base_url is None or order.token is None else (order.base_url, order.token)
    return _probed(runtime, caller, once, effect, lambda _session: probed, status=201)


@router.get("/connections", summary="List connections")
def list_connections(caller: Viewer, runtime: RuntimeDep, paging: Paging) -> Page[ConnectionOut]:
    """Oldest first."""
    with runtime.database.tenant(caller.business_id) as session:
        return paging.page(service.list_connections(session, after_id=paging.after_id, limit=paging.fetch))


@router.get("/connections/{connection_id}", summary="Show a connection")
def show_connection(connection_id: RowId, caller: Viewer, runtime: RuntimeDep) -> ConnectionOut:
    """How its last sync ended."""
    with runtime.database.tenant(caller.business_id) as session:
        return _refused(lambda: service.get_connection(session, connection_id))


@router.post("/connections/{connection_id}/token", summary="Change the token", response_model=ConnectionOut)
def set_token(
    connection_id: RowId, order: TokenChange, caller: Owner, runtime: RuntimeDep, once: IdempotencyDep
) -> Response:
    """The first page is asked for with it before the old one is forgotten."""

    def effect(session: Session) -> ConnectionOut:
        made = service.set_token(session, runtime.settings, connection_id, order.token)
        record_audit(session, actor=caller.actor, action="ledger.token_changed", subject=f"connection {made.id}")
        return made

    return _probed(
        runtime, caller, once, effect, lambda session: (service.base_url_of(session, connection_id), order.token)
    )


@router.delete("/connections/{connection_id}", summary="Delete a connection", status_code=204, responses=_BUSY)
def disconnect(connection_id: RowId, caller: Owner, runtime: RuntimeDep) -> None:
    """With its token and all its documents."""
    with runtime.database.tenant(caller.business_id) as session:
        _refused(lambda: service.disconnect(session, connection_id))
        record_audit(session, actor=caller.actor, action="ledger.disconnected", subject=f"connection {connection_id}")


@router.post(
    "/connections/{connection_id}/sync",
    summary="Sync a connection",
    status_code=202,
    response_model=TaskSnapshot,
    responses=_BUSY,
)
def sync(connection_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background. While a sync of the connection is open, its task is answered again."""
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> TaskSnapshot:
            task = _refused(lambda: service.start_sync(session, runtime, connection_id))
            subject = f"connection {connection_id}, task {task.id}"
            record_audit(session, actor=caller.actor, action="ledger.sync_started", subject=subject)
            return task

        return once.run(session, effect, status=202, headers=lambda task: {"Location": f"/api/tasks/{task.id}"})


@router.post(
    "/import",
    summary="Import documents from a CSV",
    status_code=201,
    response_model=LedgerImportReport,
    openapi_extra=_IMPORT_BODY,
    responses={**_BUSY, 404: {"description": "There is no such connection."}},
)
async def import_documents(
    request: Request,
    caller: Agent,
    runtime: RuntimeDep,
    once: IdempotencyDep,
    connection_id: Annotated[int, Query(ge=1, le=MAX_ID, description="A connection of the kind csv.", examples=[4])],
    collection: Annotated[Collection, Query(description="What the rows are.")],
) -> Response:
    """A malformed file imports nothing; a wrong row is left out and reported, and the rest goes on.

    The first line names the columns. Both collections have `id` (required), `version` and `deleted` (yes or no);
    counterparties `name` and `email`; transactions `amount`, `currency`, `date`, `status`, `counterparty` and
    `description`. A row without a `version` is newer than everything before.
    """
    async with received_file(request, CSV_TYPES) as upload:
        work = _Import(upload, connection_id, collection)
        return await run_in_threadpool(work.run, runtime, caller, once)


@router.get("/counterparties", summary="List counterparties")
def list_counterparties(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    connection_id: ConnectionFilter = None,
    search: Annotated[str | None, Query(min_length=2, max_length=100, description="Part of the name.")] = None,
    *,
    deleted: Deleted = False,
) -> Page[CounterpartyOut]:
    """In the order in which they came."""
    query = CounterpartyQuery(connection_id=connection_id, search=search, deleted=deleted)
    with runtime.database.tenant(caller.business_id) as session:
        return paging.page(service.list_counterparties(session, query, after_id=paging.after_id, limit=paging.fetch))


@router.get("/transactions", summary="List transactions")
def list_transactions(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    connection_id: ConnectionFilter = None,
    counterparty_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="With this counterparty.")] = None,
    status: TransactionStatus | None = None,
    currency: Annotated[str | None, Query(pattern=r"^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])] = None,
    booked_from: Annotated[date | None, Query(description="Booked on this day or later.")] = None,
    booked_until: Annotated[date | None, Query(description="Booked on this day or earlier.")] = None,
    *,
    deleted: Deleted = False,
) -> Page[TransactionOut]:
    """In the order in which they came."""
    query = TransactionQuery(
        connection_id=connection_id,
        counterparty_id=counterparty_id,
        status=status,
        currency=currency,
        booked_from=booked_from,
        booked_until=booked_until,
        deleted=deleted,
    )
    with runtime.database.tenant(caller.business_id) as session:
        return paging.page(service.list_transactions(session, query, after_id=paging.after_id, limit=paging.fetch))


@dataclass(frozen=True)
class _Import:
    """One import, run in a thread."""

    upload: Upload
    connection_id: int
    collection: Collection

    def run(self, runtime: Runtime, caller: Caller, once: Idempotency) -> Response:
        """Import once, or replay the answer."""
        # Two forms with the same file differ in their boundary, so the file itself is compared.
        fingerprint = self.upload.digest() if once.key else None
        with runtime.database.tenant(caller.business_id) as session:
            return once.run(
                session, lambda: self._effect(session, runtime, caller), status=201, fingerprint=fingerprint
            )

    def _effect(self, session: Session, runtime: Runtime, caller: Caller) -> LedgerImportReport:
        try:
            report = _refused(
                lambda: import_ledger_csv(
                    session,
                    runtime.settings,
                    self.upload.chunks(),
                    connection_id=self.connection_id,
                    collection=self.collection,
                )
            )
        except CsvTooLargeError as error:
            raise Problem(413, "Body too large", str(error)) from None
        except CsvFileError as error:
            raise Problem(422, "Malformed CSV", str(error)) from None
        subject = f"connection {self.connection_id}"
        detail = {"collection": self.collection.value, "rows": report.total}
        record_audit(session, actor=caller.actor, action="ledger.imported", subject=subject, detail=detail)
        return report


class _ProbeFirstError(Exception):
    """The request is new: the accounting system has to be asked before it has its effect."""


def _probed(
    runtime: Runtime,
    caller: Caller,
    once: Idempotency,
    effect: Callable[[Session], ConnectionOut],
    wanted: Callable[[Session], tuple[str, SecretStr] | None],
    *,
    status: int = 200,
) -> Response:
    """Run an effect once the accounting system has answered, without a transaction open meanwhile.

    Args:
        runtime: of the process.
        caller: who asks.
        once: a request that was sent before is replayed without asking the accounting system again.
        effect: what to do.
        wanted: base URL and token to try; None: nothing.
        status: of the answer.
    """
    target: tuple[str, SecretStr] | None = None

    def look(session: Session) -> ConnectionOut:
        nonlocal target
        target = _refused(lambda: wanted(session))
        raise _ProbeFirstError

    def answer(change: Callable[[Session], ConnectionOut]) -> Response:
        with runtime.database.tenant(caller.business_id) as session:
            return once.run(
                session,
                lambda: change(session),
                status=status,
                headers=lambda made: {"Location": f"/api/ledger/connections/{made.id}"},
            )

    try:
        return answer(look)
    except _ProbeFirstError:
        pass
    if target is not None:
        base_url, token = target
        try:
            anyio.from_thread.run(service.probe, runtime.settings, base_url, token)
        except service.ConnectionRefusedByApiError as error:
            raise Problem(422, "Accounting system refused", str(error)) from None
    return answer(lambda session: _refused(lambda: effect(session)))


def _refused(work: Callable[[], Made]) -> Made:
    """Do something of the ledger; what it refuses is a problem."""
    try:
        return work()
    except service.ConnectionNotFoundError as error:
        raise not_found(str(error).removeprefix("There is no ").rstrip(".")) from None
    except service.NameTakenError as error:
        raise Problem(409, "Name taken", str(error)) from None
    except service.LedgerBusyError as error:
        raise Problem(409, "Ledger busy", str(error), headers={"Retry-After": "5"}) from None
    except service.NotSyncableError as error:
        raise Problem(409, "Wrong kind of connection", str(error)) from None
    except KeysMissingError as error:
        raise Problem(503, "Secrets cannot be kept", str(error)) from None
