"""``broadcast``: gives every selected lead its place, then sends message after message at the broadcast's pace.

What leaves is claimed in transactions of its own, so a slice that is run again finds what was sent and goes on behind
it. Progress is counted from the rows in the slice's transaction: each recipient once, whatever was killed in between.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import func, or_, select, update

from switchboard_core.broadcasts import service
from switchboard_core.broadcasts.delivery import STOPPED_BEFORE
from switchboard_core.broadcasts.models import Broadcast, BroadcastRecipient
from switchboard_core.broadcasts.schemas import BroadcastCounts, BroadcastPayload
from switchboard_core.broadcasts.selection import add_recipients
from switchboard_core.broadcasts.send import Post
from switchboard_core.broadcasts.states import SkipReason
from switchboard_core.broadcasts.turns import Over, Stopped, Turn, Wait, take_turn
from switchboard_core.calls.policy import setback_delay_s
from switchboard_core.jobs.slices import Cursor, ItemError, OwningTask, Slice, SliceContext, SliceFunction
from switchboard_core.jobs.states import JobStatus
from switchboard_core.logs import get_logger
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.send import Mailer, SendResult
from switchboard_core.outbox.states import MessageState
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

CHUNK = 5000
"""Recipients that one statement calls off."""
MAX_ACCOUNT_FAULTS = 5
"""Refusals of the account in a row, after which the broadcast ends: a person has to mend the account."""
_FAILED = (MessageState.FAILED, MessageState.BOUNCED)


@dataclass
class _Course:
    """How the sending of one slice went.

    Attributes:
        over: every recipient has had its turn.
        sleep_s: until sending makes sense again.
        reason: why the other side put off the last one, for people.
        setbacks: sends in a row that the other side put off.
        account_faults: refusals of the account in a row.
    """

    over: bool = False
    sleep_s: float | None = None
    reason: str | None = None
    setbacks: int = 0
    account_faults: int = 0

    def note(self, result: SendResult) -> bool:
        """Take in what became of a message; true where the next one may be tried at once."""
        self.account_faults = self.account_faults + 1 if result.account_fault else 0
        if result.state is not MessageState.QUEUED and not result.account_fault:
            self.setbacks = 0
            return True
        self.setbacks += 1
        self.sleep_s, self.reason = setback_delay_s(self.setbacks, 1.0), result.reason
        return False


def broadcast(runtime: Runtime, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """One slice of a broadcast."""
    plan = BroadcastPayload.model_validate(payload)
    if ctx.cancel_requested:
        return _call_off(ctx, plan, cursor, JobStatus.CANCELLED, "Cancelled on request.")
    if cursor is None or cursor["phase"] == "expand":
        return _expand(ctx, plan, cursor["after_id"] if cursor else 0)
    if cursor["phase"] == "fail":
        return _call_off(ctx, plan, cursor, JobStatus.FAILED, cursor["reason"])
    course = _Course(setbacks=cursor["setbacks"], account_faults=cursor["account_faults"])
    _send(runtime, ctx, plan, course)
    all_counted = _count(ctx, plan)
    if course.over and all_counted:
        counts = service.counts(ctx.session, plan.broadcast_id)
        if SkipReason.CALLED_OFF not in counts.skipped_by_reason:
            return _finish(ctx, plan, counts)
        # Cancelled while the last one was on its way: the next slice is told of it.
    if course.account_faults >= MAX_ACCOUNT_FAULTS:
        return Slice(next_cursor={"phase": "fail", "reason": f"Stopped: {course.reason}"})
    following = {"phase": "send", "setbacks": course.setbacks, "account_faults": course.account_faults}
    waits = f"Waits: {course.reason}" if course.reason else None
    return Slice(next_cursor=following, sleep_s=course.sleep_s, reason=waits)


def _expand(ctx: SliceContext, plan: BroadcastPayload, after_id: int) -> Slice:
    row = service.get(ctx.session, plan.broadcast_id)
    row.status = JobStatus.RUNNING
    while True:
        added = add_recipients(ctx.session, row, after_id, ctx.limit)
        ctx.done += added.skipped
        if added.last_id is None:
            total = service.counts(ctx.session, row.id).total
            return Slice(next_cursor={"phase": "send", "setbacks": 0, "account_faults": 0}, total=total)
        after_id = added.last_id
        if ctx.out_of_time:
            return Slice(next_cursor={"phase": "expand", "after_id": after_id})


def _send(runtime: Runtime, ctx: SliceContext, plan: BroadcastPayload, course: _Course) -> None:
    """Send messages until time, tokens or recipients are used up, or the other side wants none.

    The slice's own transaction begins behind it, with its first statement: the network may take its time here.
    """
    with Mailer(runtime, ctx.business_id) as mailer:
        post = Post(runtime, mailer)
        for _ in range(ctx.limit):
            with runtime.database.tenant(ctx.business_id) as session:
                turn = take_turn(session, ctx.settings, plan.broadcast_id)
            match turn:
                case Over():
                    course.over = True
                    return
                case Stopped():
                    return
                case Wait(seconds):
                    course.sleep_s = seconds
                    return
                case Turn():
                    if not course.note(post.send(turn)) or ctx.out_of_time:
                        return


def _count(ctx: SliceContext, plan: BroadcastPayload) -> bool:
    """Count recipients that have been through; true where no further one of them waits to be counted."""
    through = or_(
        BroadcastRecipient.skip_reason.is_not(None),
        OutgoingMessage.state.not_in((MessageState.QUEUED, MessageState.SENDING)),
    )
    rows = ctx.session.execute(
        select(
            BroadcastRecipient.id,
            BroadcastRecipient.lead_id,
            BroadcastRecipient.skip_reason,
            OutgoingMessage.state,
            OutgoingMessage.reason,
        )
        .outerjoin(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(
            BroadcastRecipient.broadcast_id == plan.broadcast_id,
            BroadcastRecipient.done_at.is_(None),
            BroadcastRecipient.message_id.is_not(None),
            through,
        )
        .order_by(BroadcastRecipient.id)
        .limit(ctx.limit)
    ).all()
    ctx.session.execute(
        update(BroadcastRecipient)
        .where(BroadcastRecipient.id.in_([row.id for row in rows]))
        .values(done_at=db_now())
        .execution_options(synchronize_session=False)
    )
    failed = [row for row in rows if row.state in _FAILED]
    ctx.done += sum(row.skip_reason is not SkipReason.CALLED_OFF for row in rows) - len(failed)
    ctx.errors += [ItemError(f"lead {row.lead_id}", row.reason or "It was not delivered.") for row in failed]
    return len(rows) < ctx.limit


def _finish(ctx: SliceContext, plan: BroadcastPayload, counts: BroadcastCounts) -> Slice:
    row = service.get(ctx.session, plan.broadcast_id)
    left = counts.total - counts.skipped
    reason = None
    if counts.total == 0:
        reason = "The filter selected no lead any more: nothing was sent."
    elif left == 0:
        reasons = ", ".join(f"{number} {name}" for name, number in sorted(counts.skipped_by_reason.items()))
        reason = f"None of the {counts.total} leads could be sent to: {reasons}."
    _end(row, JobStatus.COMPLETED, reason)
    log.info("broadcast sent", broadcast_id=row.id, messages=left, skipped=counts.skipped)
    return Slice(result=counts.model_dump(mode="json"), reason=reason)


def _call_off(
    ctx: SliceContext, plan: BroadcastPayload, cursor: Cursor | None, status: JobStatus, reason: str
) -> Slice:
    """End before everybody has had a turn; what has left is left to its callbacks.

    A message that another worker is just sending, or was sending when it died, is waited for: its lease is short.
    """
    following = cursor or {"phase": "expand", "after_id": 0}
    waiting = (
        select(BroadcastRecipient.id)
        .outerjoin(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(
            BroadcastRecipient.broadcast_id == plan.broadcast_id,
            BroadcastRecipient.done_at.is_(None),
            BroadcastRecipient.skip_reason.is_(None),
            or_(OutgoingMessage.id.is_(None), OutgoingMessage.state == MessageState.QUEUED),
        )
        .limit(CHUNK)
    )
    while True:
        called_off = ctx.session.execute(
            update(BroadcastRecipient)
            .where(BroadcastRecipient.id.in_(waiting.scalar_subquery()))
            .values(skip_reason=SkipReason.CALLED_OFF, done_at=db_now())
            .returning(BroadcastRecipient.message_id)
            .execution_options(synchronize_session=False)
        ).all()
        ids = [row.message_id for row in called_off if row.message_id is not None]
        outbox.skip(ctx.session, ids, SkipReason.CALLED_OFF.sentence)
        if len(called_off) < CHUNK:
            break
        if ctx.out_of_time:
            return Slice(next_cursor=following)
    wait_s = _settle_what_was_left_behind(ctx, plan)
    if not _count(ctx, plan) or wait_s is not None:
        return Slice(next_cursor=following, sleep_s=wait_s)
    row = service.get(ctx.session, plan.broadcast_id)
    _end(row, status, reason)
    counts = service.counts(ctx.session, row.id)
    log.info("broadcast called off", broadcast_id=row.id, status=status.value, reason=reason)
    return Slice(result=counts.model_dump(mode="json"), ends_as=status, reason=reason)


def _settle_what_was_left_behind(ctx: SliceContext, plan: BroadcastPayload) -> float | None:
    """Settle what a dead worker was sending; seconds until that can be said of all, None: there is nothing left."""
    # The recipients first, as everybody locks them: who looks into a message holds its recipient.
    sending = ctx.session.scalars(
        select(BroadcastRecipient.message_id)
        .join(OutgoingMessage, OutgoingMessage.id == BroadcastRecipient.message_id)
        .where(
            BroadcastRecipient.broadcast_id == plan.broadcast_id,
            BroadcastRecipient.done_at.is_(None),
            OutgoingMessage.state == MessageState.SENDING,
        )
        .order_by(BroadcastRecipient.id)
        .with_for_update(of=BroadcastRecipient, key_share=True)
    ).all()
    waits = [outbox.settle_abandoned(ctx.session, message_id, STOPPED_BEFORE) for message_id in sending if message_id]
    return max((wait_s for wait_s in waits if wait_s is not None), default=None)


def broadcast_failed(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None, reason: str) -> Slice:
    """End the broadcast of a task that the kernel fails: what was not sent is not sent any more.

    Args:
        ctx: of the slice.
        payload: of the task.
        cursor: of the task.
        reason: shown with the broadcast.
    """
    plan = BroadcastPayload.model_validate(payload)
    if ctx.cancel_requested:
        return _call_off(ctx, plan, cursor, JobStatus.CANCELLED, "Cancelled on request.")
    return _call_off(ctx, plan, {"phase": "fail", "reason": reason}, JobStatus.FAILED, reason)


def _end(row: Broadcast, status: JobStatus, reason: str | None) -> None:
    row.status, row.reason = status, reason
    row.finished_at = func.clock_timestamp()


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """Every kind of job of this domain."""
    return {"broadcast": OwningTask(partial(broadcast, runtime), broadcast_failed)}
