"""How far a collection was read: addresses, what is asked for next time, and listings without an end."""

import pytest

from switchboard_core.ledger import cursors
from switchboard_core.ledger.cursors import PATIENCE, CollectionCursor, NextPageError, digest_of, following_page
from switchboard_core.ledger.documents import understand
from switchboard_core.ledger.states import Collection

BASE = "https://books.example.com/api/v1"
PAGE = f"{BASE}/transactions?limit=500"
TRANSACTIONS = Collection.TRANSACTIONS


def test_the_first_listing_asks_for_everything() -> None:
    assert CollectionCursor().address(BASE, TRANSACTIONS) == PAGE


def test_a_finished_listing_is_followed_by_what_is_new_since() -> None:
    cursor = CollectionCursor().begun(PAGE, "2026-01-26T11:05:20Z", '"v1"').finished()
    assert cursor.address(BASE, TRANSACTIONS) == f"{PAGE}&updated_since=2026-01-26T11%3A05%3A20Z"


def test_an_etag_is_sent_only_with_the_address_that_it_belongs_to() -> None:
    unversioned = CollectionCursor().begun(PAGE, None, '"v1"').finished()
    assert unversioned.etag_for(unversioned.address(BASE, TRANSACTIONS)) == '"v1"'
    versioned = CollectionCursor().begun(PAGE, "7", '"v1"').finished()
    assert versioned.etag_for(versioned.address(BASE, TRANSACTIONS)) is None


def test_a_listing_without_as_of_leaves_the_one_before_in_place() -> None:
    assert CollectionCursor(since="7").begun(PAGE, None, None).finished().since == "7"


def test_a_listing_that_was_broken_off_goes_on_at_its_page() -> None:
    cursor = CollectionCursor(since="7", etag='"v"', etag_url="x").begun("a", "8", None).beyond("a", "b")
    assert cursor.address(BASE, TRANSACTIONS) == "b"
    assert cursor.etag_for("b") is None
    assert cursor.anew().address(BASE, TRANSACTIONS) == f"{PAGE}&updated_since=7"
    assert cursor.finished().since == "8"


def listed(cursor: CollectionCursor, as_of: str | None, etag: str, *, strangers: int) -> CollectionCursor:
    return cursor.begun(cursor.address(BASE, TRANSACTIONS), as_of, etag).meeting(strangers).finished()


def test_a_listing_with_strangers_is_begun_where_it_was_begun_until_they_have_come() -> None:
    cursor = listed(CollectionCursor(since="7"), "8", '"v8"', strangers=2)
    assert (cursor.since, cursor.etag) == ("7", None)
    assert cursor.begun(PAGE, "9", None).beyond("a", "b").anew() == cursor, "also where the listing is forgotten"
    cursor = listed(cursor, "9", '"v9"', strangers=0)
    assert cursor == CollectionCursor(since="9", etag='"v9"', etag_url=f"{PAGE}&updated_since=7")


@pytest.mark.parametrize("every", [1, 3, 100])
def test_each_stranger_is_listed_so_many_times_more_and_nothing_older_with_it(every: int) -> None:
    """One comes with every so many listings, and none of their counterparties ever does."""
    cursor, times = CollectionCursor(since="0"), dict.fromkeys(range(1, 40, every), 0)
    for now in range(1, 60):
        begins_at = int(cursor.since or 0)
        assert now - begins_at <= PATIENCE + 1
        inside = [at for at in times if begins_at < at <= now]
        for at in inside:
            times[at] += 1
        cursor = listed(cursor, str(now), f'"v{now}"', strangers=len(inside))
    assert set(times.values()) == {1 + PATIENCE}
    assert cursor.later == ()


def test_a_stranger_in_a_listing_without_as_of_is_listed_so_many_times_more() -> None:
    cursor = CollectionCursor()
    for _ in range(1 + PATIENCE):
        assert cursor.etag_for(PAGE) is None
        cursor = listed(cursor, None, '"v1"', strangers=1)
    assert cursor.etag_for(PAGE) == '"v1"', "nothing has changed since it was there first"
    newer = listed(cursor, None, '"v2"', strangers=2)
    assert newer.etag_for(PAGE) == '"v1"', "the second one is not in what this stands for"


def test_what_is_kept_of_half_a_page_is_dropped_behind_it() -> None:
    cursor = CollectionCursor().begun("a", None, None).within("a", 100, "digest").beyond("a", "b")
    assert (cursor.offset, cursor.written) == (0, None)


@pytest.mark.parametrize(("before", "cycle"), [(0, 1), (0, 2), (3, 1), (5, 7), (40, 33)])
def test_a_listing_that_goes_in_circles_is_noticed_soon(before: int, cycle: int) -> None:
    def address(step: int) -> str:
        return f"p{step if step < before else before + (step - before) % cycle}"

    def read_on() -> None:
        cursor = CollectionCursor().begun(address(0), None, None)
        for step in range(4 * (before + cycle) + 4):
            cursor = cursor.beyond(address(step), address(step + 1))

    with pytest.raises(NextPageError, match="leads back"):
        read_on()


def test_a_long_listing_that_goes_straight_on_is_fine() -> None:
    cursor = CollectionCursor().begun("p0", None, None)
    for step in range(1000):
        cursor = cursor.beyond(f"p{step}", f"p{step + 1}")
    assert cursor.pages == 1000


def test_a_listing_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "MAX_PAGES", 3)
    cursor = CollectionCursor().begun("a", None, None).beyond("a", "b").beyond("b", "c")
    with pytest.raises(NextPageError, match="never ends"):
        cursor.beyond("c", "d")


@pytest.mark.parametrize(
    ("following", "address"),
    [
        ("transactions?cursor=x", f"{BASE}/transactions?cursor=x"),
        ("/api/v1/transactions?cursor=x", f"{BASE}/transactions?cursor=x"),
        ("?cursor=x", f"{BASE}/transactions?cursor=x"),
        (f"{BASE}/transactions?cursor=x", f"{BASE}/transactions?cursor=x"),
        ("https://BOOKS.example.com/other", "https://BOOKS.example.com/other"),
    ],
)
def test_the_next_page_is_on_the_same_server(following: str, address: str) -> None:
    assert following_page(PAGE, following) == address


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example.com/api/v1",
        "//evil.example.com/",
        "http://books.example.com/api/v1",
        "https://books.example.com:444/api/v1",
        "https://user:pw@books.example.com/",
        "https://books.example.com.evil.example.com/",
        "https://books.example.com:port/",
        "javascript:alert(1)",
        "x" * 3000,
    ],
)
def test_a_next_page_elsewhere_is_refused(following: str) -> None:
    with pytest.raises(NextPageError):
        following_page(PAGE, following)


def test_a_digest_tells_versions_and_order_apart() -> None:
    one, two = (understand(Collection.COUNTERPARTIES, {"id": i, "version": 1, "name": "x"}, "") for i in "ab")
    newer = understand(Collection.COUNTERPARTIES, {"id": "a", "version": 2, "name": "x"}, "")
    assert len({digest_of(part) for part in ([one, two], [two, one], [newer, two], [one])}) == 4
