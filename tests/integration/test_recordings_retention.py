"""Recordings past their retention: all of them go, whatever one of them, or one business, is in the way of."""

import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from integration.calls_support import CallsBench
from switchboard_recorder import retention
from switchboard_recorder.retention import Retention, delete_expired
from switchboard_recorder.store import StoreUnavailableError
from switchboard_recorder.store_file import FileStore
from waiting import await_true

BATCH = 2


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", BATCH)


class StubbornStore(FileStore):
    """A folder that keeps some of its objects, and remembers what it was told to delete."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.told: list[str] = []
        self.keeps: set[str] = set()

    def delete(self, key: str) -> None:
        self.told.append(key)
        if key in self.keeps:
            raise StoreUnavailableError(f"Cannot delete {key}: check that the folder is mounted and writable.")
        super().delete(key)


@pytest.fixture
def store(tmp_path: Path) -> StubbornStore:
    return StubbornStore(tmp_path)


def expired(bench: CallsBench, store: StubbornStore, number: int, business_id: int | None = None) -> list[str]:
    """Recordings whose time is up, oldest first; their keys."""
    business_id = business_id or bench.business_id
    keys = [f"{business_id}/RE{at}.wav" for at in range(number)]
    for at, key in enumerate(keys):
        bench.execute(
            "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url, status, object_key, transcript, "
            "finished_at) VALUES (%s, %s, 'CA1', 'http://127.0.0.1:1/none', 'completed', %s, 'call me', "
            "clock_timestamp() - interval '366 days')",
            business_id,
            f"RE{business_id}-{at}",
            key,
        )
        target = store._path(key)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"RIFF")
    return keys


def left(bench: CallsBench) -> list[Any]:
    """Keys of the recordings that have their audio."""
    return [
        row["object_key"]
        for row in bench.rows("SELECT object_key FROM recordings WHERE object_key IS NOT NULL ORDER BY id")
    ]


def test_all_that_is_expired_goes_in_one_pass_however_much_it_is(bench: CallsBench, store: StubbornStore) -> None:
    keys = expired(bench, store, 2 * BATCH + 1)
    assert delete_expired(bench.runtime, store) == len(keys)
    assert left(bench) == []
    assert not any(store.exists(key) for key in keys)
    rows = bench.rows("SELECT DISTINCT transcript, reason FROM recordings")
    assert rows == [{"transcript": None, "reason": "Deleted after 365 days."}]


def test_what_is_not_expired_stays(bench: CallsBench, store: StubbornStore) -> None:
    keys = expired(bench, store, 1)
    bench.execute("UPDATE recordings SET finished_at = clock_timestamp() - interval '364 days'")
    assert delete_expired(bench.runtime, store) == 0
    assert left(bench) == keys


def test_objects_that_cannot_be_deleted_keep_nothing_else_from_going(bench: CallsBench, store: StubbornStore) -> None:
    """More than a batch of them, and the oldest: they came first in every pass and were all that it got to."""
    keys = expired(bench, store, 2 * BATCH + 2)
    other = expired(bench, store, BATCH, bench.another_business())
    store.keeps = set(keys[: BATCH + 1])
    with capture_logs() as lines:
        assert delete_expired(bench.runtime, store) == BATCH + 1 + len(other)
    assert left(bench) == keys[: BATCH + 1]
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert warning["business_id"] == bench.business_id
    assert "check that the folder is mounted and writable" in warning["reason"]
    store.keeps = set()
    assert delete_expired(bench.runtime, store) == BATCH + 1
    assert left(bench) == []


def test_businesses_take_turns(bench: CallsBench, store: StubbornStore) -> None:
    keys = expired(bench, store, 3 * BATCH)
    others = expired(bench, store, 3 * BATCH, bench.another_business())
    delete_expired(bench.runtime, store)
    first_turns = store.told[: 2 * BATCH]
    assert sorted(first_turns) == sorted(keys[:BATCH] + others[:BATCH])


def test_a_pass_ends_when_it_is_told_to(bench: CallsBench, store: StubbornStore) -> None:
    keys = expired(bench, store, 3 * BATCH)
    assert delete_expired(bench.runtime, store, lambda: len(store.told) < BATCH + 1) == BATCH + 1
    assert left(bench) == keys[BATCH + 1 :]


def test_the_first_pass_comes_soon_after_the_start(bench: CallsBench, store: StubbornStore) -> None:
    expired(bench, store, BATCH)
    assert retention.FIRST_AFTER_S <= 60
    cleaner = Retention(bench.runtime, store, first_after_s=0.0)
    cleaner.start()
    try:
        await_true(lambda: left(bench) == [], "the first pass")
    finally:
        cleaner.stop()


def test_an_error_that_nobody_foresaw_ends_the_pass_and_not_the_thread(
    bench: CallsBench, store: StubbornStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired(bench, store, 1)
    monkeypatch.setattr(retention, "EVERY_S", 1.0)
    failed = threading.Event()

    def once(key: str) -> None:
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError
        FileStore.delete(store, key)

    monkeypatch.setattr(store, "delete", once)
    cleaner = Retention(bench.runtime, store, first_after_s=0.0)
    cleaner.start()
    try:
        await_true(lambda: left(bench) == [], "a later pass")
    finally:
        cleaner.stop()
