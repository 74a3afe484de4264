"""The template of a business, and receipts made with it."""

import uuid
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.receipts import money
from switchboard_core.receipts.models import AppUser, Payment, Receipt, ReceiptTemplate
from switchboard_core.receipts.schemas import TemplateIn, TemplateOut
from switchboard_core.receipts.template import DEFAULT, SAMPLE, SAMPLES, Facts, Template
from switchboard_core.settings import Settings
from switchboard_core.tenancy.service import get_business


def get_template(session: Session) -> TemplateOut:
    """The template of the session's business, or the built-in one."""
    row = _template_row(session)
    if row is None:
        return TemplateOut(subject=DEFAULT.subject, body=DEFAULT.body, built_in=True, updated_at=None)
    return TemplateOut(subject=row.subject, body=row.body, built_in=False, updated_at=row.updated_at)


def put_template(session: Session, settings: Settings, order: TemplateIn) -> TemplateOut:
    """Save a template of the session's business; receipts that exist stay as they are.

    Raises:
        BrokenTemplateError: no receipt can be made with it; nothing was saved.
    """
    template = Template(order.subject, order.body)
    for facts in SAMPLES:
        _pdf(template.html_for(facts), template.subject_for(facts), settings)
    values = {"subject": order.subject, "body": order.body, "updated_at": func.now()}
    session.execute(
        insert(ReceiptTemplate)
        .values(business_id=tenant_of(session), **values)
        .on_conflict_do_update(index_elements=["business_id"], set_=values)
    )
    return get_template(session)


def preview_html(template: Template) -> str:
    """A receipt of an invented payment. Raises ``BrokenTemplateError``."""
    return template.html_for(SAMPLE)


def preview_pdf(template: Template, settings: Settings) -> bytes:
    """The same as PDF. Raises ``BrokenTemplateError``."""
    return _pdf(template.html_for(SAMPLE), template.subject_for(SAMPLE), settings)


def rendered(session: Session, settings: Settings, payment: Payment, user: AppUser, message_id: uuid.UUID) -> Receipt:
    """The receipt of a payment as the business's template makes it, not yet in the session.

    Raises:
        BrokenTemplateError: the template cannot be used for this payment.
    """
    row = _template_row(session)
    template = Template(row.subject, row.body) if row else DEFAULT
    business = get_business(session)
    facts = Facts(
        business={"name": business.name},
        user={"name": user.name, "email": user.email},
        payment={
            "id": payment.id,
            "amount": money.plain(payment.amount, payment.currency),
            "currency": payment.currency,
            "total": money.written(payment.amount, payment.currency),
            "description": payment.description,
            "reference": payment.reference,
            "date": _date(payment.paid_at, business.timezone),
        },
        receipt={"number": f"R-{payment.id:06d}"},
    )
    subject, html = template.subject_for(facts), template.html_for(facts)
    return Receipt(
        business_id=payment.business_id,
        payment_id=payment.id,
        message_id=message_id,
        subject=subject,
        html=html,
        pdf=_pdf(html, subject, settings),
    )


def _date(moment: datetime, timezone: str) -> str:
    local = moment.astimezone(ZoneInfo(timezone))
    return f"{local.day} {local:%B %Y}"


def _template_row(session: Session) -> ReceiptTemplate | None:
    return session.scalars(
        select(ReceiptTemplate)
        .where(ReceiptTemplate.business_id == tenant_of(session))
        .execution_options(populate_existing=True)
    ).first()


def _pdf(html: str, title: str, settings: Settings) -> bytes:
    # Here and not above: the PDF library takes a sixth of the start of every process, and few ever make a receipt.
    from switchboard_core.receipts.pdf import make_pdf

    return make_pdf(html, title=title, fonts=settings.receipt_fonts)
