"""Users and payments, the mail account and the template of receipts, and the receipts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from switchboard_api import logins
from switchboard_api.auth import Agent, Caller, Owner, RuntimeDep, Viewer
from switchboard_api.idempotency import Idempotency, IdempotencyDep
from switchboard_api.pagination import MAX_ID, Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.mailbox.errors import MailboxError
from switchboard_core.outbox import accounts, archive
from switchboard_core.outbox.errors import NotSentError
from switchboard_core.outbox.schemas import MailAccountCheck, MailAccountIn, MailAccountOut
from switchboard_core.outbox.service import NotResendableError
from switchboard_core.outbox.smtp import SmtpSession
from switchboard_core.outbox.states import MessageState
from switchboard_core.receipts import rendering, service
from switchboard_core.receipts.schemas import (
    PaymentIn,
    PaymentOut,
    ReceiptOut,
    SendReceipt,
    TemplateIn,
    TemplateOut,
    UserIn,
    UserOut,
)
from switchboard_core.receipts.template import DEFAULT, SAMPLE, BrokenTemplateError, Template
from switchboard_core.settings import Settings
from switchboard_core.tenancy.service import record_audit
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError
from switchboard_core.vault.service import CredentialNotFoundError

router = APIRouter(prefix="/api", tags=["receipts"])

Body = TypeVar("Body", bound=BaseModel)


class Form(StrEnum):
    """As what a receipt is shown."""

    HTML = "html"
    PDF = "pdf"


# Templates are HTML that people wrote, shown under the address of the api: nothing in it may run or reach the api.
_HARMLESS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src https: data:",
    "X-Content-Type-Options": "nosniff",
}
_DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The receipt.",
        "content": {
            "text/html": {"schema": {"type": "string"}, "example": DEFAULT.html_for(SAMPLE)},
            "application/pdf": {"schema": {"type": "string", "format": "binary"}, "example": "%PDF-1.3 …"},
        },
    }
}
_NO_ACCOUNT: dict[int | str, dict[str, Any]] = {404: {"description": "No mail account is connected."}}
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "It is on its way, has arrived, or was deleted."}}

As = Annotated[Form, Query(alias="as", description="Form of the answer.")]


@router.post("/users", summary="Add a user", status_code=201, response_model=UserOut)
def create_user(order: UserIn, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Somebody who pays and gets receipts."""
    with runtime.database.tenant(caller.business_id) as session:
        effect = _audited(session, caller, "user.created", "user", lambda: service.create_user(session, order))
        return once.run(session, effect, headers=lambda user: {"Location": f"/api/users/{user.id}"})


@router.get("/users", summary="List users")
def list_users(caller: Viewer, runtime: RuntimeDep, paging: Paging) -> Page[UserOut]:
    """Oldest first."""
    with runtime.database.tenant(caller.business_id) as session:
        return paging.page(service.list_users(session, after_id=paging.after_id, limit=paging.fetch))


@router.get("/users/{user_id}", summary="Show a user")
def show_user(user_id: RowId, caller: Viewer, runtime: RuntimeDep) -> UserOut:
    """One user."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return service.get_user(session, user_id)


@router.put("/users/{user_id}", summary="Change a user")
def change_user(user_id: RowId, order: UserIn, caller: Agent, runtime: RuntimeDep) -> UserOut:
    """Name and address; receipts that are sent again go to the new address."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return _audited(session, caller, "user.changed", "user", lambda: service.change_user(session, user_id, order))()


@router.post(
    "/payments",
    summary="Note a payment",
    status_code=201,
    response_model=PaymentOut,
    responses={404: {"description": "There is no such user."}},
)
def create_payment(order: PaymentIn, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """No receipt is sent by this alone: see `POST /api/receipts/send`."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        effect = _audited(session, caller, "payment.created", "payment", lambda: service.create_payment(session, order))
        return once.run(session, effect, headers=lambda payment: {"Location": f"/api/payments/{payment.id}"})


@router.get("/payments", summary="List payments")
def list_payments(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    user_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only those of this user.")] = None,
) -> Page[PaymentOut]:
    """Oldest first, each with where its receipt is."""
    with runtime.database.tenant(caller.business_id) as session:
        found = service.list_payments(session, user_id=user_id, after_id=paging.after_id, limit=paging.fetch)
        return paging.page(found)


@router.get("/payments/{payment_id}", summary="Show a payment")
def show_payment(payment_id: RowId, caller: Viewer, runtime: RuntimeDep) -> PaymentOut:
    """One payment, with where its receipt is."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return service.get_payment(session, payment_id)


@router.put("/receipts/mail-account", summary="Connect the mail account")
def put_account(order: MailAccountIn, caller: Owner, runtime: RuntimeDep) -> MailAccountOut:
    """The one account that the business's mail leaves from. Passwords are encrypted at rest and never shown.

    With an `archive`, each mail goes there as a blind copy too, and one whose answer was lost is looked for there
    before it is sent again.
    """
    with runtime.database.tenant(caller.business_id) as session, _problems():
        account = accounts.put(session, runtime.settings, order)
        record_audit(session, actor=caller.actor, action="mail_account.connected", subject=f"{order.host}:{order.port}")
        return accounts.shown(account)


@router.get("/receipts/mail-account", summary="Show the mail account", responses=_NO_ACCOUNT)
def show_account(caller: Viewer, runtime: RuntimeDep) -> MailAccountOut:
    """Without its passwords; 404 where none is connected."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return accounts.shown(accounts.get(session))


@router.delete("/receipts/mail-account", summary="Disconnect the mail account", status_code=204, responses=_NO_ACCOUNT)
def remove_account(caller: Owner, runtime: RuntimeDep) -> None:
    """Its passwords are deleted too; mails that wait fail at their next try."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        accounts.remove(session)
        record_audit(session, actor=caller.actor, action="mail_account.removed", subject="mail account")


@router.post("/receipts/mail-account/test", summary="Try the mail account", responses=_NO_ACCOUNT)
async def try_account(caller: Owner, runtime: RuntimeDep) -> MailAccountCheck:
    """Connects and logs in, to the mail server and to the archive if there is one. Nothing is sent."""

    def account() -> accounts.Sender:
        with runtime.database.tenant(caller.business_id) as session, _problems():
            return accounts.sender(session, runtime.settings)

    sender = await run_in_threadpool(account)
    return await logins.tried(lambda: _checked(sender, runtime.settings))


def _checked(sender: accounts.Sender, settings: Settings) -> MailAccountCheck:
    smtp, in_archive, ok = "The mail server lets this account in.", None, True
    try:
        SmtpSession(sender.server, settings).check()
    except NotSentError as error:
        smtp, ok = str(error), False
    if sender.place is not None:
        in_archive = "The archive can be looked into."
        try:
            archive.check(sender.place, settings)
        except MailboxError as error:
            in_archive, ok = str(error), False
    return MailAccountCheck(ok=ok, smtp=smtp, archive=in_archive)


@router.put("/receipts/template", summary="Save the template")
def put_template(order: TemplateIn, caller: Owner, runtime: RuntimeDep) -> TemplateOut:
    """How receipts look from now on. A template that does not work is refused with line and reason."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        saved = rendering.put_template(session, runtime.settings, order)
        record_audit(session, actor=caller.actor, action="receipt_template.saved", subject="receipt template")
        return saved


@router.get("/receipts/template", summary="Show the template")
def show_template(caller: Viewer, runtime: RuntimeDep) -> TemplateOut:
    """The one that was saved, or the built-in one."""
    with runtime.database.tenant(caller.business_id) as session:
        return rendering.get_template(session)


@router.post("/receipts/template/preview", summary="Preview a template", response_class=Response, responses=_DOCUMENT)
def preview_template(
    caller: Viewer, runtime: RuntimeDep, order: TemplateIn | None = None, form: As = Form.HTML
) -> Response:
    """A receipt of an invented payment, as HTML or PDF; without a body that of the saved template."""
    with runtime.database.tenant(caller.business_id) as session:
        source = order or rendering.get_template(session)
    template = Template(source.subject, source.body)
    with _problems():
        if form is Form.PDF:
            return _pdf(rendering.preview_pdf(template, runtime.settings), "preview.pdf")
        return _html(rendering.preview_html(template))


@router.post(
    "/receipts/send",
    summary="Send a receipt",
    status_code=202,
    response_model=TaskSnapshot,
    responses={**_CONFLICT, 404: {"description": "There is no such payment."}},
)
def send_receipt(order: SendReceipt, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background, once for each payment, however often it is asked for; one that failed is tried again."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return _task(
            session,
            caller,
            once,
            ("receipt.sent", f"payment {order.payment_id}"),
            lambda: service.send(session, runtime, order.payment_id),
        )


@router.get("/receipts", summary="List receipts")
def list_receipts(
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    state: Annotated[MessageState | None, Query(description="Only those whose mail is in this state.")] = None,
) -> Page[ReceiptOut]:
    """Oldest first."""
    with runtime.database.tenant(caller.business_id) as session:
        found = service.list_receipts(session, state=state, after_id=paging.after_id, limit=paging.fetch)
        return paging.page(found)


@router.get("/receipts/{receipt_id}", summary="Show a receipt")
def show_receipt(receipt_id: RowId, caller: Viewer, runtime: RuntimeDep) -> ReceiptOut:
    """Where its mail is, and why."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return service.get_receipt(session, receipt_id)


@router.get("/receipts/{receipt_id}/document", summary="Read a receipt", response_class=Response, responses=_DOCUMENT)
def read_receipt(receipt_id: RowId, caller: Viewer, runtime: RuntimeDep, form: As = Form.HTML) -> Response:
    """Exactly what was or will be sent, as HTML or PDF."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        html, pdf = service.get_document(session, receipt_id)
    return _pdf(pdf, f"receipt-{receipt_id}.pdf") if form is Form.PDF else _html(html)


@router.post(
    "/receipts/{receipt_id}/resend",
    summary="Send a receipt again",
    status_code=202,
    response_model=TaskSnapshot,
    responses=_CONFLICT,
)
def resend_receipt(receipt_id: RowId, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """For a mail that failed, bounced or is uncertain: you decide that it may go out again, to the user's address."""
    with runtime.database.tenant(caller.business_id) as session, _problems():
        return _task(
            session,
            caller,
            once,
            ("receipt.resent", f"receipt {receipt_id}"),
            lambda: service.resend(session, runtime, receipt_id),
        )


@router.post("/receipts/delete-all", summary="Delete all receipts", status_code=202, response_model=TaskSnapshot)
def delete_all(caller: Owner, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """In the background: those that there are now, with the content of their mails. Payments stay, and none of them
    gets another receipt by accident.
    """
    with runtime.database.tenant(caller.business_id) as session:
        return _task(
            session,
            caller,
            once,
            ("receipts.deleted", "all receipts"),
            lambda: service.delete_all(session, runtime),
        )


def _task(
    session: Session,
    caller: Caller,
    once: Idempotency,
    noted: tuple[str, str],
    create: Callable[[], TaskSnapshot],
) -> Response:
    def effect() -> TaskSnapshot:
        task = create()
        record_audit(session, actor=caller.actor, action=noted[0], subject=noted[1], detail={"task": task.id})
        return task

    return once.run(session, effect, status=202, headers=lambda task: {"Location": f"/api/tasks/{task.id}"})


def _audited(
    session: Session, caller: Caller, action: str, noun: str, change: Callable[[], Body]
) -> Callable[[], Body]:
    """A change that is noted in the audit log with the id of what it made."""

    def effect() -> Body:
        made = change()
        record_audit(session, actor=caller.actor, action=action, subject=f"{noun} {getattr(made, 'id')}")  # noqa: B009
        return made

    return effect


@contextmanager
def _problems() -> Iterator[None]:
    """What the domain refuses, as answers."""
    try:
        yield
    except service.NotFoundError as error:
        raise not_found(str(error)) from None
    except accounts.NoAccountError as error:
        raise Problem(404, "Not found", str(error)) from None
    except BrokenTemplateError as error:
        field = {"field": f"body.{error.part}", "message": str(error)}
        raise Problem(422, "Broken template", str(error), errors=[field], line=error.line) from None
    except service.ReceiptDeletedError as error:
        raise Problem(409, "Receipt deleted", str(error)) from None
    except NotResendableError as error:
        raise Problem(409, "Not to be sent again", str(error)) from None
    except (accounts.AccountError, KeysMissingError, UnreadableSecretError, CredentialNotFoundError) as error:
        raise Problem(409, "Secrets unavailable", str(error)) from None


def _html(html: str) -> Response:
    return Response(html, media_type="text/html; charset=utf-8", headers=_HARMLESS)


def _pdf(pdf: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(pdf, media_type="application/pdf", headers=headers)
