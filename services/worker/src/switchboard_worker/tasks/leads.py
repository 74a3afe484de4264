"""Bulk changes of leads: ``delete_leads``, ``update_leads``, ``delete_imported_leads`` and ``restore_leads``.

All walk over the selected leads by id. The cursor is the last id seen, so a slice that is run again, after a crash or
a failed commit, starts where the last commit stopped.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import Text

from switchboard_core.db import after_commit
from switchboard_core.jobs.slices import BATCH, Cursor, ItemError, Slice, SliceContext, SliceFunction
from switchboard_core.leads.filters import ImportedLeads
from switchboard_core.leads.models import Lead
from switchboard_core.leads.schemas import BulkPayload, ImportedPayload, LeadChanges, RestorePayload
from switchboard_core.leads.service import select_ids_after
from switchboard_core.logs import get_logger

log = get_logger(__name__)

Apply = Callable[[Sequence[int]], None]
Select = Callable[[int, int], Sequence[int]]
"""The next selected ids: after which one, and how many at most."""

NUMBER_TAKEN = "Its number was imported anew meanwhile: delete that lead first, or leave this one as it is."

_UPDATE = text("""
UPDATE leads SET
    timezone = coalesce(:timezone, timezone),
    tags = (tags - :dropped_tags) || :added_tags,
    attributes = (attributes - :dropped_attributes) || :set_attributes,
    updated_at = now()
WHERE id = ANY(:ids) AND deleted_at IS NULL
""").bindparams(
    bindparam("timezone", type_=Text()),
    bindparam("dropped_tags", type_=ARRAY(Text)),
    bindparam("added_tags", type_=JSONB()),
    bindparam("dropped_attributes", type_=ARRAY(Text)),
    bindparam("set_attributes", type_=JSONB()),
)


_DELETE = text("""
UPDATE leads SET deleted_at = clock_timestamp(), deleted_by_job_id = :job_id, updated_at = clock_timestamp()
WHERE id = ANY(:ids) AND deleted_at IS NULL
""")
_RESTORE = text("""
UPDATE leads SET deleted_at = NULL, deleted_by_job_id = NULL, updated_at = clock_timestamp()
WHERE id = ANY(:ids) AND deleted_by_job_id = :task_id
""")
# In the list of columns: as a condition PostgreSQL may read all live leads for it, batch after batch.
_TWINS = text("""
SELECT lead.id, (
    SELECT live.id FROM leads live
    WHERE live.business_id = lead.business_id AND live.phone = lead.phone AND live.deleted_at IS NULL
) AS live_id
FROM leads lead
WHERE lead.id = ANY(:ids)
""")


class NumberTakenError(Exception):
    """A live lead has the number of the one that was to be restored."""


def delete_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Delete the selected leads; their rows stay, marked, so that the task can be undone."""
    plan = BulkPayload.model_validate(payload)
    selected = partial(select_ids_after, ctx.session, plan.filter, up_to_id=plan.up_to_id)
    return _walk(ctx, cursor, selected, partial(_delete, ctx), "Deleted")


def delete_imported_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Delete the leads that an import created. Those that were there before, and that it only updated, stay."""
    created = ImportedLeads(created_by=ImportedPayload.model_validate(payload).import_id)
    return _walk(ctx, cursor, partial(select_ids_after, ctx.session, created), partial(_delete, ctx), "Deleted")


def update_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Apply the payload's changes to the selected leads."""
    plan = BulkPayload.model_validate(payload)
    if plan.changes is None:
        msg = "the payload of update_leads has no changes"
        raise ValueError(msg)
    values = _values(plan.changes)

    def change(ids: Sequence[int]) -> None:
        ctx.session.execute(_UPDATE, {**values, "ids": list(ids)})

    selected = partial(select_ids_after, ctx.session, plan.filter, up_to_id=plan.up_to_id)
    return _walk(ctx, cursor, selected, partial(ctx.each, apply=change), "Updated")


def restore_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Bring back what a task has deleted. A lead whose number is another live lead's by now is an error of its own."""
    task_id = RestorePayload.model_validate(payload).task_id

    def selected(after_id: int, limit: int) -> Sequence[int]:
        query = select(Lead.id).where(Lead.deleted_by_job_id == task_id, Lead.id > after_id)
        return ctx.session.scalars(query.order_by(Lead.id).limit(limit)).all()

    return _walk(ctx, cursor, selected, partial(_restore, ctx, task_id), "Restored")


def _delete(ctx: SliceContext, ids: Sequence[int]) -> None:
    def delete(some: Sequence[int]) -> None:
        ctx.session.execute(_DELETE, {"ids": list(some), "job_id": ctx.job_id})

    ctx.each(ids, delete)


def _restore(ctx: SliceContext, task_id: int, ids: Sequence[int]) -> None:
    def restore(some: Sequence[int]) -> None:
        try:
            ctx.session.execute(_RESTORE, {"ids": list(some), "task_id": task_id})
        except IntegrityError as error:
            if getattr(getattr(error.orig, "diag", None), "constraint_name", None) != "uq_leads_business_id_phone":
                raise
            # Imported between the look below and here.
            raise NumberTakenError(NUMBER_TAKEN) from error

    twins = ctx.session.execute(_TWINS, {"ids": list(ids)})
    taken = {row.id for row in twins if row.live_id is not None}
    ctx.errors += [ItemError(str(lead_id), NUMBER_TAKEN) for lead_id in ids if lead_id in taken]
    ctx.each([lead_id for lead_id in ids if lead_id not in taken], restore)


def _values(changes: LeadChanges) -> dict[str, Any]:
    return {
        "timezone": changes.timezone,
        # A tag that is added again is first taken out, so that it is there once.
        "dropped_tags": [*changes.remove_tags, *changes.add_tags],
        "added_tags": list(dict.fromkeys(changes.add_tags)),
        "dropped_attributes": [key for key, value in changes.attributes.items() if value is None],
        "set_attributes": {key: value for key, value in changes.attributes.items() if value is not None},
    }


def _walk(ctx: SliceContext, cursor: Cursor | None, selected: Select, work: Apply, verb: str) -> Slice:
    """Work on the next selected leads, until the slice's time or its items are used up."""
    after_id, done_before = (cursor["after_id"], cursor["done"]) if cursor else (0, 0)
    ids = selected(after_id, ctx.limit)
    worked = 0
    while worked < len(ids) and not (worked and ctx.out_of_time):
        batch = ids[worked : worked + BATCH]
        work(batch)
        worked += len(batch)
        after_id = batch[-1]
    if worked == len(ids) < ctx.limit:
        return _finish(ctx, verb, done_before + ctx.done)
    return Slice(next_cursor={"after_id": after_id, "done": done_before + ctx.done})


def _finish(ctx: SliceContext, verb: str, done: int) -> Slice:
    sentence = f"{verb} {done} leads successfully"
    after_commit(ctx.session, lambda: log.info(sentence, task_id=ctx.job_id))
    return Slice(result={verb.lower(): done})


TASKS: dict[str, SliceFunction] = {
    "delete_leads": delete_leads,
    "update_leads": update_leads,
    "delete_imported_leads": delete_imported_leads,
    "restore_leads": restore_leads,
}
