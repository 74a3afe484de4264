"""A worker that is killed while it syncs, wherever: the rows are those of a sync that nobody disturbed."""

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from accounting_server import AccountingServer, Answer, counterparty, transaction
from integration.kernel_support import kernel_database
from integration.ledger_support import LedgerBench, ledger_bench
from integration.worker_support import PLAIN, Worker, workshop
from slice_kills import KilledError, World, check_kills
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from waiting import await_true

SEEDS = range(2)


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


def fill(books: AccountingServer, transactions: int) -> None:
    """Two counterparties, and transactions of which one is wrong and one is deleted."""
    books.put("counterparties", counterparty("C-1"), counterparty("C-2"))
    books.put("transactions", *(transaction(f"T-{n:03}", f"C-{1 + n % 2}") for n in range(transactions)))
    books.put("transactions", transaction("T-004", "C-404"))
    books.delete("transactions", "T-003")


class Processes:
    """Every slice in a process of its own, or all in one: what is in memory must not matter."""

    def __init__(self, ledger: LedgerBench, *, fresh: bool) -> None:
        self._ledger, self._fresh = ledger, fresh
        self._service = ledger.service()

    def sync(self, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        if self._fresh:
            self._service.close()
            self._service = self._ledger.service()
        return self._service.sync(ctx, payload, cursor)


def observe(ledger: LedgerBench) -> object:
    cursors = ledger.jobs.sql("SELECT cursors, state FROM ledger_connections")
    return ledger.rows("counterparties"), ledger.rows("transactions"), [row["state"] for row in cursors]


@pytest.mark.parametrize(
    ("fresh", "at_most"),
    [pytest.param(False, None, id="one process"), pytest.param(True, 8, id="a process for each slice")],
)
def test_killed_at_every_commit_the_rows_are_the_same(
    urls: DatabaseUrls, valkey: EmbeddedValkey, fresh: bool, at_most: int | None
) -> None:
    @contextmanager
    def world() -> Iterator[World]:
        with ledger_bench(urls, valkey) as ledger:
            ledger.books.page_limit = 3
            fill(ledger.books, 6)
            job_id = ledger.start(ledger.connect())
            tasks = {"sync_ledger": Processes(ledger, fresh=fresh).sync}
            yield World(ledger.jobs.runtime, ledger.jobs.business_id, job_id, tasks, lambda: observe(ledger))

    calm = check_kills(world, at_most=at_most)
    assert calm.slices >= 3


@contextmanager
def killed_in_statements(ledger: LedgerBench, strikes: Callable[[], bool]) -> Iterator[None]:
    """Ask before every statement whether the process dies there."""

    def boundary(*_: object) -> None:
        if strikes():
            raise KilledError

    engine = ledger.jobs.runtime.database.engine
    event.listen(engine, "before_cursor_execute", boundary)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", boundary)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_again_and_again_in_the_middle_of_slices_the_rows_are_the_same(
    urls: DatabaseUrls, valkey: EmbeddedValkey, seed: int
) -> None:
    with ledger_bench(urls, valkey) as ledger:
        fill(ledger.books, 150)
        ledger.sync(ledger.connect())
        undisturbed = observe(ledger)
    chance, deaths = random.Random(seed), 0
    with ledger_bench(urls, valkey) as ledger:
        fill(ledger.books, 150)
        job_id, kernel = ledger.start(ledger.connect()), ledger.kernel()
        with killed_in_statements(ledger, lambda: chance.random() < 0.03):
            for _ in itertools.count():
                try:
                    if kernel.run_slice(job_id, budget_s=0) is Outcome.FINISHED:
                        break
                except KilledError:
                    deaths += 1
                    ledger.jobs.set(job_id, "lease_until = now() - interval '1 s', crash_count = 0")
                    kernel = ledger.kernel()
        job = ledger.jobs.job(job_id)
        assert deaths > 0
        assert (job["status"], job["done"], job["failed"]) == ("completed", 151, 1)
        assert observe(ledger) == undisturbed


def test_a_worker_that_is_really_killed_is_replaced_and_the_sync_ends(
    urls: DatabaseUrls, valkey: EmbeddedValkey, stack_folder: Path
) -> None:
    gate = threading.Event()
    with ledger_bench(urls, valkey) as ledger, workshop(ledger.jobs, stack_folder / "ledger-kill") as place:
        ledger.books.page_limit = 10
        fill(ledger.books, 50)
        job_id = ledger.start(ledger.connect())
        hold_from(ledger.books, gate, request=4)
        workers = [place.worker(argv=PLAIN).start(wait=False) for _ in range(2)]
        await_true(lambda: len(ledger.books.asked) >= 4, "a page that does not come")
        await_true(lambda: ledger.jobs.job(job_id)["done"] >= 12, "the pages before it to be written")
        holder = max(workers, key=newest_claim)
        holder.process.kill()
        gate.set()
        place.await_status(job_id, "completed")
        job = ledger.jobs.job(job_id)
        assert (job["done"], job["failed"]) == (51, 1)
        assert len(ledger.ids("transactions")) == 48


def hold_from(books: AccountingServer, gate: threading.Event, *, request: int) -> None:
    """Let no page go from this request on, until the gate opens."""
    answer = books.answer

    def held(*asked: Any) -> Answer:
        made = answer(*asked)
        return made if len(books.asked) < request else replace(made, wait=gate)

    books.answer = held  # type: ignore[method-assign,assignment]


def newest_claim(worker: Worker) -> int:
    """The highest attempt that a worker has claimed."""
    return max((event["attempt"] for event in worker.events if event["event"].startswith("JOB PICKED")), default=0)
