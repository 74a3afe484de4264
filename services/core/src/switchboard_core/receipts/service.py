"""The verbs of the receipts domain."""

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Row, Select, delete, func, select
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import OPEN
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.states import Channel, MessageState
from switchboard_core.receipts.models import AppUser, Payment, Receipt
from switchboard_core.receipts.rendering import rendered
from switchboard_core.receipts.schemas import (
    PaymentIn,
    PaymentOut,
    ReceiptOut,
    UserIn,
    UserOut,
)
from switchboard_core.runtime import Runtime
from switchboard_core.settings import Settings
from switchboard_core.sql import db_now

SEND_JOB = "send_payment_receipt_job"
DELETE_JOB = "delete_receipts_all"

DELETED = "The receipt of this payment was deleted, so it is not sent again."


class NotFoundError(LookupError):
    """The business has no such user, payment or receipt; the text names it."""


class ReceiptDeletedError(Exception):
    """The payment's receipt was deleted: it is not mailed again by accident."""


# Users and payments


def create_user(session: Session, order: UserIn) -> UserOut:
    """Add a user to the session's business."""
    user = AppUser(business_id=tenant_of(session), name=order.name, email=order.email)
    session.add(user)
    session.flush()
    session.refresh(user)
    return _user_out(user)


def change_user(session: Session, user_id: int, order: UserIn) -> UserOut:
    """Change name and address of a user.

    Raises:
        NotFoundError: the business has no such user.
    """
    user = _user(session, user_id)
    user.name, user.email = order.name, order.email
    session.flush()
    return _user_out(user)


def get_user(session: Session, user_id: int) -> UserOut:
    """A user of the session's business.

    Raises:
        NotFoundError: it has no such user.
    """
    return _user_out(_user(session, user_id))


def list_users(session: Session, *, after_id: int | None = None, limit: int = 50) -> list[UserOut]:
    """Users of the session's business, oldest first, from behind ``after_id``."""
    users = session.scalars(
        select(AppUser)
        .where(AppUser.business_id == tenant_of(session), AppUser.id > (after_id or 0))
        .order_by(AppUser.id)
        .limit(limit)
    )
    return [_user_out(user) for user in users]


def create_payment(session: Session, order: PaymentIn) -> PaymentOut:
    """Note a payment of a user.

    Raises:
        NotFoundError: the business has no such user.
    """
    _user(session, order.user_id)
    payment = Payment(business_id=tenant_of(session), **order.model_dump())
    session.add(payment)
    session.flush()
    return get_payment(session, payment.id)


def get_payment(session: Session, payment_id: int) -> PaymentOut:
    """A payment of the session's business.

    Raises:
        NotFoundError: it has no such payment.
    """
    row = session.execute(_payments(session).where(Payment.id == payment_id)).first()
    if row is None:
        raise NotFoundError(f"payment {payment_id}")
    return _payment_out(row)


def list_payments(
    session: Session, *, user_id: int | None = None, after_id: int | None = None, limit: int = 50
) -> list[PaymentOut]:
    """Payments of the session's business, oldest first, from behind ``after_id``; of one user, if wanted."""
    query = _payments(session).where(Payment.id > (after_id or 0))
    if user_id is not None:
        query = query.where(Payment.user_id == user_id)
    return [_payment_out(row) for row in session.execute(query.order_by(Payment.id).limit(limit))]


# Receipts


def prepare(session: Session, settings: Settings, user_id: int, payment_id: int) -> OutgoingMessage:
    """The mail with the receipt of a payment; made, and its receipt rendered, when there is none yet.

    A receipt is rendered once: whatever is sent later, and however often, is this.

    Raises:
        NotFoundError: the business has no such payment of this user.
        ReceiptDeletedError: the payment's receipt was deleted.
        BrokenTemplateError: the template cannot be used for this payment.
    """
    # The lock keeps two jobs of one payment from rendering side by side.
    payment = session.get(Payment, payment_id, with_for_update=True)
    if payment is None or payment.business_id != tenant_of(session) or payment.user_id != user_id:
        raise NotFoundError(f"payment {payment_id} of user {user_id}")
    user = _user(session, user_id)
    message = outbox.put(session, channel=Channel.EMAIL, dedupe_key=_key(payment_id), recipient=user.email)
    if message.erased_at is not None:
        raise ReceiptDeletedError(DELETED)
    if session.scalars(select(Receipt.id).where(Receipt.payment_id == payment_id)).first() is None:
        session.add(rendered(session, settings, payment, user, message.id))
        session.flush()
    return message


def send(session: Session, runtime: Runtime, payment_id: int) -> TaskSnapshot:
    """Send the receipt of a payment in the background; one that failed is tried again.

    Raises:
        NotFoundError: the business has no such payment.
        ReceiptDeletedError: the payment's receipt was deleted.
    """
    payment = session.get(Payment, payment_id)
    if payment is None or payment.business_id != tenant_of(session):
        raise NotFoundError(f"payment {payment_id}")
    message = mail_of(session, payment_id)
    if message is not None and message.erased_at is not None:
        raise ReceiptDeletedError(DELETED)
    if message is not None and message.state is MessageState.FAILED:
        outbox.requeue(session, message.id, recipient=_user(session, payment.user_id).email)
    return _send_task(session, runtime, payment.user_id, payment_id)


def mail_of(session: Session, payment_id: int) -> OutgoingMessage | None:
    """The mail with the receipt of a payment, whatever became of it; None: there is none yet."""
    return session.scalars(
        select(OutgoingMessage).where(
            OutgoingMessage.business_id == tenant_of(session), OutgoingMessage.dedupe_key == _key(payment_id)
        )
    ).first()


def will_be_sent(session: Session, message_id: uuid.UUID) -> bool:
    """Whether a message of the outbox carries a receipt whose task goes on and will take it up again."""
    payment_id = session.scalar(
        select(Receipt.payment_id).where(Receipt.message_id == message_id, Receipt.business_id == tenant_of(session))
    )
    if payment_id is None:
        return False
    open_task = select(BackgroundJob.id).where(
        BackgroundJob.business_id == tenant_of(session),
        BackgroundJob.job_type == SEND_JOB,
        BackgroundJob.status.in_(OPEN),
        BackgroundJob.payload.contains({"payment_id": payment_id}),
    )
    return session.scalars(open_task.limit(1)).first() is not None


def resend(session: Session, runtime: Runtime, receipt_id: int) -> TaskSnapshot:
    """Have a receipt sent again that failed, bounced or is uncertain, to the address that its user has now.

    Raises:
        NotFoundError: the business has no such receipt.
        NotResendableError: it is on its way or has arrived.
    """
    receipt = session.get(Receipt, receipt_id)
    if receipt is None or receipt.business_id != tenant_of(session):
        raise NotFoundError(f"receipt {receipt_id}")
    payment = session.get_one(Payment, receipt.payment_id)
    outbox.requeue(session, receipt.message_id, recipient=_user(session, payment.user_id).email)
    return _send_task(session, runtime, payment.user_id, payment.id)


def delete_all(session: Session, runtime: Runtime) -> TaskSnapshot:
    """Delete all receipts that the session's business has now, in the background; its payments stay."""
    total, newest = session.execute(
        select(func.count(), func.max(Receipt.id)).where(Receipt.business_id == tenant_of(session))
    ).one()
    return runtime.tasks.create(session, DELETE_JOB, {"up_to_id": newest or 0}, total=total)


def delete_receipts(session: Session, receipt_ids: Sequence[int]) -> None:
    """Delete receipts and what their mails say; that they were sent stays known, so none is sent again."""
    message_ids = session.scalars(
        delete(Receipt)
        .where(Receipt.id.in_(receipt_ids), Receipt.business_id == tenant_of(session))
        .returning(Receipt.message_id)
    ).all()
    outbox.erase(session, message_ids)


def ids_after(session: Session, after_id: int, up_to_id: int, limit: int) -> Sequence[int]:
    """The next ids of receipts of the session's business, ascending."""
    return session.scalars(
        select(Receipt.id)
        .where(Receipt.business_id == tenant_of(session), Receipt.id > after_id, Receipt.id <= up_to_id)
        .order_by(Receipt.id)
        .limit(limit)
    ).all()


def newest_id(session: Session) -> int:
    """The highest id of a receipt of the session's business; 0 when it has none."""
    return session.scalar(select(func.max(Receipt.id)).where(Receipt.business_id == tenant_of(session))) or 0


def list_receipts(
    session: Session, *, state: MessageState | None = None, after_id: int | None = None, limit: int = 50
) -> list[ReceiptOut]:
    """Receipts of the session's business, oldest first, from behind ``after_id``; in one state, if wanted."""
    query = _receipts(session).where(Receipt.id > (after_id or 0))
    if state is MessageState.UNCERTAIN:
        query = query.where((OutgoingMessage.state == state) | _given_up())
    elif state is not None:
        query = query.where(OutgoingMessage.state == state, ~_given_up())
    return [_receipt_out(row) for row in session.execute(query.order_by(Receipt.id).limit(limit))]


def get_receipt(session: Session, receipt_id: int) -> ReceiptOut:
    """A receipt of the session's business.

    Raises:
        NotFoundError: it has no such receipt.
    """
    row = session.execute(_receipts(session).where(Receipt.id == receipt_id)).first()
    if row is None:
        raise NotFoundError(f"receipt {receipt_id}")
    return _receipt_out(row)


def get_document(session: Session, receipt_id: int) -> tuple[str, bytes]:
    """HTML and PDF of a receipt, as they were rendered.

    Raises:
        NotFoundError: the business has no such receipt.
    """
    row = session.execute(
        select(Receipt.html, Receipt.pdf).where(Receipt.id == receipt_id, Receipt.business_id == tenant_of(session))
    ).first()
    if row is None:
        raise NotFoundError(f"receipt {receipt_id}")
    return row.html, row.pdf


def receipt_of(session: Session, message_id: uuid.UUID) -> Receipt | None:
    """The receipt that a mail carries; None once it was deleted."""
    return session.scalars(
        select(Receipt).where(Receipt.message_id == message_id, Receipt.business_id == tenant_of(session))
    ).first()


def _key(payment_id: int) -> str:
    """What the mail with the receipt of a payment is for: there is one, ever."""
    return f"receipt:{payment_id}"


def _send_task(session: Session, runtime: Runtime, user_id: int, payment_id: int) -> TaskSnapshot:
    return runtime.tasks.create(session, SEND_JOB, {"user_id": user_id, "payment_id": payment_id}, total=1)


def _user(session: Session, user_id: int) -> AppUser:
    user = session.get(AppUser, user_id)
    if user is None or user.business_id != tenant_of(session):
        raise NotFoundError(f"user {user_id}")
    return user


def _user_out(user: AppUser) -> UserOut:
    return UserOut(id=user.id, name=user.name, email=user.email, created_at=user.created_at)


def _payments(session: Session) -> Select[Payment, int, MessageState]:
    return (
        select(Payment, Receipt.id.label("receipt_id"), OutgoingMessage.state.label("receipt_state"))
        .outerjoin(Receipt, Receipt.payment_id == Payment.id)
        .outerjoin(OutgoingMessage, OutgoingMessage.id == Receipt.message_id)
        .where(Payment.business_id == tenant_of(session))
    )


def _payment_out(row: Row[Payment, int, MessageState]) -> PaymentOut:
    payment = row.Payment
    return PaymentOut(
        id=payment.id,
        user_id=payment.user_id,
        amount=payment.amount,
        currency=payment.currency,
        description=payment.description,
        reference=payment.reference,
        paid_at=payment.paid_at,
        receipt_id=row.receipt_id,
        receipt_state=row.receipt_state,
        created_at=payment.created_at,
    )


def _receipts(session: Session) -> Select[Receipt, OutgoingMessage, int, bool]:
    return (
        select(Receipt, OutgoingMessage, Payment.user_id.label("user_id"), _given_up().label("given_up"))
        .join(OutgoingMessage, OutgoingMessage.id == Receipt.message_id)
        .join(Payment, Payment.id == Receipt.payment_id)
        .where(Receipt.business_id == tenant_of(session))
    )


def _given_up() -> ColumnElement[bool]:
    """The worker that handed the mail over is gone; whoever touches the mail next writes down that it is uncertain."""
    return (
        (OutgoingMessage.state == MessageState.SENDING)
        & (OutgoingMessage.lease_until < db_now())
        & OutgoingMessage.handed_over_at.is_not(None)
    )


def _receipt_out(row: Row[Receipt, OutgoingMessage, int, bool]) -> ReceiptOut:
    receipt, message = row.Receipt, row.OutgoingMessage
    state = MessageState.UNCERTAIN if row.given_up else message.state
    return ReceiptOut(
        id=receipt.id,
        payment_id=receipt.payment_id,
        user_id=row.user_id,
        subject=receipt.subject,
        state=state,
        reason=message.reason,
        message_id=message.id,
        next_try_at=message.run_after if state is MessageState.QUEUED else None,
        sent_at=message.sent_at,
        created_at=receipt.created_at,
    )
