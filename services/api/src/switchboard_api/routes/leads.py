"""Leads: import, list, bulk delete and update; the do-not-call list."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from switchboard_api.auth import Agent, Caller, Owner, RuntimeDep, Viewer
from switchboard_api.idempotency import Idempotency, IdempotencyDep
from switchboard_api.pagination import MAX_ID, Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_api.uploads import FORM_FIELD, Upload, received_file
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.leads import do_not_call, service
from switchboard_core.leads.csv_import import ImportRunningError, import_csv
from switchboard_core.leads.csv_reader import CsvFileError, CsvLimits, CsvTooLargeError
from switchboard_core.leads.filters import MAX_TAGS, LeadQuery, Tag
from switchboard_core.leads.models import DoNotCall
from switchboard_core.leads.phones import PhoneError, parse_phone, require_region
from switchboard_core.leads.schemas import (
    BulkDelete,
    BulkUpdate,
    DoNotCallCheck,
    DoNotCallEntries,
    DoNotCallEntry,
    DoNotCallPage,
    DoNotCallRequest,
    ImportReport,
    LeadCount,
    LeadCountOrder,
    LeadOut,
    PhoneNumbers,
    RestoreLeads,
    StoredImportRowError,
)
from switchboard_core.leads.zones import require_zone
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import get_business, record_audit

Found = TypeVar("Found")

router = APIRouter(prefix="/api", tags=["leads"])

CSV_TYPES = ("text/csv", "application/csv", "text/plain")
_EXAMPLE = "phone,name,timezone,tags,do_not_call,attr_plan\n+14155550123,Ada Moreno,America/Los_Angeles,spring,no,pro\n"
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

Region = Annotated[
    str | None,
    Query(description="Two letters of the country that numbers without a country code belong to.", examples=["US"]),
    AfterValidator(require_region),
]
KnownZone = AfterValidator(lambda value: None if value is None else require_zone(value))
Zone = Annotated[
    str | None,
    Query(description="Where neither file nor number says one; by default that of the business."),
    KnownZone,
]
EntryId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.post(
    "/leads/import",
    summary="Import leads from a CSV",
    status_code=201,
    response_model=ImportReport,
    openapi_extra=_IMPORT_BODY,
    responses={409: {"description": "Another import of the business is running."}},
)
async def import_leads(
    request: Request,
    caller: Agent,
    runtime: RuntimeDep,
    once: IdempotencyDep,
    default_region: Region = None,
    default_timezone: Zone = None,
    filename: Annotated[
        str | None, Query(max_length=255, description="For people; by default that of the form.")
    ] = None,
) -> Response:
    """All or nothing: a malformed file imports nothing, a wrong row is rejected and reported and the rest goes on.

    The first line names the columns: `phone` is required; `name`, `email`, `timezone`, `tags` (separated by `|`),
    `do_not_call` (yes or no) and any `attr_<name>` are welcome. A number that is known has its lead updated; empty
    cells change nothing. Numbers marked `do_not_call` are never dialled, whatever else is wrong in their row.
    """
    async with received_file(request, CSV_TYPES) as upload:
        work = _Import(upload, filename or upload.filename or "upload.csv", default_region, default_timezone)
        return await run_in_threadpool(work.run, runtime, caller, once)


@router.get("/leads/imports/{import_id}", summary="Show an import")
def show_import(import_id: RowId, caller: Viewer, runtime: RuntimeDep) -> ImportReport:
    """What became of its rows, with the first errors."""
    with runtime.database.tenant(caller.business_id) as session:
        return _found(import_id, lambda: service.import_report(session, import_id))


@router.get("/leads/imports/{import_id}/errors", summary="List the errors of an import")
def list_import_errors(
    import_id: RowId, caller: Viewer, runtime: RuntimeDep, paging: Paging
) -> Page[StoredImportRowError]:
    """Every wrong cell, in the order of the file."""
    with runtime.database.tenant(caller.business_id) as session:
        errors = _found(
            import_id,
            lambda: service.import_errors(session, import_id, after_id=paging.after_id, limit=paging.fetch),
        )
        return paging.page(errors)


@router.get("/leads", summary="List leads")
def list_leads(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    tag: Annotated[list[Tag] | None, Query(max_length=MAX_TAGS, description="Has one of these tags.")] = None,
    import_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Was in this import.")] = None,
    timezone: Annotated[str | None, Query(description="IANA time zone.", examples=["Europe/London"]), KnownZone] = None,
    search: Annotated[
        str | None, Query(min_length=2, max_length=100, description="Part of a name, or last digits of a number.")
    ] = None,
    on_do_not_call: Annotated[
        bool | None, Query(alias="do_not_call", description="Is, or is not, on the do-not-call list.")
    ] = None,
) -> Page[LeadOut]:
    """Oldest first."""
    query = LeadQuery(
        tags=tag or None, import_id=import_id, timezone=timezone, search=search, do_not_call=on_do_not_call
    )
    with runtime.database.tenant(caller.business_id) as session:
        return paging.page(service.list_leads(session, query, after_id=paging.after_id, limit=paging.fetch))


@router.post("/leads/bulk-delete", summary="Delete leads", status_code=202, response_model=TaskSnapshot)
def bulk_delete(order: BulkDelete, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background; `total` of the task is how many leads the filter selects now. Later leads are left alone."""
    with runtime.database.tenant(caller.business_id) as session:
        return _bulk(
            session, caller, once, "leads.deleted", lambda: service.bulk_delete(session, runtime, order.filter)
        )


@router.post("/leads/bulk-update", summary="Change leads", status_code=202, response_model=TaskSnapshot)
def bulk_update(order: BulkUpdate, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background; `total` of the task is how many leads the filter selects now. Later leads are left alone."""
    with runtime.database.tenant(caller.business_id) as session:
        return _bulk(
            session,
            caller,
            once,
            "leads.updated",
            lambda: service.bulk_update(session, runtime, order.filter, order.changes),
        )


@router.post(
    "/leads/count",
    summary="Count leads before something is done to them",
    responses={404: {"description": "There is no such import."}},
)
def count_leads(order: LeadCountOrder, caller: Viewer, runtime: RuntimeDep) -> LeadCount:
    """How many leads a bulk task with this filter would touch, and the first of them. Changes nothing."""
    with runtime.database.tenant(caller.business_id) as session:
        return _found(order.created_by_import or 0, lambda: service.count_leads(session, order))


@router.post(
    "/leads/imports/{import_id}/delete",
    summary="Delete what an import brought in",
    status_code=202,
    response_model=TaskSnapshot,
)
def delete_import(import_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background: the leads that this import created, whatever later imports changed in them.

    Leads that it only updated are left alone, with what it wrote into them. `POST /api/leads/count` with
    `created_by_import` says beforehand how many leads are meant.
    """
    with runtime.database.tenant(caller.business_id) as session:
        return _bulk(
            session,
            caller,
            once,
            "leads.deleted",
            lambda: _found(import_id, lambda: service.delete_import(session, runtime, import_id)),
        )


@router.post(
    "/leads/restore",
    summary="Undo a task that deleted leads",
    status_code=202,
    response_model=TaskSnapshot,
    responses={
        404: {"description": "There is no such task."},
        409: {"description": "The task has not ended, deletes no leads, or left none to restore."},
        410: {"description": "Its leads are gone for good."},
    },
)
def restore_leads(order: RestoreLeads, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background, within `LEAD_UNDO_DAYS` (30) of the deletion.

    A lead whose number was imported anew meanwhile is listed in the errors of the task; the others come back as they
    were.
    """

    def create() -> TaskSnapshot:
        try:
            return service.restore(session, runtime, order.task_id)
        except service.NotUndoableError as error:
            raise Problem(409, "Not undoable", str(error)) from None
        except service.UndoExpiredError as error:
            raise Problem(410, "Undo expired", str(error)) from None

    with runtime.database.tenant(caller.business_id) as session:
        return _bulk(session, caller, once, "leads.restored", create)


@router.post(
    "/do-not-call", summary="Put numbers on the do-not-call list", status_code=201, response_model=DoNotCallEntries
)
def add_do_not_call(order: DoNotCallRequest, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """From now on none of them is dialled, in no campaign. The list keeps hashes: it outlives the leads."""
    phones = _phones(order)
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> DoNotCallEntries:
            entries = do_not_call.add(session, phones, reason=order.reason)
            _audit(session, caller, "do_not_call.added", f"{len(entries)} numbers")
            return DoNotCallEntries(items=[_entry(entry) for entry in entries])

        return once.run(session, effect, status=201)


@router.post("/do-not-call/check", summary="Check numbers against the do-not-call list")
def check_do_not_call(order: PhoneNumbers, caller: Viewer, runtime: RuntimeDep) -> DoNotCallCheck:
    """Changes nothing; a POST so that no number stands in an address."""
    phones = _phones(order)
    with runtime.database.tenant(caller.business_id) as session:
        return DoNotCallCheck(listed=sorted(do_not_call.listed(session, phones)))


@router.get("/do-not-call", summary="List the do-not-call list")
def list_do_not_call(
    caller: Viewer,
    runtime: RuntimeDep,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9a-f]{64}$", description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Entries on the page at most.")] = 50,
) -> DoNotCallPage:
    """Entries without their numbers, of which only hashes are kept."""
    after = bytes.fromhex(cursor) if cursor else None
    with runtime.database.tenant(caller.business_id) as session:
        found = do_not_call.entries(session, after=after, limit=limit + 1)
        items = [_entry(entry) for entry in found[:limit]]
        return DoNotCallPage(items=items, next_cursor=items[-1].id if len(found) > limit else None)


@router.delete("/do-not-call/{entry_id}", summary="Take a number off the do-not-call list", status_code=204)
def remove_do_not_call(entry_id: EntryId, caller: Owner, runtime: RuntimeDep) -> None:
    """It may be dialled again. The id of a number's entry is what putting it on the list again answers."""
    with runtime.database.tenant(caller.business_id) as session:
        if not do_not_call.remove(session, bytes.fromhex(entry_id)):
            raise not_found("such entry")
        _audit(session, caller, "do_not_call.removed", f"entry {entry_id[:12]}")


@dataclass(frozen=True)
class _Import:
    """One import, run in a thread."""

    upload: Upload
    filename: str
    region: str | None
    timezone: str | None

    def run(self, runtime: Runtime, caller: Caller, once: Idempotency) -> Response:
        """Import once, or replay the answer."""
        # Two forms with the same file differ in their boundary, so the file itself is compared.
        fingerprint = self.upload.digest() if once.key else None
        with runtime.database.tenant(caller.business_id) as session:
            return once.run(
                session,
                lambda: self._effect(session, runtime, caller),
                status=201,
                headers=lambda report: {"Location": f"/api/leads/imports/{report.id}"},
                fingerprint=fingerprint,
            )

    def _effect(self, session: Session, runtime: Runtime, caller: Caller) -> ImportReport:
        try:
            report = import_csv(
                session,
                self.upload.chunks(),
                filename=self.filename,
                default_region=self.region,
                default_timezone=self.timezone or get_business(session).timezone,
                limits=CsvLimits(max_bytes=runtime.settings.max_import_bytes),
            )
        except CsvTooLargeError as error:
            raise Problem(413, "Body too large", str(error)) from None
        except CsvFileError as error:
            raise Problem(422, "Malformed CSV", str(error)) from None
        except ImportRunningError as error:
            raise Problem(409, "Import running", str(error), headers={"Retry-After": "5"}) from None
        _audit(session, caller, "leads.imported", f"import {report.id}")
        return report


def _bulk(
    session: Session, caller: Caller, once: Idempotency, action: str, create: Callable[[], TaskSnapshot]
) -> Response:
    def effect() -> TaskSnapshot:
        task = create()
        _audit(session, caller, action, f"task {task.id}")
        return task

    return once.run(session, effect, status=202, headers=lambda task: {"Location": f"/api/tasks/{task.id}"})


def _audit(session: Session, caller: Caller, action: str, subject: str) -> None:
    record_audit(session, actor=caller.actor, action=action, subject=subject)


def _found(import_id: int, read: Callable[[], Found]) -> Found:
    try:
        return read()
    except service.ImportNotFoundError:
        raise not_found(f"import {import_id}") from None


def _phones(order: PhoneNumbers) -> list[str]:
    """The numbers in E.164, or a problem that names each wrong one by its place."""
    found, errors = [], []
    for index, phone in enumerate(order.phones):
        try:
            found.append(parse_phone(phone, order.default_region))
        except PhoneError as error:
            errors.append({"field": f"body.phones.{index}", "message": str(error)})
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        detail = f"{errors[0]['field']}: {errors[0]['message']}{more}."
        raise Problem(422, "Invalid request", detail, errors=errors)
    return found


def _entry(entry: DoNotCall) -> DoNotCallEntry:
    return DoNotCallEntry(id=bytes(entry.phone_hash).hex(), reason=entry.reason, created_at=entry.created_at)
