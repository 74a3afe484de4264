"""The verbs of the leads domain: list, count, select, import reports, bulk tasks and their undo."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from switchboard_core.db import after_commit, tenant_of
from switchboard_core.jobs.manager import TaskNotFoundError
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.leads.do_not_call import listed
from switchboard_core.leads.filters import ImportedLeads, LeadConditions, LeadFilter
from switchboard_core.leads.models import Lead, LeadImport, LeadImportError
from switchboard_core.leads.schemas import (
    ERRORS_SHOWN,
    EXAMPLES_SHOWN,
    BulkPayload,
    ImportedPayload,
    ImportReport,
    ImportRowError,
    LeadChanges,
    LeadCount,
    LeadCountOrder,
    LeadOut,
    RestorePayload,
    StoredImportRowError,
)
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime

log = get_logger(__name__)


DELETING = ("delete_leads", "delete_imported_leads")
"""Kinds of tasks that can be undone."""


class ImportNotFoundError(LookupError):
    """The business has no such import."""


class NotUndoableError(Exception):
    """There is nothing of this task that could be restored, or not yet; the message says why."""


class UndoExpiredError(Exception):
    """The task is longer ago than deleted leads are kept."""


def list_leads(
    session: Session, conditions: LeadConditions, *, after_id: int | None = None, limit: int = 50
) -> list[LeadOut]:
    """Leads of the session's business that meet the conditions, oldest first, from behind ``after_id``."""
    leads = session.scalars(
        select(Lead)
        .where(Lead.business_id == tenant_of(session), *conditions.clauses(), Lead.id > (after_id or 0))
        .order_by(Lead.id)
        .limit(limit)
    ).all()
    on_list = listed(session, (lead.phone for lead in leads))
    return [_lead_out(lead, do_not_call=lead.phone in on_list) for lead in leads]


def count(session: Session, conditions: LeadConditions) -> int:
    """How many leads of the session's business meet the conditions."""
    return session.scalars(
        select(func.count()).select_from(Lead).where(Lead.business_id == tenant_of(session), *conditions.clauses())
    ).one()


def is_deleted(session: Session, lead_id: int, phone: str) -> bool:
    """Whether a lead was deleted, and no other lead of the session's business has its number.

    Args:
        session: bound to the business.
        lead_id: the lead.
        phone: its number when it was taken into a run, E.164; a lead that was purged has none any more.
    """
    deleted = exists().where(Lead.id == lead_id, Lead.deleted_at.is_not(None))
    kept = exists().where(Lead.business_id == tenant_of(session), Lead.phone == phone, Lead.deleted_at.is_(None))
    return bool(session.scalar(select(deleted & ~kept)))


def newest_id(session: Session, conditions: LeadConditions) -> int:
    """The highest id of a lead that meets the conditions; 0 when none does."""
    newest = session.scalar(
        select(func.max(Lead.id)).where(Lead.business_id == tenant_of(session), *conditions.clauses())
    )
    return newest or 0


def select_ids_after(
    session: Session, conditions: LeadConditions, after_id: int, limit: int, *, up_to_id: int | None = None
) -> Sequence[int]:
    """The next ids of leads that meet the conditions, ascending.

    Args:
        session: bound to the business.
        conditions: which leads.
        after_id: the last id seen; 0 at the start.
        limit: how many at most.
        up_to_id: the last id that is meant; by default there is none.
    """
    query = select(Lead.id).where(Lead.business_id == tenant_of(session), *conditions.clauses(), Lead.id > after_id)
    if up_to_id is not None:
        query = query.where(Lead.id <= up_to_id)
    return session.scalars(query.order_by(Lead.id).limit(limit)).all()


def _require_import(session: Session, import_id: int) -> LeadImport:
    record = session.get(LeadImport, import_id)
    if record is None:
        msg = f"There is no import {import_id}."
        raise ImportNotFoundError(msg)
    return record


def import_report(session: Session, import_id: int) -> ImportReport:
    """What became of an import of the session's business.

    Raises:
        ImportNotFoundError: it has no such import.
    """
    record = _require_import(session, import_id)
    errors = import_errors(session, import_id, limit=ERRORS_SHOWN)
    return ImportReport(
        id=record.id,
        filename=record.filename,
        total=record.total,
        created=record.created,
        updated=record.updated,
        duplicates=record.duplicates,
        rejected=record.rejected,
        do_not_call=record.do_not_call,
        errors=[ImportRowError(line=error.line, column=error.column, message=error.message) for error in errors],
        created_at=record.created_at,
    )


def import_errors(
    session: Session, import_id: int, *, after_id: int | None = None, limit: int = 50
) -> list[StoredImportRowError]:
    """Wrong cells of an import in the order of the file, from behind ``after_id``.

    Raises:
        ImportNotFoundError: the business has no such import.
    """
    _require_import(session, import_id)
    errors = session.scalars(
        select(LeadImportError)
        .where(
            LeadImportError.business_id == tenant_of(session),
            LeadImportError.import_id == import_id,
            LeadImportError.id > (after_id or 0),
        )
        .order_by(LeadImportError.id)
        .limit(limit)
    )
    return [StoredImportRowError(id=e.id, line=e.line, column=e.column, message=e.message) for e in errors]


def count_leads(session: Session, order: LeadCountOrder) -> LeadCount:
    """How many leads are meant, and the first of them: what to look at before anything is touched.

    Raises:
        ImportNotFoundError: the business has no such import.
    """
    if order.created_by_import is not None:
        _require_import(session, order.created_by_import)
    conditions = order.conditions()
    examples = list_leads(session, conditions, limit=EXAMPLES_SHOWN)
    return LeadCount(count=count(session, conditions), examples=examples)


def bulk_delete(session: Session, runtime: Runtime, selection: LeadFilter) -> TaskSnapshot:
    """Delete the selected leads in the background.

    Returns:
        The task; its ``total`` is how many leads are selected now.
    """
    payload = BulkPayload(filter=selection, up_to_id=newest_id(session, selection))
    return _bulk(session, runtime, _Bulk("delete", "delete_leads", payload, count(session, selection)))


def bulk_update(session: Session, runtime: Runtime, selection: LeadFilter, changes: LeadChanges) -> TaskSnapshot:
    """Change the selected leads in the background.

    Returns:
        The task; its ``total`` is how many leads are selected now.
    """
    payload = BulkPayload(filter=selection, up_to_id=newest_id(session, selection), changes=changes)
    return _bulk(session, runtime, _Bulk("update", "update_leads", payload, count(session, selection)))


def delete_import(session: Session, runtime: Runtime, import_id: int) -> TaskSnapshot:
    """Delete the leads that an import created in the background; those that it only updated are left alone.

    Returns:
        The task; its ``total`` is how many leads of the import there are now.

    Raises:
        ImportNotFoundError: the business has no such import.
    """
    _require_import(session, import_id)
    total = count(session, ImportedLeads(created_by=import_id))
    return _bulk(
        session, runtime, _Bulk("delete", "delete_imported_leads", ImportedPayload(import_id=import_id), total)
    )


def restore(session: Session, runtime: Runtime, task_id: int) -> TaskSnapshot:
    """Undo a task that deleted leads, in the background. Asked for twice at once, it is one task.

    Returns:
        The task; its ``total`` is how many leads can be restored now.

    Raises:
        TaskNotFoundError: the business has no such task.
        NotUndoableError: the task has not ended, deletes no leads, or left none that could be restored.
        UndoExpiredError: it is longer ago than leads are kept.
    """
    deleted = session.execute(
        select(func.count().label("number"), func.max(Lead.deleted_at).label("last_at")).where(
            Lead.business_id == tenant_of(session), Lead.deleted_by_job_id == task_id
        )
    ).one()
    _require_undoable(session, task_id, deleted.last_at, runtime.settings.lead_undo_days)
    order = _Bulk("restore", "restore_leads", RestorePayload(task_id=task_id), deleted.number)
    return _bulk(session, runtime, order, dedupe_key=f"restore_leads:{task_id}")


def _require_undoable(session: Session, task_id: int, last_at: datetime | None, undo_days: int) -> None:
    task = session.get(BackgroundJob, task_id)
    if task is None and last_at is None:
        msg = f"There is no task {task_id}."
        raise TaskNotFoundError(msg)
    if task is not None and task.job_type not in DELETING:
        msg = f"Task {task_id} is of the type {task.job_type}: only tasks that delete leads can be undone."
        raise NotUndoableError(msg)
    if task is not None and not task.status.terminal:
        msg = f"Task {task_id} has not ended: wait for its end, or cancel it, and undo it then."
        raise NotUndoableError(msg)
    # The row of a task may be cleaned up before its leads are: then they say when it was.
    ended_at = last_at or (task.finished_at if task is not None else None)
    if ended_at is not None and ended_at < session.scalars(select(func.now())).one() - timedelta(days=undo_days):
        msg = f"Task {task_id} ended more than {undo_days} days ago: its leads are gone for good, import them again."
        raise UndoExpiredError(msg)
    if last_at is None:
        msg = f"Task {task_id} has left nothing to restore: it deleted no lead, or it was undone already."
        raise NotUndoableError(msg)


@dataclass(frozen=True)
class _Bulk:
    """A bulk task to be created: its verb for the log, its kind, and how many leads it is about."""

    verb: str
    job_type: str
    payload: BaseModel
    total: int


def _bulk(session: Session, runtime: Runtime, order: _Bulk, *, dedupe_key: str | None = None) -> TaskSnapshot:
    log.info(f"Creating bulk {order.verb} job: {order.total} leads (tenant={tenant_of(session)})")  # noqa: G004 - the contract's literal line
    payload = order.payload.model_dump(mode="json", exclude_defaults=True)
    task = runtime.tasks.create(session, order.job_type, payload, total=order.total, dedupe_key=dedupe_key)
    after_commit(
        session,
        lambda: log.info(f"Enqueued RQ job for bulk {order.verb}, job_id={task.id}"),  # noqa: G004 - the contract's literal line
    )
    return task


def _lead_out(lead: Lead, *, do_not_call: bool) -> LeadOut:
    return LeadOut(
        id=lead.id,
        phone=lead.phone,
        name=lead.name,
        email=lead.email,
        timezone=lead.timezone,
        tags=lead.tags,
        attributes=lead.attributes,
        import_id=lead.import_id,
        do_not_call=do_not_call,
        created_at=lead.created_at,
        updated_at=lead.updated_at,
    )
