"""The parts of a slice that need no database."""

from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from switchboard_core.jobs.slices import BATCH, SliceContext, sentence_of
from switchboard_core.settings import Settings


class Savepoints:
    """Counts savepoints, as a session would make them."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {}
        self.opened = self.rolled_back = 0

    @contextmanager
    def begin_nested(self) -> Any:
        self.opened += 1
        try:
            yield
        except BaseException:
            self.rolled_back += 1
            raise


def context(**values: Any) -> tuple[SliceContext, Savepoints]:
    savepoints = Savepoints()
    settings = Settings(_env_file=None, database_url="postgresql://nobody@127.0.0.1:9/none")
    return SliceContext(cast("Session", savepoints), settings, job_id=1, business_id=2, **values), savepoints


@given(st.lists(st.booleans(), max_size=3 * BATCH))
def test_exactly_the_bad_items_are_errors_and_all_others_are_done(bad: list[bool]) -> None:
    ctx, _ = context()
    applied: list[int] = []

    def apply(items: Any) -> None:
        if any(bad[item] for item in items):
            raise ValueError("bad")
        applied.extend(items)

    ctx.each(range(len(bad)), apply)
    assert applied == [item for item in range(len(bad)) if not bad[item]]
    assert [int(error.item) for error in ctx.errors] == [item for item in range(len(bad)) if bad[item]]
    assert ctx.done == len(applied)


def test_good_items_share_a_savepoint_by_the_hundred() -> None:
    ctx, savepoints = context()
    ctx.each(range(250), lambda _: None)
    assert (savepoints.opened, savepoints.rolled_back, ctx.done) == (3, 0, 250)


def test_one_bad_item_of_a_hundred_costs_a_handful_of_savepoints() -> None:
    ctx, savepoints = context()

    def apply(items: Any) -> None:
        if 63 in items:
            raise ValueError("bad")

    ctx.each(range(100), apply)
    assert savepoints.opened <= 15
    assert (ctx.done, len(ctx.errors)) == (99, 1)


def test_a_database_that_is_away_is_no_item_s_fault() -> None:
    ctx, _ = context()

    def apply(_items: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    with pytest.raises(OperationalError):
        ctx.each([1, 2], apply)
    assert (ctx.done, ctx.errors) == (0, [])


def test_a_condemned_item_is_recorded_and_not_done() -> None:
    ctx, savepoints = context(condemned="Commit failed at 7: UniqueViolation: twice")
    ctx.each([8], lambda _: pytest.fail("it must not be tried again"), name=lambda item: f"lead {item}")
    assert [(error.item, error.message) for error in ctx.errors] == [
        ("lead 8", "Commit failed at 7: UniqueViolation: twice")
    ]
    assert (ctx.done, savepoints.opened) == (0, 0)


def test_what_a_rolled_back_batch_registered_for_after_the_commit_is_forgotten() -> None:
    ctx, savepoints = context()

    def apply(items: Any) -> None:
        savepoints.info.setdefault("after_commit", []).append(list(items))
        if 2 in items:
            raise ValueError("bad")

    ctx.each([0, 1, 2, 3], apply)
    assert savepoints.info["after_commit"] == [[0, 1], [3]]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(""), "ValueError: no message"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 300}"),
        (OperationalError("SELECT 1", {"phone": "+14155550123"}, KeyError("gone")), "KeyError: 'gone'"),
    ],
)
def test_an_error_is_one_short_line_without_the_statement(error: Exception, sentence: str) -> None:
    assert sentence_of(error) == sentence
