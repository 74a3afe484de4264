"""One page of an accounting system over real HTTP: what it may be, and what every other answer is called."""

import asyncio
import gzip
import json
from collections.abc import Iterator

import pytest

from accounting_server import TOKEN, AccountingServer, Answer, accounting_server, bomb, counterparty, page
from switchboard_core.egress import Egress
from switchboard_core.ledger.accounting_api import (
    MAX_PAGE_BYTES,
    MAX_PAGE_ITEMS,
    AccountingApi,
    AccountingError,
    BusyError,
    ListingGoneError,
    Page,
)
from switchboard_core.ledger.states import Collection


@pytest.fixture(scope="module")
def server() -> Iterator[AccountingServer]:
    with accounting_server() as made:
        made.put("counterparties", counterparty("C-1"))
        yield made


@pytest.fixture
def books(server: AccountingServer) -> AccountingServer:
    server.answers.clear()
    server.asked.clear()
    return server


def fetch(books: AccountingServer, *, trusted: tuple[str, ...] = ("127.0.0.1",), etag: str | None = None) -> Page:
    """The first page of counterparties."""

    async def run() -> Page:
        api = AccountingApi(TOKEN, Egress(trusted), page_timeout_s=5.0)
        try:
            return await api.page(Collection.COUNTERPARTIES, f"{books.url}/counterparties?limit=500", etag)
        finally:
            await api.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(Answer(401), "does not accept the token. Make a new one there", id="401"),
        pytest.param(Answer(403), "does not accept the token. Make a new one there", id="403"),
        pytest.param(Answer(404), "answered 404 instead of a page: check the connection's base_url", id="404"),
        pytest.param(Answer(302, b"", {"Location": "/login"}), "a redirect, which is not followed", id="redirect"),
        pytest.param(Answer(200, b"<html>Welcome"), "is not JSON", id="not JSON"),
        pytest.param(Answer(200, b"\xff\xfe{}"), "is not JSON", id="not UTF-8"),
        pytest.param(Answer(200, b"[" * 200_000), "is not JSON", id="nested without end"),
        pytest.param(Answer(200, b'["items"]'), "is not a page of documents", id="a list"),
        pytest.param(Answer(200, b"{}"), "is not a page of documents (items: Field required)", id="no items"),
        pytest.param(page(next=7), "is not a page of documents (next:", id="next is a number"),
        pytest.param(page(items=[{}] * 1001), "is not a page of documents (items:", id="too many items"),
        pytest.param(page(next="https://elsewhere.example.com/"), "leads to another server", id="next elsewhere"),
        pytest.param(page(next="//127.0.0.1:9/x"), "leads to another server", id="next at another port"),
        pytest.param(page(next="x" * 2001), "longer than 2000 characters", id="next is endless"),
        pytest.param(Answer(200, b" " * (MAX_PAGE_BYTES + 1)), "larger than 10 MB", id="too large"),
        pytest.param(bomb(50 * 1024 * 1024), "larger than 10 MB", id="decompression bomb"),
        pytest.param(
            Answer(200, b"{}", {"Content-Encoding": "br"}), "which was not asked for", id="another compression"
        ),
        pytest.param(Answer(200, b"{}", {"Content-Encoding": "gzip"}), "is not the gzip that it claims", id="no gzip"),
    ],
)
def test_what_is_no_page_is_called_by_its_name(books: AccountingServer, answer: Answer, says: str) -> None:
    books.answers.append(answer)
    with pytest.raises(AccountingError) as refused:
        fetch(books)
    assert says in str(refused.value)
    assert str(refused.value).endswith(".")
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_told_from_what_does_not(books: AccountingServer, status: int) -> None:
    books.answers.append(Answer(status))
    with pytest.raises(BusyError, match=str(status)):
        fetch(books)


def test_a_body_that_is_cut_off_is_no_page(books: AccountingServer) -> None:
    books.answers.append(Answer(200, b'{"items": [], "next": null}', cut=1))
    with pytest.raises(BusyError, match="broke off"):
        fetch(books)


def test_a_forgotten_listing_is_told_from_other_answers(books: AccountingServer) -> None:
    books.answers.append(Answer(410))
    with pytest.raises(ListingGoneError):
        fetch(books)


def test_a_page_says_what_to_ask_for_next_time(books: AccountingServer) -> None:
    found = fetch(books)
    assert (len(found.documents), found.following, found.as_of) == (1, None, "1")
    assert found.etag is not None
    again = fetch(books, etag=found.etag)
    assert (again.unchanged, again.documents) == (True, ())


def test_a_page_may_be_packed(books: AccountingServer) -> None:
    body = gzip.compress(json.dumps({"items": [counterparty("C-1", version=1)] * MAX_PAGE_ITEMS}).encode())
    books.answers.append(Answer(200, body, {"Content-Encoding": "gzip"}))
    assert len(fetch(books).documents) == MAX_PAGE_ITEMS


def test_nobody_is_asked_in_our_own_network(books: AccountingServer) -> None:
    with pytest.raises(AccountingError, match="an address inside the network"):
        fetch(books, trusted=())
    assert books.asked == []


def test_a_redirect_takes_the_token_nowhere(books: AccountingServer) -> None:
    books.answers.append(Answer(307, b"", {"Location": f"{books.url}/transactions"}))
    with pytest.raises(AccountingError, match="redirect"):
        fetch(books)
    assert books.pages == ["counterparties"]
