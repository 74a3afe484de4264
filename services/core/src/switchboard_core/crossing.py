"""The few look-ups that cross tenants, because the tenant is not known yet.

Each is a ``SECURITY DEFINER`` function made by a migration. They return ``(business_id, id)`` and nothing else; what a
row says is read afterwards in a transaction of that business, under row-level security. ``runnable_work`` and
``ahead_in_line`` return numbers only.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Ref:
    """A row of a business."""

    business_id: int
    id: int


@dataclass(frozen=True)
class AttemptRef:
    """A call attempt of a business."""

    business_id: int
    id: uuid.UUID


@dataclass(frozen=True)
class MessageRef:
    """An outgoing message of a business."""

    business_id: int
    id: uuid.UUID


def _one(session: Session, function: str, argument: object) -> Ref | None:
    row = session.execute(text(f"SELECT business_id, id FROM {function}(:argument)"), {"argument": argument}).first()  # noqa: S608 - the function's name is a constant of this module
    return Ref(row.business_id, row.id) if row else None


def _many(session: Session, function: str, **arguments: object) -> list[Ref]:
    names = ", ".join(f":{name}" for name in arguments)
    rows = session.execute(text(f"SELECT business_id, id FROM {function}({names})"), arguments)  # noqa: S608 - as above
    return [Ref(row.business_id, row.id) for row in rows]


def api_key(session: Session, key_hash: bytes) -> Ref | None:
    """The key with this SHA-256, expired and revoked ones included."""
    return _one(session, "find_api_key", key_hash)


def background_job(session: Session, job_id: int) -> Ref | None:
    """The background job with this id."""
    return _one(session, "find_background_job", job_id)


def run(session: Session, run_id: int) -> Ref | None:
    """The campaign run with this id."""
    return _one(session, "find_outbound_call_run", run_id)


def recording(session: Session, recording_id: int) -> Ref | None:
    """The recording with this id."""
    return _one(session, "find_recording", recording_id)


def mailbox(session: Session, mailbox_id: int) -> Ref | None:
    """The mailbox with this id."""
    return _one(session, "find_mailbox", mailbox_id)


def attempt(session: Session, attempt_id: uuid.UUID) -> AttemptRef | None:
    """The call attempt with this id."""
    return _attempt(session, "find_call_attempt", attempt_id)


def attempt_by_sid(session: Session, call_sid: str) -> AttemptRef | None:
    """The call attempt that the carrier knows by this sid."""
    return _attempt(session, "find_call_attempt_by_sid", call_sid)


def _attempt(session: Session, function: str, argument: object) -> AttemptRef | None:
    row = session.execute(text(f"SELECT business_id, id FROM {function}(:argument)"), {"argument": argument}).first()  # noqa: S608 - as above
    return AttemptRef(row.business_id, row.id) if row else None


def businesses(session: Session) -> list[Ref]:
    """Every business, as ``(id, id)``."""
    return _many(session, "all_businesses")


def due_background_jobs(session: Session, limit: int, *, queued_ids: Collection[int] = ()) -> list[Ref]:
    """Open, admitted jobs that are due and that nobody has a lease on, without ``queued_ids``, oldest first."""
    return _unqueued(session, "unqueued_background_jobs", queued_ids, limit)


def _unqueued(session: Session, function: str, queued_ids: Collection[int], limit: int) -> list[Ref]:
    rows = session.execute(
        text(f"SELECT business_id, id FROM {function}(CAST(:queued_ids AS bigint[]), :row_limit)"),  # noqa: S608 - as above
        {"queued_ids": list(queued_ids), "row_limit": limit},
    )
    return [Ref(row.business_id, row.id) for row in rows]


def businesses_with_waiting_jobs(session: Session) -> list[Ref]:
    """Of each business and queue the oldest open job not yet admitted to Redis, oldest first."""
    return _many(session, "businesses_with_waiting_jobs")


def ahead_in_line(session: Session, business_id: int, account_sid: str) -> int:
    """How many other businesses come before this one in the line for the rate of a carrier account.

    Who is not in the line comes behind all of it.
    """
    arguments = {"business_id": business_id, "account_sid": account_sid}
    return int(session.execute(text("SELECT ahead_in_line(:business_id, :account_sid)"), arguments).scalar_one())


def callable_runs(session: Session) -> list[Ref]:
    """Running runs with a queued job that is due, or of a business whose wake-up time has come."""
    return _many(session, "callable_runs")


def open_runs(session: Session) -> list[Ref]:
    """Runs that are pending, running or paused."""
    return _many(session, "open_runs")


def silent_attempts(session: Session, silent_s: float, limit: int) -> list[AttemptRef]:
    """Unsettled attempts that nobody has heard of or asked about for ``silent_s`` seconds, oldest first."""
    rows = session.execute(
        text("SELECT business_id, id FROM silent_call_attempts(:silent_s, :row_limit)"),
        {"silent_s": silent_s, "row_limit": limit},
    )
    return [AttemptRef(row.business_id, row.id) for row in rows]


def unlisted_recordings(session: Session, after_s: float, limit: int) -> list[AttemptRef]:
    """Completed attempts of recorded runs that have no recording ``after_s`` seconds later and were not asked about."""
    rows = session.execute(
        text("SELECT business_id, id FROM unlisted_recordings(:after_s, :row_limit)"),
        {"after_s": after_s, "row_limit": limit},
    )
    return [AttemptRef(row.business_id, row.id) for row in rows]


def due_recordings(session: Session, limit: int, *, queued_ids: Collection[int] = ()) -> list[Ref]:
    """Recordings with work to do that nobody has a lease on, without ``queued_ids``, oldest first."""
    return _unqueued(session, "unqueued_recordings", queued_ids, limit)


def purgeable_leads(session: Session, deleted_for_s: float, limit: int) -> list[Ref]:
    """Leads that were deleted more than ``deleted_for_s`` seconds ago and still hold what they held, oldest first."""
    return _many(session, "purgeable_leads", deleted_for_s=deleted_for_s, row_limit=limit)


def broadcast_recipient(session: Session, recipient_id: int) -> Ref | None:
    """The recipient of a broadcast with this id."""
    return _one(session, "find_broadcast_recipient", recipient_id)


def unsubscribe_link(session: Session, token_hash: bytes) -> Ref | None:
    """The recipient of a broadcast whose unsubscribe link has the token with this SHA-256."""
    return _one(session, "find_unsubscribe_link", token_hash)


def silent_broadcast_messages(session: Session, limit: int) -> list[Ref]:
    """Recipients of broadcasts about whose message the carrier should be asked, longest due first."""
    return _many(session, "silent_broadcast_messages", row_limit=limit)


def businesses_that_text(session: Session, our_number: str, their_number: str) -> list[Ref]:
    """Businesses that may have written from one of our numbers to another number, as ``(id, id)``."""
    return _many(session, "businesses_that_text", our_number=our_number, their_number=their_number)


def incoming_message(session: Session, message_sid: str) -> Ref | None:
    """A business that a message with this id of the carrier was applied to, as ``(id, id)``."""
    return _one(session, "find_incoming_message", message_sid)


def abandoned_messages(session: Session, limit: int) -> list[MessageRef]:
    """Outgoing messages whose lease ran out while they were being sent, oldest first."""
    rows = session.execute(text("SELECT business_id, id FROM abandoned_messages(:row_limit)"), {"row_limit": limit})
    return [MessageRef(row.business_id, row.id) for row in rows]


def expired_voice_queries(session: Session, older_than_s: float, limit: int) -> list[Ref]:
    """Spoken queries that are older than ``older_than_s`` seconds, oldest first."""
    return _many(session, "expired_voice_queries", older_than_s=older_than_s, row_limit=limit)


def search_transcripts(session: Session, query: str, limit: int, offset: int) -> list[Ref]:
    """Recordings of the transaction's own business whose transcript matches, best first.

    A function, because ``@@`` is not leakproof: under the policy PostgreSQL would not use the GIN index.
    """
    return _many(session, "search_transcripts", query=query, row_limit=limit, row_offset=offset)


def claim_startup_cleanup(session: Session, not_within_s: float) -> bool:
    """Whether this process may run the startup cleanup: one at a time, and not twice within ``not_within_s``."""
    return bool(
        session.execute(text("SELECT claim_startup_cleanup(:not_within_s)"), {"not_within_s": not_within_s}).scalar()
    )


def runnable_work(session: Session, *, jobs_per_business: int, recordings_per_business: int) -> dict[str, int]:
    """How much work of each queue a further worker or recorder could begin now, plus what is under way.

    Args:
        session: without a tenant.
        jobs_per_business: due jobs of one business and queue that count at most: what admission lets into Redis.
        recordings_per_business: downloads of one business that count at most.

    Returns:
        Numbers by queue, all tenants together; a queue without work may be absent.
    """
    rows = session.execute(
        text("SELECT queue, runnable FROM runnable_work(:jobs, :recordings)"),
        {"jobs": jobs_per_business, "recordings": recordings_per_business},
    )
    return {row.queue: row.runnable for row in rows}
