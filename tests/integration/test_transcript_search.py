"""Search in very many transcripts: where the newest calls have plenty of matches, those come first."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from migration_support import connected, opened
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres
from switchboard_core import crossing
from switchboard_core.db import set_tenant

NEWEST = 10_000
CALLS = NEWEST + 500


@pytest.fixture(scope="module")
def many(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    """10,500 calls: an invoice in each third, twice in the very first, and tea in the first two only."""
    urls = postgres.create_database("transcripts", template=migrated_template)
    with connected(urls.owner) as connection:
        connection.execute(text("INSERT INTO businesses (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'A'), (2, 'B')"))
        connection.execute(
            text(
                "INSERT INTO recordings (id, business_id, recording_sid, call_sid, media_url, transcript) "
                "SELECT n, 1, 'RE' || n, 'CA' || n, '', CASE n WHEN 1 THEN 'invoice tea invoice' WHEN 2 THEN 'tea' "
                "ELSE CASE n % 3 WHEN 1 THEN 'the invoice' ELSE 'hello' END END FROM generate_series(1, :calls) n"
            ),
            {"calls": CALLS},
        )
    yield urls
    postgres.drop_database("transcripts")


def found(urls: DatabaseUrls, query: str, limit: int, offset: int = 0, business_id: int = 1) -> list[int]:
    with opened(urls.app) as database, database.crossing() as session:
        set_tenant(session, business_id)
        return [ref.id for ref in crossing.search_transcripts(session, query, limit, offset)]


INVOICES = [number for number in range(CALLS, 0, -1) if number % 3 == 1]


def test_of_very_many_matches_those_in_the_newest_calls_come_first(many: DatabaseUrls) -> None:
    assert found(many, "invoice", 5) == INVOICES[:5]


def test_the_pages_join_up_where_the_older_calls_begin(many: DatabaseUrls) -> None:
    pages = [number for offset in range(0, 3600, 300) for number in found(many, "invoice", 300, offset)]
    newer = [number for number in INVOICES if number > CALLS - NEWEST]
    assert pages[: len(newer)] == newer
    assert pages[len(newer)] == 1, "of the older ones, the one that has it twice is the best"
    assert sorted(pages, reverse=True) == INVOICES


def test_a_rare_word_is_found_in_calls_of_any_age(many: DatabaseUrls) -> None:
    assert found(many, "tea", 5) == [2, 1]
    assert found(many, '"invoice tea"', 5) == [1]


def test_the_calls_of_others_are_neither_searched_nor_counted(many: DatabaseUrls) -> None:
    assert found(many, "invoice", 5, business_id=2) == []
