"""The mail that carries a receipt."""

from collections.abc import Callable
from email.message import EmailMessage

from switchboard_core.outbox.models import OutgoingMessage
from switchboard_core.outbox.send import SkipMessageError
from switchboard_core.receipts.service import receipt_of
from switchboard_core.receipts.template import text_of
from switchboard_core.runtime import Runtime


def composer(runtime: Runtime, business_id: int) -> Callable[[OutgoingMessage], EmailMessage]:
    """What ``outbox.send`` composes the receipts of a business with."""

    def compose(message: OutgoingMessage) -> EmailMessage:
        with runtime.database.tenant(business_id) as session:
            receipt = receipt_of(session, message.id)
            if receipt is None:
                raise SkipMessageError("The receipt was deleted before it was sent.")
            return letter(receipt.subject, receipt.html, receipt.pdf, f"receipt-{receipt.payment_id}.pdf")

    return compose


def letter(subject: str, html: str, pdf: bytes, filename: str) -> EmailMessage:
    """Words and HTML as alternatives, with the PDF attached."""
    mail = EmailMessage()
    mail["Subject"] = subject
    mail.set_content(text_of(html))
    mail.add_alternative(html, subtype="html")
    mail.add_attachment(pdf, maintype="application", subtype="pdf", filename=filename)
    return mail
