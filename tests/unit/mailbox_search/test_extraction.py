"""Receipts out of mails: who, how much, and what is no receipt at all."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard_core.mailbox import mime
from switchboard_core.mailbox.extraction import (
    MAX_NAME_CHARACTERS,
    MIN_CONFIDENCE,
    Document,
    Mail,
    Receipt,
    Text,
    extract_receipt,
    readable,
)

seeded = settings(max_examples=150, deadline=None, derandomize=True, database=None)

PDF = "application/pdf"


def mail(body: str = "", subject: str = "Your receipt", **fields: Any) -> Mail:
    kind = fields.pop("kind", "text/plain")
    return Mail(fields.pop("sender", "Acme <billing@acme.example>"), subject, [Text(kind, body)], **fields)


def receipt(body: str = "", subject: str = "Your receipt", **fields: Any) -> Receipt:
    found = extract_receipt(mail(body, subject, **fields))
    assert found is not None
    return found


def amount(body: str, **fields: Any) -> str:
    found = receipt(body, **fields)
    return f"{found.currency} {found.amount}"


def test_a_receipt_says_who_was_paid_how_much_and_when() -> None:
    date = datetime(2026, 1, 26, 11, 5, tzinfo=UTC)
    documents = [Document("logo.png", "image/png", "2"), Document("invoice-7.pdf", PDF, "3")]
    found = receipt("Total: $12.50", sender='"Acme, Inc." <Billing@ACME.example>', date=date, documents=documents)
    assert (found.sender_name, found.sender_address) == ("Acme, Inc.", "billing@acme.example")
    assert (found.amount, found.currency, found.date) == (Decimal("12.50"), "USD", date)
    assert found.document == documents[1]
    assert found.confidence >= 0.9


@pytest.mark.parametrize(
    "body",
    [
        "Subtotal: $10.00\nTax: $2.00\nTotal due: $12.00",
        "Total due: $12.00\nSubtotal: $10.00\nSaved: $300.00",
        "Item  $10.00\nShipping $2.00\nOrder total $12.00\nGift card balance: $500.00 previous balance $900.00",
        "Total before tax: $10.00 Total (incl. VAT): $12.00",
        "Total excl. VAT $10.00\nVAT 20% $2.00\nTotal $12.00",
        "Refund: -$99.00\nAmount paid\n$12.00",
        "You paid $12.00 for 3 tickets",
        "$10.00\n$2.00\n$12.00",
    ],
)
def test_what_was_paid_in_all_is_preferred_to_its_parts(body: str) -> None:
    assert amount(body) == "USD 12.00"


@pytest.mark.parametrize(
    ("subject", "body", "expected"),
    [
        ("Ihre Rechnung", "Zwischensumme 10,00 €\nMwSt 1,90 €\nGesamtbetrag: 11,90 €", "EUR 11.90"),
        ("Ihre Rechnung", "Summe netto 10,00 €, Gesamt inkl. 19% MwSt: 1.011,90 €", "EUR 1011.90"),
        ("Votre facture", "Sous-total 10,00 €\nTVA 2,00 €\nMontant TTC\u00a0: 12,00 €", "EUR 12.00"),
        ("Tu factura", "IVA 2,10 € Importe total 12,10 €", "EUR 12.10"),
        ("Kvitto", "Moms 20,00 kr\nAtt betala 120,00 kr", "SEK 120.00"),
        ("領収書 receipt", "Total ¥1,200 (tax ¥109)", "JPY 1200"),
    ],
)
def test_other_languages_are_read_too(subject: str, body: str, expected: str) -> None:
    assert amount(body, subject=subject, sender="shop@example.se") == expected


def test_an_amount_in_the_subject_is_enough() -> None:
    assert amount("Details are in the attachment.", subject="Invoice for EUR 49.00") == "EUR 49.00"


def test_html_is_read_where_the_plain_text_says_nothing() -> None:
    html = "<table><tr><td>Subtotal<td>$10.00<tr><td>Total<td><b>$</b><b>12.00</b></table>"
    texts = [Text("text/plain", "Please use a mail program that shows HTML."), Text("text/html", html)]
    found = extract_receipt(Mail("a@example.com", "Your receipt", texts))
    assert found is not None
    assert found.amount == Decimal("12.00")


def test_the_plain_text_is_taken_where_both_say_the_same() -> None:
    assert readable([Text("text/html", "<p>$9</p>"), Text("text/plain", "$8")]) == "$8"


@pytest.mark.parametrize(
    "no_receipt",
    [
        mail("Shall we have lunch? It is about $10.", subject="Lunch"),
        mail("Everything from $10.00! Up to $50 off your order.", subject="Sale!", bulk=True),
        mail("Your receipt is attached.", documents=[Document("receipt.pdf", PDF)]),
        mail("Total: $0.00"),
        mail(""),
        Mail("", ""),
    ],
)
def test_what_does_not_look_like_a_receipt_is_none(no_receipt: Mail) -> None:
    assert extract_receipt(no_receipt) is None


def test_the_document_is_the_one_that_is_called_so_then_a_pdf_then_the_first() -> None:
    picture, pdf = Document("photo.jpg", "image/jpeg"), Document("4711.PDF", "application/octet-stream")
    named = Document("Rechnung 4711.html", "text/html")
    assert receipt("Total $5", documents=[picture, pdf, named]).document == named
    assert receipt("Total $5", documents=[picture, pdf]).document == pdf
    assert receipt("Total $5", documents=[picture]).document == picture
    assert receipt("Total $5").document is None


@pytest.mark.parametrize(
    ("sender", "name", "address"),
    [
        ("billing@acme.example", "", "billing@acme.example"),
        ("Acme", "Acme", ""),
        ("", "", ""),
        ("A\x00B <c@d.example>", "A B", "c@d.example"),
    ],
)
def test_a_sender_may_be_half_there(sender: str, name: str, address: str) -> None:
    found = receipt("Total: $5.00", sender=sender)
    assert (found.sender_name, found.sender_address) == (name, address)


def test_names_are_bounded_and_keep_their_ending() -> None:
    found = receipt("Total: $5.00", sender=f"{'x' * 999} <a@b.example>", documents=[Document("n" * 999 + ".pdf", PDF)])
    assert len(found.sender_name) <= MAX_NAME_CHARACTERS
    assert found.document is not None
    assert found.document.name.endswith("n.pdf")
    assert len(found.document.name) == MAX_NAME_CHARACTERS


def _assert_storable(found: Receipt | None) -> None:
    if found is None:
        return
    assert found.confidence >= MIN_CONFIDENCE
    assert found.amount > 0
    texts = [found.sender_name, found.sender_address, *([found.document.name] if found.document else [])]
    assert all("\0" not in text and text.encode() is not None for text in texts)


_TEXTS = st.text(st.characters(), max_size=200) | st.sampled_from(["Total: $5.00", "invoice", "Your receipt € 5"])


@seeded
@given(
    sender=_TEXTS,
    subject=_TEXTS,
    bodies=st.lists(st.tuples(st.sampled_from(["text/plain", "text/html"]), _TEXTS), max_size=3),
    names=st.lists(_TEXTS, max_size=3),
)
def test_no_mail_breaks_it(sender: str, subject: str, bodies: list[tuple[str, str]], names: list[str]) -> None:
    texts = [Text(kind, f"Total: $5.00 {body}") for kind, body in bodies]
    documents = [Document(name, name) for name in names]
    _assert_storable(extract_receipt(Mail(sender, f"receipt {subject}", texts, documents)))


@seeded
@given(
    header=st.binary(),
    body=st.binary(),
    charset=st.sampled_from([None, "", "utf-8", "utf-16", "shift_jis", "x-unknown", "utf-7", "idna", "hex", "a\0b"]),
    encoding=st.sampled_from(["base64", "quoted-printable", "8bit", "x-unknown"]),
    kind=st.sampled_from(["text/plain", "text/html"]),
)
def test_no_bytes_break_it(header: bytes, body: bytes, charset: str | None, encoding: str, kind: str) -> None:
    fields = mime.fields_of(b"Subject: receipt " + header)
    subject = mime.decode_field(fields.get("subject", [b""])[0])
    text = mime.decode_text(mime.decode_content(body, encoding), charset)
    _assert_storable(extract_receipt(Mail(mime.decode_field(header), subject, [Text(kind, text)])))


def test_a_broken_charset_spoils_only_its_letters() -> None:
    body = "Gesamtbetrag für alles: 12,00 €".encode("cp1252")
    assert amount(mime.decode_text(body, "utf-8"), subject="Rechnung") == "EUR 12.00"
    assert amount(mime.decode_text(body, "no-such-charset"), subject="Rechnung") == "EUR 12.00"
