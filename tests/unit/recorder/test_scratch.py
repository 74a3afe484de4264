"""Folders for temporary files: full disks, and what killed recorders leave behind."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from switchboard_recorder.download_errors import DiskFullError
from switchboard_recorder.scratch import PREFIX, clear_abandoned, scratch_folder

HOLDER = """
import sys
from switchboard_recorder.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "half.wav.part").write_bytes(b"RIFF")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def age(folder: Path, seconds: float = 60.0) -> None:
    os.utime(folder, times=(time.time() - seconds,) * 2)


def test_a_folder_is_gone_when_its_block_ends(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "recording.wav").touch()
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_another_recorder_s_folder_is_removed_once_that_was_killed(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        folder = Path(other.stdout.readline().decode().strip())
        age(folder)
        clear_abandoned()
        assert (folder / "half.wav.part").exists(), "its recorder lives"
        other.send_signal(signal.SIGKILL)
        other.wait()
    clear_abandoned()
    assert list(temporary.iterdir()) == []


def test_a_folder_that_was_only_just_made_stays(temporary: Path) -> None:
    """Its recorder may be about to lock it."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    clear_abandoned()
    assert list(temporary.iterdir()) == [made]


def test_what_others_keep_there_stays(temporary: Path) -> None:
    (temporary / "recording-of-a-meeting").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "elsewhere")
    for path in temporary.iterdir():
        age(path)
    clear_abandoned()
    assert len(list(temporary.iterdir())) == 3


def test_a_full_disk_is_told_as_such_when_the_folder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "mkdir", refusal(errno.ENOSPC))
    with (
        pytest.raises(DiskFullError, match=r"No space left on device.*free some room, or point TMPDIR"),
        scratch_folder(),
    ):
        raise AssertionError("there is no folder")


def test_no_usable_temporary_folder_is_no_fault_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    clear_abandoned()
    with pytest.raises(DiskFullError, match="No usable temporary directory"), scratch_folder():
        raise AssertionError("there is no folder")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_meanwhile_is_told_as_such(number: int) -> None:
    with pytest.raises(DiskFullError, match="free some room"), scratch_folder():
        raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder():
        raise ZeroDivisionError
    with pytest.raises(PermissionError), scratch_folder():
        raise PermissionError


def refusal(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse
