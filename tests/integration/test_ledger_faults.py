"""An accounting system that misbehaves: a clear end or a patient wait, nothing half-done, and the worker lives."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from accounting_server import TOKEN, Answer, counterparty, page, transaction
from integration.kernel_support import kernel_database
from integration.ledger_support import LedgerBench, ledger_bench
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey, free_port
from switchboard_core.egress import Egress
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.ledger.sync import MAX_TRIES, AsyncSyncService
from waiting import await_true


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def ledger(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[LedgerBench]:
    with ledger_bench(urls, valkey) as made:
        made.books.page_limit = 10
        made.books.put("counterparties", counterparty("C-1"))
        made.books.put("transactions", *(transaction(f"T-{n:03}") for n in range(25)))
        yield made


def paused_s(ledger: LedgerBench, job_id: int) -> float:
    job = ledger.jobs.job(job_id)
    pause: timedelta = job["run_after"] - job["heartbeat_at"]
    return pause.total_seconds()


# What ends a sync at once


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(Answer(401), "does not accept the token. Make a new one there", id="401"),
        pytest.param(Answer(200, b"<html>Welcome"), "is not JSON", id="not JSON"),
        pytest.param(Answer(200, b"{}"), "is not a page of documents (items: Field required)", id="no items"),
        pytest.param(page(as_of="a\0b"), "is not a page of documents (as_of: ", id="NUL in as_of"),
        pytest.param(page(next="a\0b"), "is not a page of documents (next: ", id="NUL in next"),
        pytest.param(page(next="counterparties?limit=500"), "back to an earlier page", id="next is itself"),
    ],
)
def test_what_is_no_page_fails_the_sync_with_what_to_do(ledger: LedgerBench, answer: Answer, says: str) -> None:
    ledger.books.answers.append(answer)
    connection_id = ledger.connect()
    job = ledger.sync(connection_id)
    assert (job["status"], job["done"], job["failed"]) == ("failed", 0, 0)
    assert says in job["reason"]
    assert job["reason"].endswith(".")
    assert (ledger.rows("counterparties"), ledger.rows("transactions")) == ([], [])
    row = ledger.connection(connection_id)
    assert (row["state"], row["reason"]) == ("failed", job["reason"])


def test_the_sync_after_a_failed_one_makes_everything_good(ledger: LedgerBench) -> None:
    connection_id, kernel = ledger.connect(), ledger.kernel()
    ledger.books.answers.append(Answer(401))
    assert ledger.run(ledger.start(connection_id), kernel)["status"] == "failed"
    job = ledger.run(ledger.start(connection_id), kernel)
    assert (job["status"], job["done"]) == ("completed", 26)
    row = ledger.connection(connection_id)
    assert (row["state"], row["reason"]) == ("ready", None)


def test_a_sync_that_failed_in_the_middle_goes_on_there(ledger: LedgerBench) -> None:
    connection_id = ledger.connect()
    kernel, job_id = ledger.kernel(), ledger.start(connection_id)
    while ledger.jobs.job(job_id)["done"] < 11:
        assert kernel.run_slice(job_id, budget_s=0) is Outcome.AGAIN
    ledger.books.token = "another"
    assert ledger.run(job_id)["status"] == "failed"
    assert len(ledger.ids("transactions")) == 10
    ledger.books.token = TOKEN
    ledger.books.asked.clear()
    job = ledger.sync(connection_id)
    assert (job["status"], job["done"]) == ("completed", 15)
    assert len(ledger.ids("transactions")) == 25
    assert "cursor" in ledger.books.asked[1].query


def test_a_listing_that_goes_in_circles_ends(ledger: LedgerBench) -> None:
    def lead_back(made: dict[str, Any]) -> dict[str, Any]:
        return {**made, "next": f"transactions?limit=10&cursor={['MA==', 'MQ==', 'Mg=='][len(ledger.books.asked) % 3]}"}

    ledger.books.spoil = lead_back
    job = ledger.sync(ledger.connect())
    assert job["status"] == "failed"
    assert "leads back to an earlier page" in job["reason"]
    assert len(ledger.books.asked) < 15


def test_an_accounting_system_in_our_own_network_is_refused(ledger: LedgerBench) -> None:
    job_id = ledger.start(ledger.connect())
    wary = AsyncSyncService(ledger.jobs.runtime.database, Egress(()))
    ledger.services.append(wary)
    job = ledger.run(job_id, ledger.jobs.kernel(wary.sync, job_type="sync_ledger"))
    assert job["status"] == "failed"
    assert "is an address inside the network" in job["reason"]
    assert ledger.books.asked == []


def test_a_connection_that_was_deleted_ends_its_sync(ledger: LedgerBench) -> None:
    connection_id = ledger.connect()
    job_id = ledger.start(connection_id)
    ledger.jobs.sql("DELETE FROM ledger_connections WHERE id = %s", connection_id)
    job = ledger.run(job_id)
    assert (job["status"], job["reason"]) == ("failed", "The connection was deleted.")


@pytest.mark.parametrize("loss", ["UPDATE credentials SET sealed = 'x'", "DELETE FROM credentials"])
def test_a_token_that_is_lost_says_so(ledger: LedgerBench, loss: str) -> None:
    job_id = ledger.start(ledger.connect())
    ledger.jobs.sql(loss)
    job = ledger.run(job_id)
    assert job["status"] == "failed"
    assert "set one on it" in job["reason"] or "none of CREDENTIALS_KEYS" in job["reason"]


# What passes


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(Answer(429), "answered 429", id="429"),
        pytest.param(Answer(500), "answered 500", id="500"),
        pytest.param(Answer(503), "answered 503", id="503"),
        pytest.param(Answer(200, b'{"items": [', cut=100), "broke off", id="cut off"),
    ],
)
def test_what_passes_makes_the_sync_wait_and_go_on(ledger: LedgerBench, answer: Answer, says: str) -> None:
    ledger.books.answers += [answer, answer]
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    job = ledger.jobs.job(job_id)
    assert (job["status"], job["done"]) == ("running", 0)
    assert says in job["reason"]
    assert "1 of 8 tries" in job["reason"]
    assert 1 <= paused_s(ledger, job_id) <= 2.1
    job = ledger.run(job_id, kernel)
    assert (job["status"], job["reason"], job["done"]) == ("completed", None, 26)


def test_an_accounting_system_that_is_too_slow_is_asked_again(ledger: LedgerBench) -> None:
    gate = threading.Event()
    ledger.books.answers.append(Answer(wait=gate))
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    kernel.run_slice(job_id)
    gate.set()
    assert "did not send a page within 1 s" in ledger.jobs.job(job_id)["reason"]
    assert ledger.run(job_id, kernel)["status"] == "completed"


def test_an_accounting_system_that_is_not_there_is_tried_again_and_given_up(ledger: LedgerBench) -> None:
    connection_id = ledger.connect(base_url=f"http://127.0.0.1:{free_port()}")
    kernel, job_id = ledger.kernel(), ledger.start(connection_id)
    pauses = []
    while ledger.jobs.job(job_id)["finished_at"] is None:
        kernel.run_slice(job_id)
        pauses.append(paused_s(ledger, job_id))
        ledger.jobs.set(job_id, "run_after = clock_timestamp() - interval '1 second'")
    job = ledger.jobs.job(job_id)
    assert (job["status"], len(pauses)) == ("failed", MAX_TRIES)
    assert job["reason"].startswith("The accounting system cannot be reached")
    assert job["reason"].endswith("It was tried 8 times: start the sync again later, it goes on where it stopped.")
    assert pauses[5] > pauses[2] > pauses[0]
    assert all(pause <= 301 for pause in pauses)


@pytest.mark.parametrize(
    ("retry_after", "at_least", "at_most"),
    [
        ("90", 89, 91),
        ("in half an hour", 1700, 1801),
        ("86400", 3599, 3601),
        ("soon", 0.9, 2.1),
    ],
)
def test_a_wish_to_be_left_alone_is_honoured(
    ledger: LedgerBench, retry_after: str, at_least: float, at_most: float
) -> None:
    if retry_after == "in half an hour":
        retry_after = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)
    ledger.books.answers.append(Answer(429, b"", {"Retry-After": retry_after}))
    job_id = ledger.start(ledger.connect())
    ledger.kernel().run_slice(job_id)
    assert at_least <= paused_s(ledger, job_id) <= at_most


def test_trouble_with_the_page_after_costs_nothing_of_the_one_before(ledger: LedgerBench) -> None:
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    kernel.run_slice(job_id)  # counterparties

    def fail_next(made: dict[str, Any]) -> dict[str, Any]:
        ledger.books.answers.append(Answer(500))
        return made

    ledger.books.spoil = fail_next
    assert kernel.run_slice(job_id) is Outcome.AGAIN
    assert (ledger.jobs.job(job_id)["done"], len(ledger.ids("transactions"))) == (11, 10)
    assert kernel.run_slice(job_id) is Outcome.FINISHED
    assert "answered 500" in ledger.jobs.job(job_id)["reason"]
    ledger.books.spoil = lambda made: made
    job = ledger.run(job_id, kernel)
    assert (job["status"], job["done"]) == ("completed", 26)


def test_a_forgotten_listing_is_read_from_its_start(ledger: LedgerBench) -> None:
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    while ledger.jobs.job(job_id)["done"] < 11:
        kernel.run_slice(job_id, budget_s=0)
    ledger.books.answers.append(Answer(410))
    job = ledger.run(job_id)
    assert job["status"] == "completed"
    assert len(ledger.ids("transactions")) == 25
    assert (job["done"], job["result"]["created"]) == (36, 26)  # ten documents were looked at twice


def test_a_listing_that_is_forgotten_at_once_fails(ledger: LedgerBench) -> None:
    ledger.books.answers.append(Answer(410))
    job = ledger.sync(ledger.connect())
    assert (job["status"], "has forgotten the listing" in job["reason"]) == ("failed", True)


def test_a_page_that_changed_while_half_of_it_was_written_is_written_from_its_start(ledger: LedgerBench) -> None:
    ledger.books.page_limit = None
    ledger.books.put("transactions", *(transaction(f"U-{n:03}") for n in range(150)))
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    kernel.run_slice(job_id, budget_s=0)
    kernel.run_slice(job_id, budget_s=0)
    assert len(ledger.ids("transactions")) == 100
    # A document of the first hundred changes, so it stands at the end of the listing now and the others move up.
    ledger.books.put("transactions", transaction("T-000", amount="7"))
    job = ledger.run(job_id, budget_s=0)
    assert job["status"] == "completed"
    assert len(ledger.ids("transactions")) == 175
    assert next(row for row in ledger.rows("transactions") if row[0] == "T-000")[1] == 7


def test_no_token_is_ever_logged(ledger: LedgerBench) -> None:
    ledger.books.answers += [Answer(500), Answer(401)]
    ledger.sync(ledger.connect())
    everything = json.dumps(ledger.jobs.logged, default=str) + json.dumps(
        ledger.jobs.sql("SELECT payload, cursor, errors, reason FROM background_jobs"), default=str
    )
    assert TOKEN not in everything


def test_no_transaction_is_open_while_a_page_is_waited_for(ledger: LedgerBench) -> None:
    gate = threading.Event()
    ledger.books.answers.append(Answer(200, b'{"items": [], "next": null}', wait=gate))
    kernel, job_id = ledger.kernel(), ledger.start(ledger.connect())
    working = threading.Thread(target=kernel.run_slice, args=(job_id,))
    working.start()
    await_true(lambda: len(ledger.books.asked) == 1, "the page to be asked for")
    idle = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'kernel-test' AND state = 'idle in transaction'"
    try:
        # Renewing the lease takes a moment now and then; a slice's own transaction would be there all the time.
        await_true(lambda: not ledger.jobs.sql(idle), "no transaction to be open", 5)
    finally:
        gate.set()
        working.join(10)


def test_a_sync_that_the_kernel_fails_is_seen_on_its_connection(ledger: LedgerBench) -> None:
    connection_id = ledger.connect()
    job_id = ledger.start(connection_id)
    ledger.jobs.set(job_id, "crash_count = 5")
    job = ledger.run(job_id)
    (row,) = ledger.jobs.sql("SELECT state, reason FROM ledger_connections WHERE id = %s", connection_id)
    assert (job["status"], row["state"], row["reason"]) == ("failed", "failed", job["reason"])

    assert ledger.sync(connection_id)["status"] == "completed"
    (row,) = ledger.jobs.sql("SELECT state, reason FROM ledger_connections WHERE id = %s", connection_id)
    assert (row["state"], row["reason"]) == ("ready", None)
