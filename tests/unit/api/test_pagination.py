"""Cursors and pages."""

import pytest
from pydantic import BaseModel

from switchboard_api.pagination import MAX_ID, PageRequest, decode_cursor, encode_cursor
from switchboard_api.problems import Problem


class Row(BaseModel):
    id: int


@pytest.mark.parametrize("last_id", [1, 41, MAX_ID])
def test_a_cursor_keeps_its_id(last_id: int) -> None:
    assert decode_cursor(encode_cursor(last_id)) == last_id


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "e30", "W10", "bnVsbA", "eyJpZCI6MH0", "eyJpZCI6MS41fQ", "=" * 9])
def test_what_is_no_cursor_is_a_problem(cursor: str) -> None:
    with pytest.raises(Problem) as caught:
        decode_cursor(cursor)
    assert caught.value.status_code == 422


def test_a_full_page_points_behind_its_last_row() -> None:
    wanted = PageRequest(after_id=None, limit=2)
    page = wanted.page([Row(id=id_) for id_ in (9, 8, 7)])
    assert [row.id for row in page.items] == [9, 8]
    assert page.next_cursor is not None
    assert decode_cursor(page.next_cursor) == 8


def test_the_last_page_points_nowhere() -> None:
    assert PageRequest(after_id=None, limit=2).page([Row(id=9), Row(id=8)]).next_cursor is None


def test_a_listing_may_go_by_another_id() -> None:
    page = PageRequest(after_id=None, limit=1).page([Row(id=9), Row(id=8)], id_of=lambda row: row.id * 10)
    assert page.next_cursor == encode_cursor(90)
