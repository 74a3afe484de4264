"""Bulk changes of leads: ``delete_leads`` and ``update_leads``.

Both walk over the selected leads by id. The cursor is the last id seen, so a slice that is run again, after a crash or
a failed commit, starts where the last commit stopped.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import bindparam, func, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text

from switchboard_core.db import after_commit
from switchboard_core.jobs.slices import BATCH, Cursor, Slice, SliceContext, SliceFunction
from switchboard_core.leads.models import Lead
from switchboard_core.leads.schemas import BulkPayload, LeadChanges
from switchboard_core.leads.service import select_ids_after
from switchboard_core.logs import get_logger

log = get_logger(__name__)

Apply = Callable[[Sequence[int]], None]

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


def delete_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Delete the selected leads; their rows stay, marked, for the calls that refer to them."""

    def delete(ids: Sequence[int]) -> None:
        ctx.session.execute(
            update(Lead)
            .where(Lead.id.in_(ids), Lead.deleted_at.is_(None))
            .values(deleted_at=func.clock_timestamp(), updated_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )

    return _walk(ctx, BulkPayload.model_validate(payload), cursor, delete, "Deleted")


def update_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Apply the payload's changes to the selected leads."""
    plan = BulkPayload.model_validate(payload)
    if plan.changes is None:
        msg = "the payload of update_leads has no changes"
        raise ValueError(msg)
    values = _values(plan.changes)

    def change(ids: Sequence[int]) -> None:
        ctx.session.execute(_UPDATE, {**values, "ids": list(ids)})

    return _walk(ctx, plan, cursor, change, "Updated")


def _values(changes: LeadChanges) -> dict[str, Any]:
    return {
        "timezone": changes.timezone,
        # A tag that is added again is first taken out, so that it is there once.
        "dropped_tags": [*changes.remove_tags, *changes.add_tags],
        "added_tags": list(dict.fromkeys(changes.add_tags)),
        "dropped_attributes": [key for key, value in changes.attributes.items() if value is None],
        "set_attributes": {key: value for key, value in changes.attributes.items() if value is not None},
    }


def _walk(ctx: SliceContext, plan: BulkPayload, cursor: Cursor | None, apply: Apply, verb: str) -> Slice:
    """Apply a change to the next selected leads, until the slice's time or its items are used up."""
    after_id, done_before = (cursor["after_id"], cursor["done"]) if cursor else (0, 0)
    touched = 0
    while touched < ctx.limit:
        wanted = min(BATCH, ctx.limit - touched)
        ids = select_ids_after(ctx.session, plan.filter, after_id, wanted, up_to_id=plan.up_to_id)
        if ids:
            ctx.each(ids, apply)
            touched += len(ids)
            after_id = ids[-1]
        if len(ids) < wanted:
            return _finish(ctx, verb, done_before + ctx.done)
        if ctx.out_of_time:
            break
    return Slice(next_cursor={"after_id": after_id, "done": done_before + ctx.done})


def _finish(ctx: SliceContext, verb: str, done: int) -> Slice:
    sentence = f"{verb} {done} leads successfully"
    after_commit(ctx.session, lambda: log.info(sentence, task_id=ctx.job_id))
    return Slice(result={verb.lower(): done})


TASKS: dict[str, SliceFunction] = {"delete_leads": delete_leads, "update_leads": update_leads}
