"""From a mail to the receipt in it: who was paid, how much, when, and the document that came along. Pure.

There is no form that receipts keep to, so this weighs signs: words in the subject, a sum behind words such as *Total
due*, a document called *invoice*. Documents are described, not read.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from email.utils import parseaddr
from itertools import islice

from switchboard_core.mailbox.amounts import Amount, find_amounts, straighten
from switchboard_core.mailbox.html_text import html_to_text

MIN_CONFIDENCE = 0.5
"""A mail with less is not taken for a receipt."""

MAX_TEXT_CHARACTERS = 200_000
MAX_NAME_CHARACTERS = 255
_MAX_AMOUNTS = 1000
_LABEL_CHARACTERS = 60

_NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_RECEIPT_WORDS = re.compile(
    r"\b(?:receipts?|invoices?|(?:order|booking|purchase) (?:confirmation|confirmed)|your (?:order|purchase|payment)"
    r"|payment (?:received|confirmation|successful)|(?:billing|account) statement|thank(?:s| you) for your (?:order"
    r"|purchase|payment)|rechnung|rechnungen|quittung|zahlungsbestätigung|bestellbestätigung|zahlungseingang|facture"
    r"|reçu|confirmation de (?:commande|paiement)|factura|recibo|fattura|ricevuta|fatura|faktura|kvitto|kvittering"
    r"|paragon|factuur|bon de commande)\b",
    re.IGNORECASE,
)
_DOCUMENT_NAME = re.compile(
    r"receipt|invoice|rechnung|quittung|beleg|facture|re[cç]u\b|factura|recibo|fattura|ricevuta|fatura|faktura|factuur"
    r"|kvitto|statement|bill",
    re.IGNORECASE,
)

# Words before a sum, the most telling first. The last of them that stands there decides.
_FINAL = (
    r"(?:grand|order|invoice|overall) total|total (?:due|paid|charged|amount|to pay|payable|price|ttc)"
    r"|amount (?:due|paid|charged|payable|billed)|(?:you|we) (?:paid|charged|received)|balance due|total a pagar"
    r"|gesamtbetrag|rechnungsbetrag|zahlbetrag|endbetrag|zu zahlen(?:der betrag)?|gesamtsumme|bruttobetrag"
    r"|montant (?:total|payé|ttc)|net à payer|importe total|totale (?:dovuto|fattura)|totaal te betalen|att betala"
)
_PARTIAL = (
    r"sub-?\s?total|zwischensumme|sous-total|net amount|nettobetrag|total (?:ht|excl\S*|before \w+|savings?|discount)"
    r"|tax(?:es)?|vat|gst|hst|mwst|ust|tva|iva|btw|moms|discount|rabatt|remise|coupon|credit|refund(?:ed)?|saved?"
    r"|shipping|versand\w*|livraison|delivery|tip|fee|deposit|points|previous balance|reward\w*|up to|from|off"
)
_PLAIN = r"total|totale|totaal|summe|gesamt|betrag|importe|montant|suma|razem|celkem|summa|paid|charged|bezahlt|payé"
_VAGUE = r"amount|payment|price|zahlung|paiement|pago|cost|billed|preis|prix"
# "Total (incl. VAT)" is the total and not the tax.
_WITH_TAX = r"[\s(]{1,3}in[ck]l\S{0,10}(?:\s\S{1,12}){0,2}"
_LABEL = re.compile(
    rf"\b(?:(?P<partial>{_PARTIAL})|(?P<final>(?:{_FINAL})(?:{_WITH_TAX})?|(?:{_PLAIN}){_WITH_TAX})"
    rf"|(?P<plain>{_PLAIN})|(?P<vague>{_VAGUE}))\b",
    re.IGNORECASE,
)
_WEIGHT = {"final": 4, "plain": 3, "vague": 2, None: 1, "partial": 0}
_CONFIDENCE = {4: 0.45, 3: 0.4, 2: 0.25, 1: 0.15, 0: 0.05}


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a mail that is shown.

    Attributes:
        content_type: ``text/plain`` or ``text/html``.
        text: decoded.
    """

    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A part of a mail that is to be kept.

    Attributes:
        name: as the mail calls it; may be empty.
        content_type: lower case.
        section: where it is in the mail; only the caller's concern.
    """

    name: str
    content_type: str
    section: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """What the extraction looks at.

    Attributes:
        sender: the From field, decoded.
        subject: decoded.
        texts: the shown parts, in order.
        documents: the attached parts, in order.
        date: when it was written.
        bulk: it went to a mailing list.
    """

    sender: str
    subject: str
    texts: Sequence[Text] = ()
    documents: Sequence[Document] = ()
    date: datetime | None = None
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt.

    Attributes:
        sender_name: who was paid; may be empty.
        sender_address: lower case; may be empty.
        amount: what was paid in all.
        currency: ISO 4217.
        date: of the mail.
        document: the receipt as a document, if one came along.
        confidence: that this is a receipt and the amount the right one, between 0 and 1.
    """

    sender_name: str
    sender_address: str
    amount: Decimal
    currency: str
    date: datetime | None
    document: Document | None
    confidence: float


def extract_receipt(mail: Mail) -> Receipt | None:
    """The receipt in a mail.

    Never raises, whatever the mail is made of.

    Returns:
        None for a mail that does not look like one.
    """
    name, address = _sender(mail.sender)
    text = readable(mail.texts)
    country = address.rpartition(".")[2]
    chosen = _best([*_weighed(straighten(text), country), *_weighed(straighten(clean(mail.subject)), country)])
    if chosen is None:
        return None
    amount, weight = chosen
    document = _document(mail.documents)
    confidence = _confidence(mail, text, amount, weight, document)
    if confidence < MIN_CONFIDENCE:
        return None
    return Receipt(name, address, amount.value, amount.currency, mail.date, document, confidence)


def readable(texts: Sequence[Text]) -> str:
    """What is to be read: the plain text where there is any, otherwise the HTML as text.

    Many mails carry the same twice. One that has its sums only in the HTML leaves the plain text short or without any
    digit; then the HTML is read.
    """
    plain = "\n".join(part.text for part in texts if part.content_type == "text/plain")
    if not any(character.isdigit() for character in plain):
        marked_up = "\n".join(html_to_text(part.text) for part in texts if part.content_type == "text/html")
        plain = marked_up or plain
    return clean(plain[:MAX_TEXT_CHARACTERS])


def clean(text: str) -> str:
    """The text without what a database cannot store or a person cannot see."""
    return _NOT_TEXT.sub(" ", text)


def _sender(field: str) -> tuple[str, str]:
    name, address = parseaddr(clean(field)[:1000])
    if "@" not in address:
        name, address = name or address, ""
    return " ".join(name.split())[:MAX_NAME_CHARACTERS], address.lower()[:320]


def _weighed(text: str, country: str) -> Iterator[tuple[Amount, int]]:
    """Each sum with the weight of the words before it."""
    behind = 0
    for amount in islice(find_amounts(text, country=country), _MAX_AMOUNTS):
        label = text[max(behind, amount.start - _LABEL_CHARACTERS) : amount.start]
        kinds = [match.lastgroup for match in _LABEL.finditer(label)]
        behind = amount.end
        yield amount, 0 if amount.negative else _WEIGHT[kinds[-1] if kinds else None]


def _best(weighed: Sequence[tuple[Amount, int]]) -> tuple[Amount, int] | None:
    """The sum of the greatest weight; of several, the largest: totals contain their parts."""
    paid = [(amount, weight) for amount, weight in weighed if amount.value > 0]
    return max(paid, key=lambda pair: (pair[1], pair[0].value), default=None)


def _document(documents: Sequence[Document]) -> Document | None:
    """The likeliest of the attachments: by its name, then a PDF, then the first."""

    def likeness(document: Document) -> int:
        named = _DOCUMENT_NAME.search(document.name) is not None
        return 2 * named + (document.content_type == "application/pdf" or document.name.lower().endswith(".pdf"))

    found = max(documents, key=likeness, default=None)
    if found is None:
        return None
    name = " ".join(clean(found.name).split())[-MAX_NAME_CHARACTERS:]
    return Document(name, clean(found.content_type)[:127], found.section)


def _confidence(mail: Mail, text: str, amount: Amount, weight: int, document: Document | None) -> float:
    told = _RECEIPT_WORDS.search(mail.subject) is not None
    points = _CONFIDENCE[weight]
    points += 0.35 if told else 0.2 * (_RECEIPT_WORDS.search(text) is not None)
    if document is not None:
        points += 0.15 if _DOCUMENT_NAME.search(document.name) else 0.05
    points += 0.05 * amount.certain
    if mail.bulk and not told:
        points -= 0.2
    return round(min(1.0, max(0.0, points)), 2)
