"""The verbs of the leads domain: list, count, select, import reports, bulk tasks."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from switchboard_core.db import after_commit, tenant_of
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.leads.do_not_call import listed
from switchboard_core.leads.filters import LeadConditions, LeadFilter
from switchboard_core.leads.models import Lead, LeadImport, LeadImportError
from switchboard_core.leads.schemas import (
    ERRORS_SHOWN,
    BulkPayload,
    ImportReport,
    ImportRowError,
    LeadChanges,
    LeadOut,
    StoredImportRowError,
)
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime

log = get_logger(__name__)


class ImportNotFoundError(LookupError):
    """The business has no such import."""


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


def import_report(session: Session, import_id: int) -> ImportReport:
    """What became of an import of the session's business.

    Raises:
        ImportNotFoundError: it has no such import.
    """
    record = session.get(LeadImport, import_id)
    if record is None:
        msg = f"There is no import {import_id}."
        raise ImportNotFoundError(msg)
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
    if session.get(LeadImport, import_id) is None:
        msg = f"There is no import {import_id}."
        raise ImportNotFoundError(msg)
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


def bulk_delete(session: Session, runtime: Runtime, selection: LeadFilter) -> TaskSnapshot:
    """Delete the selected leads in the background.

    Returns:
        The task; its ``total`` is how many leads are selected now.
    """
    return _bulk(session, runtime, "delete", BulkPayload(filter=selection, up_to_id=newest_id(session, selection)))


def bulk_update(session: Session, runtime: Runtime, selection: LeadFilter, changes: LeadChanges) -> TaskSnapshot:
    """Change the selected leads in the background.

    Returns:
        The task; its ``total`` is how many leads are selected now.
    """
    payload = BulkPayload(filter=selection, up_to_id=newest_id(session, selection), changes=changes)
    return _bulk(session, runtime, "update", payload)


def _bulk(session: Session, runtime: Runtime, verb: str, payload: BulkPayload) -> TaskSnapshot:
    selected = count(session, payload.filter)
    log.info(f"Creating bulk {verb} job: {selected} leads (tenant={tenant_of(session)})")  # noqa: G004 - the contract's literal line
    task = runtime.tasks.create(
        session, f"{verb}_leads", payload.model_dump(mode="json", exclude_defaults=True), total=selected
    )
    after_commit(
        session,
        lambda: log.info(f"Enqueued RQ job for bulk {verb}, job_id={task.id}"),  # noqa: G004 - the contract's literal line
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
