"""What deleted leads become once they can no longer be restored: nothing, or a row without a person in it."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

# Both look again at what they are given: a lead that was restored a moment ago is left alone.
_ANONYMISE = text("""
UPDATE leads SET
    phone = '', name = NULL, email = NULL, timezone = 'UTC', tags = '[]', attributes = '{}',
    deleted_by_job_id = NULL, updated_at = now()
WHERE id = ANY(:ids) AND deleted_at < now() - make_interval(days => :undo_days)
  AND EXISTS (SELECT FROM outbound_call_jobs called WHERE called.lead_id = leads.id)
""")
_DELETE = text("""
DELETE FROM leads
WHERE id = ANY(:ids) AND deleted_at < now() - make_interval(days => :undo_days)
  AND NOT EXISTS (SELECT FROM outbound_call_jobs called WHERE called.lead_id = leads.id)
""")


def purge(session: Session, lead_ids: Sequence[int], *, undo_days: int) -> int:
    """Take deleted leads of the session's business away for good.

    A lead that calls refer to keeps its row, so that their history stays whole, but nothing that says who it was. The
    do-not-call list holds hashes and is not touched: a number on it stays on it.

    Args:
        session: bound to the business.
        lead_ids: of ``crossing.purgeable_leads``.
        undo_days: how long a deleted lead can be restored.

    Returns:
        How many leads were deleted or anonymised.
    """
    values = {"ids": list(lead_ids), "undo_days": undo_days}
    results = [session.execute(statement, values) for statement in (_ANONYMISE, _DELETE)]
    return sum(int(getattr(result, "rowcount", 0)) for result in results)
