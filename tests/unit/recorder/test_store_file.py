"""Recordings in a folder: whole or not at all, named safely, and errors that say what to do."""

import errno
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from switchboard_recorder.store import (
    InvalidKeyError,
    ObjectMissingError,
    RecordingStore,
    StoreFullError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreUnavailableError,
    open_store,
    validate_key,
)
from switchboard_recorder.store_file import FileStore

KEY = "42/2026/RE0123.wav"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def store(root: Path) -> RecordingStore:
    return open_store(root.as_uri(), min_free_bytes=0)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "download.wav"
    path.write_bytes(b"RIFF" + bytes(range(256)) * 9000)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def put(store: RecordingStore, source: Path, key: str = KEY) -> str:
    return store.put(key, source, "audio/x-wav", sha256(source)).url


def test_a_stored_recording_reads_back_as_it_was(store: RecordingStore, recording: Path) -> None:
    put(store, recording)
    with store.open(KEY) as stream:
        assert stream.read() == recording.read_bytes()


def test_storing_tells_url_size_and_checksum(store: RecordingStore, root: Path, recording: Path) -> None:
    stored = store.put(KEY, recording, "audio/x-wav", sha256(recording))
    assert (stored.url, stored.size, stored.sha256) == (
        (root / KEY).as_uri(),
        recording.stat().st_size,
        sha256(recording),
    )


def test_storing_the_same_recording_again_leaves_the_file_alone(
    store: RecordingStore, root: Path, recording: Path
) -> None:
    put(store, recording)
    before = (root / KEY).stat()
    put(store, recording)
    after = (root / KEY).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_content_under_the_same_key_replaces_the_object(
    store: RecordingStore, root: Path, recording: Path
) -> None:
    put(store, recording)
    recording.write_bytes(b"RIFF of the same call, complete this time")
    put(store, recording)
    assert (root / KEY).read_bytes() == recording.read_bytes()


def test_a_file_that_changed_since_its_download_is_not_stored(
    store: RecordingStore, root: Path, recording: Path
) -> None:
    with pytest.raises(StoreIntegrityError, match="download it again"):
        store.put(KEY, recording, "audio/x-wav", "0" * 64)
    assert files_below(root) == []


def test_nothing_half_written_is_left_when_the_disk_fills_up(
    store: RecordingStore, root: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError, match="is full; free some room"):
        put(store, recording)
    assert files_below(root) == []


def test_the_object_appears_only_after_it_was_flushed_to_the_disk(
    store: RecordingStore, root: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visible_at_flush: list[bool] = []
    flush = os.fsync

    def watch(descriptor: int) -> None:
        visible_at_flush.append((root / KEY).exists())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    put(store, recording)
    assert visible_at_flush[0] is False
    assert set(visible_at_flush[1:]) == {True}  # the folders, after the rename


def test_a_deleted_recording_is_gone(store: RecordingStore, recording: Path) -> None:
    put(store, recording)
    store.delete(KEY)
    assert not store.exists(KEY)


def test_deleting_what_is_not_there_is_fine(store: RecordingStore) -> None:
    store.delete(KEY)


def test_opening_what_is_not_there_says_so(store: RecordingStore) -> None:
    with pytest.raises(ObjectMissingError, match=f"no recording {KEY}"):
        store.open(KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../secrets",
        "42/../../secrets",
        "42/./RE1.wav",
        "42//RE1.wav",
        "42/RE1.wav/",
        ".staging/RE1.part",
        "42/RE1\n.wav",
        "42/RE1.wav\n",
        "42\\RE1.wav",
        "42/RE%2e.wav",
        "42/RE\0.wav",
        "x" * 513,
    ],
)
def test_a_key_that_is_not_a_plain_name_is_refused(key: str) -> None:
    with pytest.raises(InvalidKeyError, match="is not acceptable"):
        validate_key(key)


def test_a_symbolic_link_does_not_lead_out_of_the_folder(
    store: RecordingStore, root: Path, tmp_path: Path, recording: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "42").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreMisconfiguredError, match="symbolic link"):
        put(store, recording)
    assert files_below(tmp_path / "elsewhere") == []


def test_a_writable_folder_with_room_is_healthy_and_stays_empty(store: RecordingStore, root: Path) -> None:
    store.healthy()
    assert files_below(root) == []


def test_a_disk_with_too_little_room_is_reported_before_it_is_full(root: Path) -> None:
    with pytest.raises(StoreFullError, match=r"MiB left, less than the \d+ MiB kept free"):
        FileStore(root, min_free_bytes=2**62).healthy()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailableError, match="check that the folder is mounted and writable"):
        FileStore(tmp_path / "file" / "recordings").healthy()


def test_what_a_killed_process_left_behind_is_cleared_and_what_is_being_written_is_not(
    store: RecordingStore, root: Path
) -> None:
    store.healthy()
    abandoned, fresh = root / ".staging" / "a.part", root / ".staging" / "b.part"
    abandoned.write_bytes(b"x")
    fresh.write_bytes(b"x")
    two_hours_ago = time.time() - 7200
    os.utime(abandoned, (two_hours_ago, two_hours_ago))
    store.healthy()
    assert files_below(root) == [".staging/b.part"]


@pytest.mark.parametrize(
    "url", ["", "recordings", "file://host/recordings", "file:recordings", "s3://", "ftp://host/recordings"]
)
def test_a_url_that_names_no_store_says_which_do(url: str) -> None:
    with pytest.raises(StoreMisconfiguredError, match="use file:///absolute/folder or s3://bucket/prefix"):
        open_store(url)


def test_a_folder_with_spaces_is_found(tmp_path: Path, recording: Path) -> None:
    store: Any = open_store((tmp_path / "our recordings").as_uri())
    put(store, recording)
    assert (tmp_path / "our recordings" / KEY).is_file()
