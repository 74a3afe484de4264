"""The transcription process: a hard limit, crashes, shutdown, and no orphans."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from processes import wait_until_gone
from switchboard_core.speech.audio import AudioError
from switchboard_core.speech.engines import EngineUnavailableError, TranscriptionError, Word
from switchboard_core.speech.transcribe import (
    TranscriptionCrashedError,
    TranscriptionProcess,
    TranscriptionStoppedError,
    TranscriptionTimeoutError,
    send,
)

LIMIT_S = 20.0
TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _engines_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


@pytest.fixture
def process() -> Iterator[TranscriptionProcess]:
    with TranscriptionProcess("transcription_engines:ObedientEngine") as running:
        yield running


def test_a_transcript_comes_back_as_the_engine_made_it(process: TranscriptionProcess) -> None:
    transcript = process.transcribe(Path("hello.wav"), LIMIT_S)
    assert transcript.words == (Word("hello", 0, 10, 0.5), Word(str(process.pid), 10, 20, 1.0))
    assert (transcript.text, transcript.engine, transcript.confidence) == (f"hello {process.pid}", "obedient/1", 0.75)


def test_the_engine_is_loaded_once_for_many_recordings(process: TranscriptionProcess) -> None:
    pids = {process.transcribe(Path("hello.wav"), LIMIT_S).words[1].text for _ in range(5)}
    assert pids == {str(process.pid)}


def test_the_engine_can_be_loaded_before_the_first_recording(process: TranscriptionProcess) -> None:
    assert process.start() == "obedient/1"
    pid = process.pid
    process.transcribe(Path("hello.wav"), LIMIT_S)
    assert process.pid == pid


@pytest.mark.parametrize("name", ["hang.wav", "hang-with-lock.wav"])
def test_an_engine_that_hangs_is_killed_at_the_limit(process: TranscriptionProcess, name: str) -> None:
    process.start()
    pid = process.pid
    assert pid
    begin = time.monotonic()
    with pytest.raises(TranscriptionTimeoutError, match=r"longer than 0\.3 s .* TRANSCRIPTION_TIMEOUT_SECONDS"):
        process.transcribe(Path(name), 0.3)
    assert time.monotonic() - begin < 5
    wait_until_gone([pid])


def test_after_a_kill_the_next_recording_gets_a_new_process(process: TranscriptionProcess) -> None:
    with pytest.raises(TranscriptionTimeoutError):
        process.transcribe(Path("hang.wav"), 0.1)
    assert process.transcribe(Path("hello.wav"), LIMIT_S).words[0].text == "hello"


@pytest.mark.parametrize(
    ("name", "cause"), [("crash.wav", "SIGSEGV"), ("exit.wav", "exit status 7"), ("defect.wav", "exit status 1")]
)
def test_a_crash_is_told_with_its_cause_and_the_next_recording_succeeds(
    process: TranscriptionProcess, name: str, cause: str
) -> None:
    with pytest.raises(TranscriptionCrashedError, match=f"died while transcribing {name} .*{cause}"):
        process.transcribe(Path(name), LIMIT_S)
    assert process.transcribe(Path("hello.wav"), LIMIT_S).words[0].text == "hello"


def test_a_process_that_was_killed_between_recordings_is_replaced(process: TranscriptionProcess) -> None:
    process.start()
    pid = process.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process.transcribe(Path("hello.wav"), LIMIT_S).words[1].text != str(pid)


def test_a_job_whose_time_is_up_leaves_no_answer_for_the_next_recording(process: TranscriptionProcess) -> None:
    """RQ's timeout strikes anywhere. What was being transcribed would have come out as the next one's transcript."""
    process.start()
    pid = process.pid
    assert pid
    with pytest.raises(JobTimeoutException), job_of_a_second():
        process.transcribe(Path("hang.wav"), LIMIT_S)
    assert process.pid is None
    wait_until_gone([pid])
    assert process.transcribe(Path("hello.wav"), LIMIT_S).words[0].text == "hello"


def test_a_job_whose_time_is_up_while_the_engine_loads_leaves_no_process() -> None:
    with TranscriptionProcess("transcription_engines:never_loading") as process:
        with pytest.raises(JobTimeoutException), job_of_a_second():
            process.start()
        assert process.pid is None


def test_the_answer_to_another_question_is_nobody_s_transcript(process: TranscriptionProcess) -> None:
    process.start()
    child: Any = process._child
    send(child._connection, {"id": 0, "wav": "of-another-business.wav", "limit_s": LIMIT_S})
    with pytest.raises(TranscriptionCrashedError, match=r"something else than hello\.wav and was replaced"):
        process.transcribe(Path("hello.wav"), LIMIT_S)
    assert process.transcribe(Path("hello.wav"), LIMIT_S).words[0].text == "hello"


def test_a_bad_file_is_told_as_such_and_costs_no_process(process: TranscriptionProcess) -> None:
    process.start()
    pid = process.pid
    with pytest.raises(AudioError, match="is not a WAV file"):
        process.transcribe(Path("broken-audio.wav"), LIMIT_S)
    with pytest.raises(TranscriptionError, match="the decoder gave up"):
        process.transcribe(Path("failure.wav"), LIMIT_S)
    assert process.pid == pid


def test_threads_share_one_process_and_get_their_own_transcripts(process: TranscriptionProcess) -> None:
    names = [f"call-{number}" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        transcripts = list(pool.map(lambda name: process.transcribe(Path(f"{name}.wav"), LIMIT_S), names))
    assert [transcript.words[0].text for transcript in transcripts] == names
    assert {transcript.words[1].text for transcript in transcripts} == {str(process.pid)}


def test_the_process_outlives_the_thread_that_started_it(process: TranscriptionProcess) -> None:
    starter = threading.Thread(target=process.start)
    starter.start()
    starter.join()
    pid = process.pid
    process.transcribe(Path("hello.wav"), LIMIT_S)
    assert process.pid == pid


@pytest.mark.parametrize("name", ["hang.wav", "hang-with-lock.wav"])
def test_closing_stops_a_recording_that_is_being_transcribed(
    process: TranscriptionProcess, tmp_path: Path, name: str
) -> None:
    process.start()
    pid = process.pid
    assert pid
    wav, began = recording_with_pipe(tmp_path, name)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(process.transcribe, wav, LIMIT_S)
        began.read_text()
        begin = time.monotonic()
        process.close()
        with pytest.raises(TranscriptionStoppedError, match="shutting down"):
            pending.result(LIMIT_S)
    assert time.monotonic() - begin < 5
    wait_until_gone([pid])


def test_nothing_is_transcribed_after_closing(process: TranscriptionProcess) -> None:
    process.close()
    with pytest.raises(TranscriptionStoppedError):
        process.transcribe(Path("hello.wav"), LIMIT_S)
    assert process.pid is None


def test_closing_twice_is_fine(process: TranscriptionProcess) -> None:
    process.start()
    process.close()
    process.close()


@pytest.mark.parametrize(
    ("engine", "error", "sentence"),
    [
        ("transcription_engines:unavailable", EngineUnavailableError, "the model is missing: install it"),
        ("transcription_engines:nothing", EngineUnavailableError, "use pocketsphinx, whisper"),
        ("nonsense", EngineUnavailableError, "TRANSCRIPTION_ENGINE is 'nonsense'"),
        ("transcription_engines:crashing_at_load", TranscriptionCrashedError, "died while loading .*exit status 3"),
    ],
)
def test_an_engine_that_cannot_be_loaded_says_why(engine: str, error: type[Exception], sentence: str) -> None:
    with TranscriptionProcess(engine) as process, pytest.raises(error, match=sentence):
        process.start()


def test_an_engine_that_never_finishes_loading_is_given_up() -> None:
    with (
        TranscriptionProcess("transcription_engines:never_loading", start_timeout_s=1.0) as process,
        pytest.raises(EngineUnavailableError, match="did not load within 1 s"),
    ):
        process.start()


PARENT = """
import pathlib, sys
from switchboard_core.speech.transcribe import TranscriptionProcess
process = TranscriptionProcess("transcription_engines:ObedientEngine")
process.start()
pathlib.Path(sys.argv[1]).write_text(str(process.pid))
if sys.argv[2:]:
    process.transcribe(pathlib.Path(sys.argv[2]), 1.0)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", [None, "hang.wav", "hang-with-lock.wav"], ids=["idle", "busy", "busy in C"])
def test_the_process_does_not_survive_a_killed_parent(tmp_path: Path, name: str | None) -> None:
    pid_pipe = tmp_path / "pid"
    os.mkfifo(pid_pipe)
    wav, began = recording_with_pipe(tmp_path, name or "none.wav")
    arguments = [str(pid_pipe), *([str(wav)] if name else [])]
    with subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdin=subprocess.PIPE) as parent:
        child = int(pid_pipe.read_text())
        if name:
            began.read_text()
        parent.kill()
    wait_until_gone([child])


def job_of_a_second() -> UnixSignalDeathPenalty:
    """What the worker puts around a job: its time is up after a second."""
    return UnixSignalDeathPenalty(1, JobTimeoutException)  # type: ignore[no-untyped-call]


def recording_with_pipe(folder: Path, name: str) -> tuple[Path, Path]:
    """Name a recording, and a pipe from which can be read once the engine works on it."""
    began = (folder / name).with_suffix(".began")
    os.mkfifo(began)
    return folder / name, began
