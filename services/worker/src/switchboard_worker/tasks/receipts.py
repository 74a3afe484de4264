"""Receipts: ``send_payment_receipt_job`` and ``delete_receipts_all``.

Sending has two kinds of slices. The first one makes the mail's row and renders the receipt; the others send it, with
no transaction open while the network takes its time. What a killed slice has done is read from the outbox, so running
it again never sends a second mail.
"""

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from switchboard_core.jobs.slices import BATCH, Cursor, ItemError, OwningTask, Slice, SliceContext, SliceFunction
from switchboard_core.jobs.states import JobStatus
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.archive import settle_uncertain
from switchboard_core.outbox.send import LONGEST_RETRY_S, SendResult, send_email
from switchboard_core.outbox.states import MessageState
from switchboard_core.receipts import service
from switchboard_core.receipts.mail import composer
from switchboard_core.receipts.template import BrokenTemplateError
from switchboard_core.runtime import Runtime

LOOKS = 12
"""How often the archive is looked into before an uncertain mail is left to people: for about half a day."""

_UNKNOWN = "Ask the customer or your mail server, then send it again if it did not arrive."


def send_payment_receipt_job(
    runtime: Runtime, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None
) -> Slice:
    """Mail the receipt of a payment, once, whatever is enqueued how often.

    Args:
        runtime: of the worker.
        ctx: of the slice.
        payload: ``user_id`` and ``payment_id``.
        cursor: ``message_id``, and ``looks`` into the archive so far once the mail is uncertain; ``fails``, the reason,
            where the kernel fails the task.
    """
    user_id, payment_id = int(payload["user_id"]), int(payload["payment_id"])
    if ctx.cancel_requested:
        return _stop(ctx, payment_id, JobStatus.CANCELLED, "Cancelled on request.")
    if cursor is not None and "fails" in cursor:
        return _stop(ctx, payment_id, JobStatus.FAILED, cursor["fails"])
    if cursor is None:
        return _prepare(ctx, user_id, payment_id)
    message_id = uuid.UUID(cursor["message_id"])
    if "looks" in cursor:
        return _look(runtime, ctx, payment_id, message_id, cursor["looks"])
    result = send_email(runtime, ctx.business_id, message_id, composer(runtime, ctx.business_id))
    if result.account_fault:
        # Nobody will try again before the account is mended, so it must not look as if it were on its way.
        outbox.give_up(ctx.session, message_id, result.reason)
        return _failed(ctx, payment_id, result.reason)
    if result.state is MessageState.UNCERTAIN:
        return Slice(next_cursor={"message_id": str(message_id), "looks": 0})
    return _told(ctx, payment_id, message_id, result)


def receipt_failed(ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None, reason: str) -> Slice:
    """Give up the mail of a task that the kernel fails, so that it does not look as if it were on its way.

    Args:
        ctx: of the slice.
        payload: of the task.
        reason: shown with the receipt.
    """
    return _stop(ctx, int(payload["payment_id"]), JobStatus.FAILED, reason)


def _stop(ctx: SliceContext, payment_id: int, status: JobStatus, reason: str) -> Slice:
    """End without sending the mail any more; one that a worker was sending when it died is settled first."""
    message = service.mail_of(ctx.session, payment_id)
    if message is not None:
        wait_s = outbox.settle_abandoned(ctx.session, message.id, reason)
        if wait_s is not None:
            return Slice(next_cursor={"fails": reason}, sleep_s=wait_s)
        message = outbox.give_up(ctx.session, message.id, reason)
        if message.state.accepted:
            return _told(ctx, payment_id, message.id, SendResult(message.state))
    return _failed(ctx, payment_id, reason) if status is JobStatus.FAILED else Slice(ends_as=status, reason=reason)


def _prepare(ctx: SliceContext, user_id: int, payment_id: int) -> Slice:
    try:
        message = service.prepare(ctx.session, ctx.settings, user_id, payment_id)
    except service.NotFoundError as error:
        return _failed(ctx, payment_id, f"There is no {error}.")
    except (service.ReceiptDeletedError, BrokenTemplateError) as error:
        return _failed(ctx, payment_id, str(error))
    return Slice(next_cursor={"message_id": str(message.id)}, total=1)


def _look(runtime: Runtime, ctx: SliceContext, payment_id: int, message_id: uuid.UUID, looks: int) -> Slice:
    """Look for an uncertain mail in the archive."""
    result = settle_uncertain(runtime, ctx.business_id, message_id)
    if result.state is not MessageState.UNCERTAIN:
        return _told(ctx, payment_id, message_id, result)
    if result.retry_in_s is None or looks >= LOOKS:
        return _failed(ctx, payment_id, f"{result.reason} {_UNKNOWN}")
    return Slice(
        next_cursor={"message_id": str(message_id), "looks": looks + 1},
        sleep_s=min(LONGEST_RETRY_S, result.retry_in_s * 2.0**looks),
        reason=result.reason,
    )


def _told(ctx: SliceContext, payment_id: int, message_id: uuid.UUID, result: SendResult) -> Slice:
    """What the state of the mail means for the job."""
    if result.state.accepted:
        ctx.done += 1
        return Slice(result={"state": str(result.state)})
    if not result.state.settled:
        return Slice(next_cursor={"message_id": str(message_id)}, sleep_s=result.retry_in_s, reason=result.reason)
    return _failed(ctx, payment_id, result.reason or f"The mail is {result.state}.")


def _failed(ctx: SliceContext, payment_id: int, reason: str | None) -> Slice:
    sentence = reason or "The mail could not be sent."
    ctx.errors.append(ItemError(f"payment {payment_id}", sentence))
    return Slice(ends_as=JobStatus.FAILED, reason=sentence, total=1)


def delete_receipts_all(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Delete the receipts that exist when the job is made, and the content of their mails; payments stay.

    Args:
        ctx: of the slice.
        payload: ``up_to_id``, the newest receipt that is meant; by default the newest when the job starts.
        cursor: ``after_id`` and ``up_to_id``.
    """

    def delete(ids: Sequence[int]) -> None:
        service.delete_receipts(ctx.session, ids)

    after_id = int(cursor["after_id"]) if cursor else 0
    up_to_id = int((cursor or payload).get("up_to_id", -1))
    if up_to_id < 0:
        up_to_id = service.newest_id(ctx.session)
    touched = 0
    while touched < ctx.limit:
        wanted = min(BATCH, ctx.limit - touched)
        ids = service.ids_after(ctx.session, after_id, up_to_id, wanted)
        if ids:
            ctx.each(ids, delete, name=lambda receipt_id: f"receipt {receipt_id}")
            touched, after_id = touched + len(ids), ids[-1]
        if len(ids) < wanted:
            return Slice()
        if ctx.out_of_time:
            break
    return Slice(next_cursor={"after_id": after_id, "up_to_id": up_to_id})


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """Every kind of job of this domain."""
    return {
        "send_payment_receipt_job": OwningTask(partial(send_payment_receipt_job, runtime), receipt_failed),
        "delete_receipts_all": delete_receipts_all,
    }
