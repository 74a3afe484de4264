"""Transcription in a process of its own, so that a limit on its time is a hard one.

A decoder written in C holds the interpreter's lock while it works: a thread can neither be stopped nor keep the
worker's leases and heartbeats going. A child process can be killed, and takes only itself along when it crashes.
It is kept between recordings because loading a model takes longer than most recordings.
"""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from switchboard_core.logs import get_logger
from switchboard_core.speech.audio import AudioError
from switchboard_core.speech.engines import EngineUnavailableError, Transcript, TranscriptionError, Word

_log = get_logger(__name__)

_CHILD_MODULE = "switchboard_core.speech.transcribe_child"
START_TIMEOUT_S = 120.0
_GENTLE_STOP_S = 2.0
# A process that closed its connection is about to end: its own exit status says more than the one of a kill.
_LAST_WORDS_S = 1.0


class TranscriptionTimeoutError(TranscriptionError):
    """A recording took longer than its limit; the process that worked on it was killed."""

    retryable = True


class TranscriptionCrashedError(TranscriptionError):
    """The transcription process died; the next recording gets a new one."""

    retryable = True


class TranscriptionStoppedError(TranscriptionError):
    """This process is shutting down."""

    retryable = True


class TranscriptionProcess:
    """One long-lived child process with a loaded engine.

    May be used from any thread; recordings are transcribed one after the other. The child ends when its parent does,
    however that ends.

    Args:
        engine: see ``engine_from_settings``.
        start_timeout_s: how long loading the engine may take, in seconds.
    """

    def __init__(self, engine: str, *, start_timeout_s: float = START_TIMEOUT_S) -> None:
        self._engine = engine
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None when there is none now."""
        child = self._child
        return child.process.pid if child else None

    def start(self) -> str:
        """Load the engine now instead of with the first recording; return its name and model.

        Raises:
            EngineUnavailableError: the engine cannot be loaded.
            TranscriptionError: the process did not start.
        """
        with self._lock:
            return self._running_child().engine_name

    def transcribe(self, wav: Path, timeout_s: float) -> Transcript:
        """Transcribe a recording.

        Args:
            wav: the file; it must stay until this returns.
            timeout_s: hard limit in seconds; neither waiting for another recording nor loading the engine counts.

        Raises:
            AudioError: the file is not audio that the engine reads.
            EngineUnavailableError: the engine cannot be loaded.
            TranscriptionTimeoutError: it took too long.
            TranscriptionCrashedError: the process died.
            TranscriptionStoppedError: ``close`` was called.
            TranscriptionError: the engine failed.
        """
        with self._lock:
            child = self._running_child()
            try:
                answer = child.ask(wav, timeout_s)
            except TimeoutError:
                self._discard(child)
                msg = (
                    f"Transcribing {wav.name} took longer than {timeout_s:g} s and was stopped: raise "
                    "TRANSCRIPTION_TIMEOUT_SECONDS if your recordings are that long."
                )
                raise TranscriptionTimeoutError(msg) from None
            except (EOFError, OSError):
                raise self._explain_death(child, f"while transcribing {wav.name}") from None
            except BaseException:
                # A job's timeout, say, which strikes anywhere: the answer is still to come, and the next recording,
                # of another business maybe, must not find it.
                self._discard(child)
                raise
        return _read_answer(answer)

    def close(self) -> None:
        """Stop the child, also in the middle of a recording, and refuse further ones. Takes two seconds at most."""
        self._closing.set()
        child = self._child
        if child:
            child.stop()
        with self._lock:
            if self._child:
                self._discard(self._child)

    def _running_child(self) -> "_Child":
        child = self._child
        if child and child.process.poll() is not None:
            self._discard(child)
            child = None
        if child is None:
            child = self._child = _Child(self._engine)
        # Asked only after the child can be seen by close(), which sets the flag before it looks for a child.
        if self._closing.is_set():
            self._discard(child)
            msg = "This process is shutting down: the recording is transcribed after the restart."
            raise TranscriptionStoppedError(msg)
        if not child.engine_name:
            self._await_ready(child)
        return child

    def _await_ready(self, child: "_Child") -> None:
        try:
            answer = child.receive(self._start_timeout_s)
        except TimeoutError:
            self._discard(child)
            msg = f"The engine {self._engine} did not load within {self._start_timeout_s:g} s."
            raise EngineUnavailableError(msg) from None
        except (EOFError, OSError):
            raise self._explain_death(child, f"while loading the engine {self._engine}") from None
        except BaseException:
            self._discard(child)
            raise
        if "unavailable" in answer:
            self._discard(child)
            raise EngineUnavailableError(answer["unavailable"])
        child.engine_name = answer["ready"]
        _log.info("TRANSCRIPTION_ENGINE_READY", engine=child.engine_name, pid=child.process.pid)

    def _explain_death(self, child: "_Child", when: str) -> TranscriptionError:
        status = self._discard(child, grace_s=_LAST_WORDS_S)
        if self._closing.is_set():
            return TranscriptionStoppedError(f"This process is shutting down; it stopped {when}.")
        cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        _log.warning("TRANSCRIPTION_PROCESS_DIED", engine=self._engine, pid=child.process.pid, cause=cause)
        return TranscriptionCrashedError(
            f"The transcription process died {when} ({cause}): see its last lines in the log; SIGKILL often means "
            "that it ran out of memory."
        )

    def _discard(self, child: "_Child", grace_s: float = 0.0) -> int:
        self._child = None
        return child.end(grace_s)


class _Child:
    """The process and the connection to it."""

    def __init__(self, engine: str) -> None:
        self.engine_name = ""
        self._ids = itertools.count(1)
        self._connection, remote = Pipe(duplex=True)
        with remote:
            self.process = subprocess.Popen(
                [sys.executable, "-m", _CHILD_MODULE, str(remote.fileno()), engine],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the parent's own is its log; errors go to the common stderr
                pass_fds=(remote.fileno(),),
            )

    def ask(self, wav: Path, timeout_s: float) -> dict[str, Any]:
        """Have a recording transcribed and return the answer.

        Raises:
            TranscriptionCrashedError: what came is not the answer to this question.
            Exception: like ``receive``.
        """
        number = next(self._ids)
        send(self._connection, {"id": number, "wav": str(wav), "limit_s": timeout_s})
        answer = self.receive(timeout_s)
        if answer.pop("id", None) != number:
            msg = f"The transcription process answered something else than {wav.name} and was replaced."
            raise TranscriptionCrashedError(msg)
        return answer

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Return the next message; raise TimeoutError when there is none in time, EOFError when the child is gone."""
        deadline = time.monotonic() + timeout_s
        if not self._connection.poll(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        return receive(self._connection)

    def stop(self) -> None:
        """Ask the process to end, then make it."""
        self.process.terminate()
        try:
            self.process.wait(_GENTLE_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def end(self, grace_s: float) -> int:
        """Kill the process unless it ends by itself in time, close the connection, and return the exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        self.process.kill()
        status = self.process.wait()
        self._connection.close()
        return status


def send(connection: "Connection[Any, Any]", message: dict[str, Any]) -> None:
    """Send one message. JSON rather than pickles: neither side can be made to run the other's code."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: "Connection[Any, Any]") -> dict[str, Any]:
    """Return the next message, waiting for it; raises EOFError when the other side is gone."""
    message: dict[str, Any] = json.loads(connection.recv_bytes())
    return message


def _read_answer(answer: dict[str, Any]) -> Transcript:
    if "audio_error" in answer:
        raise AudioError(answer["audio_error"])
    if "error" in answer:
        raise TranscriptionError(answer["error"])
    words = tuple(Word(**word) for word in answer.pop("words"))
    return Transcript(words=words, **answer)
