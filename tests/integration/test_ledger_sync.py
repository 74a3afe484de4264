"""A sync against a real accounting system on loopback: incremental, document by document, never twice at once."""

import threading
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from accounting_server import Answer, counterparty, transaction
from integration.kernel_support import kernel_database
from integration.ledger_support import LedgerBench, ledger_bench
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.ledger import service
from switchboard_core.ledger.cursors import PATIENCE
from switchboard_core.ledger.writing import STRANGER, take_turn
from waiting import await_true


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def ledger(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[LedgerBench]:
    with ledger_bench(urls, valkey) as made:
        yield made


def fill(ledger: LedgerBench, transactions: int = 5, counterparties: int = 2) -> None:
    ledger.books.put("counterparties", *(counterparty(f"C-{n}") for n in range(1, counterparties + 1)))
    ledger.books.put(
        "transactions", *(transaction(f"T-{n:04}", f"C-{n % counterparties + 1}") for n in range(transactions))
    )


# What is synced


def test_a_first_sync_brings_everything(ledger: LedgerBench) -> None:
    ledger.books.put("counterparties", counterparty("C-1", email="books@one.example.com"))
    ledger.books.put(
        "transactions",
        transaction("T-1", amount="-12345678901234.5678", status="pending", description="Rent"),
        transaction(2, None, amount=0.1),  # type: ignore[arg-type]
    )
    connection_id = ledger.connect()
    job = ledger.sync(connection_id)
    assert (job["status"], job["done"], job["failed"], job["total"]) == ("completed", 3, 0, 3)
    assert job["result"] == {"seen": 3, "created": 3, "updated": 0, "deleted": 0}
    assert ledger.rows("counterparties") == [("C-1", "Company C-1", "books@one.example.com", False, 1)]
    day = date(2026, 1, 26)
    assert ledger.rows("transactions") == [
        ("2", Decimal("0.1000"), "EUR", day, "posted", None, False, 3, None),
        ("T-1", Decimal("-12345678901234.5678"), "EUR", day, "pending", "Rent", False, 2, "C-1"),
    ]
    row = ledger.connection(connection_id)
    assert (row["state"], row["reason"]) == ("ready", None)
    assert row["last_synced_at"] is not None


def test_a_later_sync_asks_only_for_what_is_new(ledger: LedgerBench) -> None:
    fill(ledger)
    connection_id = ledger.connect()
    ledger.sync(connection_id)
    ledger.books.asked.clear()
    ledger.books.put("transactions", transaction("T-0001", "C-1", amount="1"), transaction("T-9", "C-1"))
    ledger.books.delete("transactions", "T-0002")
    job = ledger.sync(connection_id)
    assert job["result"] == {"seen": 3, "created": 1, "updated": 1, "deleted": 1}
    assert [asked.query.get("updated_since") for asked in ledger.books.asked] == ["2", "7"]
    rows = {row[0]: row for row in ledger.rows("transactions")}
    assert len(rows) == 6
    assert rows["T-0001"][1] == 1
    assert [name for name, row in rows.items() if row[6]] == ["T-0002"]


def test_a_sync_of_nothing_new_is_answered_by_304(ledger: LedgerBench) -> None:
    fill(ledger)
    connection_id = ledger.connect()
    ledger.sync(connection_id)
    ledger.sync(connection_id)
    ledger.books.asked.clear()
    job = ledger.sync(connection_id)
    assert [asked.etag for asked in ledger.books.asked] == ['"counterparties-2-2"', '"transactions-7-7"']
    assert (job["status"], job["result"]["seen"]) == ("completed", 0)


def test_a_document_that_comes_back_is_no_longer_deleted(ledger: LedgerBench) -> None:
    fill(ledger, 1)
    connection_id = ledger.connect()
    ledger.books.delete("transactions", "T-0000")
    ledger.sync(connection_id)
    assert ledger.rows("transactions") == []  # what was never here needs no mark
    ledger.books.put("transactions", transaction("T-0000"))
    ledger.sync(connection_id)
    ledger.books.delete("transactions", "T-0000")
    ledger.sync(connection_id)
    assert ledger.rows("transactions")[0][6] is True
    ledger.books.put("transactions", transaction("T-0000"))
    ledger.sync(connection_id)
    assert ledger.rows("transactions")[0][6] is False


def test_an_older_version_never_overwrites_a_newer_one(ledger: LedgerBench) -> None:
    ledger.books.put("counterparties", counterparty("C-1", version=7))
    connection_id = ledger.connect()
    ledger.sync(connection_id)
    ledger.books.put("counterparties", counterparty("C-1", version=6, name="Old"), counterparty("C-2", version=1))
    ledger.books.put("counterparties", counterparty("C-3", version=3, name="New"))
    ledger.sync(connection_id)
    assert [(row[0], row[1]) for row in ledger.rows("counterparties")] == [
        ("C-1", "Company C-1"),
        ("C-2", "Company C-2"),
        ("C-3", "New"),
    ]


def test_the_newest_of_several_versions_on_one_page_counts(ledger: LedgerBench) -> None:
    versions = [counterparty("C-1", version=version, name=f"Name {version}") for version in (2, 9, 5)]
    ledger.books.spoil = lambda page: {**page, "items": versions if page["items"] else []}
    ledger.books.put("counterparties", counterparty("C-1"))
    job = ledger.sync(ledger.connect())
    assert ledger.rows("counterparties") == [("C-1", "Name 9", None, False, 9)]
    assert (job["done"], job["result"]["created"]) == (3, 1)


def test_pages_are_followed_to_the_last_and_each_is_asked_for_once(ledger: LedgerBench) -> None:
    ledger.books.page_limit = 7
    fill(ledger, 30)
    job = ledger.sync(ledger.connect())
    assert (job["done"], len(ledger.ids("transactions"))) == (32, 30)
    assert ledger.books.pages == ["counterparties"] + ["transactions"] * 5


def test_no_page_is_asked_for_twice_where_every_slice_runs_in_another_process(ledger: LedgerBench) -> None:
    ledger.books.page_limit = 7
    fill(ledger, 30)
    job_id = ledger.start(ledger.connect())
    while ledger.kernel().run_slice(job_id) is Outcome.AGAIN:
        pass
    assert ledger.jobs.job(job_id)["done"] == 32
    # The first slice of a job cannot know that the next one is not its own.
    assert len(ledger.books.pages) <= 7


def test_a_page_is_fetched_while_the_one_before_is_written(ledger: LedgerBench) -> None:
    ledger.books.page_limit = 10
    fill(ledger, 20)
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    kernel.run_slice(job_id)  # counterparties
    kernel.run_slice(job_id, budget_s=0)
    await_true(lambda: len(ledger.books.pages) == 3, "the second page to be asked for without a slice")
    assert len(ledger.ids("transactions")) == 10


def test_while_others_wait_every_hundred_documents_are_committed(ledger: LedgerBench) -> None:
    fill(ledger, 250)
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    seen = []
    while kernel.run_slice(job_id, budget_s=0) is Outcome.AGAIN:
        seen.append((ledger.jobs.job(job_id)["done"], len(ledger.ids("transactions"))))
    assert seen == [(2, 0), (102, 100), (202, 200)]
    assert ledger.jobs.job(job_id)["done"] == 252


# One bad document


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"amount": "1.23456"}, "amount: decimal input should have no more than 4 decimal places"),
        ({"counterparty": "C-404"}, f"{STRANGER}; the next 7 syncs ask for the transaction again"),
        ({"description": "a\0b"}, "description: holds a NUL character"),
    ],
)
def test_a_wrong_document_is_left_out_and_named_and_the_rest_goes_on(
    ledger: LedgerBench, wrong: dict[str, object], message: str
) -> None:
    fill(ledger, 3)
    ledger.books.put("transactions", transaction("T-0001", "C-1", **wrong) | wrong)
    job = ledger.sync(ledger.connect())
    assert (job["status"], job["done"], job["failed"], job["total"]) == ("completed", 4, 1, 5)
    assert ledger.ids("transactions") == ["T-0000", "T-0002"]
    assert job["errors"] == [{"item": "transaction T-0001", "message": message}]


def test_a_document_without_an_id_is_named_by_its_place(ledger: LedgerBench) -> None:
    ledger.books.put("counterparties", counterparty("C-1"), {"name": "Nobody"})
    ledger.books.spoil = lambda page: {**page, "items": [*page["items"], "text"] if page["items"] else []}
    job = ledger.sync(ledger.connect())
    assert [error["item"] for error in job["errors"]] == ["counterparty 2 of a page", "counterparty 3 of a page"]
    assert job["errors"][1]["message"] == "is not an object"
    assert ledger.ids("counterparties") == ["C-1"]


@pytest.mark.parametrize("bad", ["\0", "\ud800"], ids=["NUL", "surrogate"])
def test_a_document_with_an_id_that_cannot_be_kept_harms_no_other(ledger: LedgerBench, bad: str) -> None:
    fill(ledger, 2)
    ledger.books.put("transactions", transaction(f"T{bad}9"))
    job = ledger.sync(ledger.connect())
    assert (job["status"], job["done"], job["failed"]) == ("completed", 4, 1)
    assert [error["item"] for error in job["errors"]] == ["transaction T\ufffd9"]
    assert ledger.ids("transactions") == ["T-0000", "T-0001"]


def test_a_document_that_the_database_refuses_is_rolled_back_alone(ledger: LedgerBench) -> None:
    fill(ledger, 230)
    ledger.jobs.sql("ALTER TABLE transactions ADD CONSTRAINT no_luck CHECK (external_id <> 'T-0137') NOT VALID")
    try:
        job = ledger.sync(ledger.connect())
    finally:
        ledger.jobs.sql("ALTER TABLE transactions DROP CONSTRAINT no_luck")
    assert (job["status"], job["done"], job["failed"]) == ("completed", 231, 1)
    assert [error["item"] for error in job["errors"]] == ["transaction T-0137"]
    assert "no_luck" in job["errors"][0]["message"]
    assert len(ledger.ids("transactions")) == 229


def test_a_document_that_makes_the_commit_fail_is_found_and_left_out(ledger: LedgerBench) -> None:
    fill(ledger, 130)
    ledger.jobs.sql("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.external_id = 'T-0077' THEN RAISE EXCEPTION 'this document cannot be saved'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON transactions
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    try:
        job = ledger.sync(ledger.connect())
    finally:
        ledger.jobs.sql("DROP FUNCTION refuse() CASCADE")
    assert (job["status"], job["done"], job["failed"]) == ("completed", 131, 1)
    assert [error["item"] for error in job["errors"]] == ["transaction T-0077"]
    assert job["errors"][0]["message"].startswith("Commit failed at 79: RaiseException: this document cannot be saved")
    assert any(line.startswith("Commit failed at 2: ") for line in ledger.jobs.said("error"))
    assert len(ledger.ids("transactions")) == 129


# A transaction whose counterparty comes later


def test_what_is_booked_between_the_two_listings_comes_with_the_next_sync(ledger: LedgerBench) -> None:
    ledger.books.page_limit = 2
    fill(ledger, 5)
    connection_id, kernel = ledger.connect(), ledger.kernel()
    job_id = ledger.start(connection_id)
    kernel.run_slice(job_id)  # counterparties
    ledger.books.put("counterparties", counterparty("C-9"))
    ledger.books.put("transactions", transaction("T-0001", "C-9"), transaction("T-9", "C-9"), transaction("T-8", "C-1"))
    job = ledger.run(job_id, kernel)
    assert [error["item"] for error in job["errors"]] == ["transaction T-0001", "transaction T-9"]
    job = ledger.sync(connection_id)
    assert (job["failed"], job["result"]["created"]) == (0, 3)
    assert {row[0]: row[8] for row in ledger.rows("transactions")}.items() >= {("T-9", "C-9"), ("T-0001", "C-9")}
    ledger.books.asked.clear()
    assert ledger.sync(connection_id)["result"]["seen"] == 0


@pytest.mark.parametrize("dated", [True, False], ids=["as_of", "no as_of"])
def test_transactions_come_once_their_counterparty_is_put_right(ledger: LedgerBench, dated: bool) -> None:
    ledger.books.spoil = lambda page: page if dated else {**page, "as_of": None}
    ledger.books.put("counterparties", counterparty("C-1", name="x" * 201))
    ledger.books.put("transactions", transaction("T-1"), transaction("T-2"))
    connection_id = ledger.connect()
    assert [ledger.sync(connection_id)["failed"] for _ in range(2)] == [3, 2]
    ledger.books.put("counterparties", counterparty("C-1"))
    assert ledger.sync(connection_id)["failed"] == 0
    assert ledger.ids("transactions") == ["T-1", "T-2"]


def test_a_transaction_whose_counterparty_never_comes_is_asked_for_again_seven_times(ledger: LedgerBench) -> None:
    fill(ledger, 3)
    ledger.books.put("transactions", transaction("T-9", "C-404"))
    connection_id = ledger.connect()
    assert [ledger.sync(connection_id)["failed"] for _ in range(9)] == [1, *[1] * PATIENCE, 0]
    ledger.books.asked.clear()
    ledger.sync(connection_id)
    assert [asked.query.get("updated_since") for asked in ledger.books.asked] == ["2", "6"]
    assert ledger.books.asked[1].etag is not None


# One at a time


def test_a_second_sync_of_the_same_connection_is_the_one_that_is_open(ledger: LedgerBench) -> None:
    connection_id = ledger.connect()
    job_id = ledger.start(connection_id)
    assert ledger.start(connection_id) == job_id
    ledger.run(job_id)
    assert ledger.start(connection_id) != job_id


def test_another_connection_of_the_business_has_to_wait(ledger: LedgerBench) -> None:
    job_id = ledger.start(ledger.connect())
    other = ledger.connect(name="Other books")
    with pytest.raises(service.LedgerBusyError, match=f"task {job_id}"):
        ledger.start(other)


def test_another_business_does_not_have_to_wait(ledger: LedgerBench) -> None:
    fill(ledger, 1)
    ledger.start(ledger.connect())
    rival = ledger.jobs.another_business()
    job = ledger.run(ledger.start(ledger.connect(rival), rival))
    assert job["done"] == 3
    assert ledger.ids("transactions") == []


def test_whoever_holds_the_ledger_makes_a_sync_wait(ledger: LedgerBench) -> None:
    fill(ledger, 1)
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    with ledger.jobs.runtime.database.tenant(ledger.jobs.business_id) as session:
        assert take_turn(session)
        assert kernel.run_slice(job_id) is Outcome.FINISHED
        assert (ledger.jobs.job(job_id)["status"], ledger.rows("counterparties")) == ("running", [])
    assert ledger.run(job_id, kernel)["done"] == 3


def test_a_sync_that_was_overtaken_while_it_fetched_writes_nothing_twice(ledger: LedgerBench) -> None:
    """A worker stands still while it fetches; another takes the sync over and ends it."""
    fill(ledger, 3)
    gate = threading.Event()
    ledger.books.answers.append(Answer(200, b'{"items": [], "next": null}', wait=gate))
    slow, job_id = ledger.kernel(), ledger.start(ledger.connect())
    stalled = threading.Thread(target=slow.run_slice, args=(job_id,))
    stalled.start()
    await_true(lambda: len(ledger.books.asked) == 1, "the first page to be asked for")
    ledger.jobs.expire_lease(job_id)
    job = ledger.run(job_id)
    gate.set()
    stalled.join(10)
    assert (job["status"], job["done"]) == ("completed", 5)
    assert ledger.jobs.job(job_id)["done"] == 5
    assert len(ledger.ids("transactions")) == 3
