"""What accounting systems send, document by document."""

import json
from decimal import Decimal
from typing import Any

import pytest

from switchboard_core.ledger.documents import (
    DeletedDocument,
    TransactionDocument,
    WrongDocument,
    as_json,
    name_of,
    understand,
    understand_all,
)
from switchboard_core.ledger.states import Collection, TransactionStatus

TRANSACTIONS = Collection.TRANSACTIONS


def raw(**changes: Any) -> dict[str, Any]:
    return {"id": "T-1", "version": 1, "amount": "1", "currency": "EUR", "date": "2026-01-26", **changes}


def faults(value: object) -> dict[str | None, str]:
    found = understand(TRANSACTIONS, value, "transaction 3 of a page")
    assert isinstance(found, WrongDocument), found
    return dict(found.faults)


def test_a_transaction_is_read_whole() -> None:
    found = understand(TRANSACTIONS, raw(id=17, amount=Decimal("0.1"), counterparty="C-1", colour="red"), "")
    assert isinstance(found, TransactionDocument)
    assert (found.id, found.amount, found.status) == ("17", Decimal("0.1"), TransactionStatus.POSTED)
    assert name_of(TRANSACTIONS, found) == "transaction 17"


def test_a_deleted_document_needs_nothing_but_its_version() -> None:
    assert understand(TRANSACTIONS, {"id": "T-1", "version": 9, "deleted": True}, "") == DeletedDocument(
        id="T-1", version=9, deleted=True
    )
    assert "version" in faults({"id": "T-1", "deleted": True})


@pytest.mark.parametrize("word", ["yes", 1, "true", False, None])
def test_only_true_means_deleted(word: object) -> None:
    assert isinstance(understand(TRANSACTIONS, raw(deleted=word), ""), TransactionDocument)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"id": "a\0"}, "id"),
        ({"version": 2**63}, "version"),
        ({"amount": Decimal("NaN")}, "amount"),
        ({"amount": float("inf")}, "amount"),
        ({"amount": "100000000000000"}, "amount"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": "EUR\n"}, "currency"),
        ({"date": "26.01.2026"}, "date"),
        ({"date": "2026-01-26T00:00:00"}, "date"),
        ({"description": "x" * 501}, "description"),
        ({"description": "\ud800"}, "description"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], field: str) -> None:
    assert list(faults(raw(**changes))) == [field]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": "a lot"}, "input should be a valid decimal"),
        ({"amount": "1e30"}, "decimal input should have no more than 18 digits in total"),
        ({"amount": None}, "decimal input should be an integer, float, string or Decimal object"),
        ({"currency": "euro"}, "is not three capital letters such as EUR"),
        ({"date": "2026-02-30"}, "day is out of range for month"),
        ({"date": 1769385600}, "is not a day such as 2026-01-26"),
        ({"status": "lost"}, "input should be 'pending', 'posted' or 'voided'"),
        ({"version": -1}, "input should be greater than or equal to 0"),
    ],
)
def test_a_fault_says_what_is_wrong(changes: dict[str, object], message: str) -> None:
    assert faults(raw(**changes)) == {next(iter(changes)): message}


def test_all_faults_are_named_and_none_shows_a_value() -> None:
    found = understand(TRANSACTIONS, raw(amount="secret", currency="secret"), "")
    assert isinstance(found, WrongDocument)
    assert found.name == "transaction T-1"
    assert found.message.startswith("amount: ")
    assert "; currency: " in found.message
    assert "secret" not in found.message


@pytest.mark.parametrize("value", [None, 7, "text", ["id"]])
def test_what_is_no_object_is_named_by_its_place(value: object) -> None:
    assert understand(TRANSACTIONS, value, "transaction 3 of a page") == WrongDocument(
        "transaction 3 of a page", ((None, "is not an object"),)
    )


@pytest.mark.parametrize("bad", ["\0", "\ud800"], ids=["NUL", "surrogate"])
def test_a_name_can_be_kept_whatever_the_id_is(bad: str) -> None:
    found = understand(TRANSACTIONS, raw(id=f"T{bad}1"), "")
    assert isinstance(found, WrongDocument)
    assert found.name == "transaction T\ufffd1"


def test_a_page_is_read_the_same_whether_something_in_it_is_wrong_or_not() -> None:
    fine = [raw(id=f"T-{n}") for n in range(3)]
    mixed = [*fine, raw(id="T-9", amount="x"), {"id": "T-8", "version": 1, "deleted": True}, 7]
    assert list(understand_all(TRANSACTIONS, mixed))[:3] == list(understand_all(TRANSACTIONS, fine))
    names = [found.name for found in understand_all(TRANSACTIONS, mixed) if isinstance(found, WrongDocument)]
    assert names == ["transaction T-9", "transaction 6 of a page"]


def test_amounts_travel_to_the_database_exactly() -> None:
    found = understand(TRANSACTIONS, raw(amount="12345678901234.5678"), "")
    assert isinstance(found, TransactionDocument)
    assert json.loads(as_json([found]))[0]["amount"] == "12345678901234.5678"
