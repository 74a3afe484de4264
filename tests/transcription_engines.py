"""Engines that misbehave, for the tests of the transcription process; it loads them by ``module:factory``."""

import ctypes
import os
import signal
import threading
from pathlib import Path

from switchboard_core.speech.audio import AudioError
from switchboard_core.speech.engines import EngineUnavailableError, Transcript, TranscriptionError, Word


class ObedientEngine:
    """Does what the file's name says."""

    name = "obedient/1"

    def transcribe(self, wav: Path) -> Transcript:
        """Misbehave, or return the file's name and the process that read it."""
        match wav.stem:
            case "hang":
                _tell_that_work_began(wav)
                threading.Event().wait()
            case "hang-with-lock":
                _tell_that_work_began(wav)
                _sleep_without_giving_way()
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "defect":
                raise ZeroDivisionError
            case "exit":
                os._exit(7)
            case "broken-audio":
                raise AudioError("broken-audio.wav is not a WAV file")
            case "failure":
                raise TranscriptionError("the decoder gave up")
        print("noise on standard output")  # noqa: T201
        return Transcript.from_words(self.name, (Word(wav.stem, 0, 10, 0.5), Word(str(os.getpid()), 10, 20, 1.0)))


def _tell_that_work_began(wav: Path) -> None:
    """Wake the test that reads the pipe beside the recording, if there is one."""
    pipe = wav.with_suffix(".began")
    if pipe.exists():
        pipe.write_text("began")


def _sleep_without_giving_way() -> None:
    """Hold the interpreter's lock for long, as a decoder written in C does."""
    ctypes.PyDLL(None).sleep(60)


def unavailable() -> ObedientEngine:
    """An engine whose model is missing."""
    raise EngineUnavailableError("the model is missing: install it")


def crashing_at_load() -> ObedientEngine:
    """An engine that takes the process along while it loads."""
    os._exit(3)


def never_loading() -> ObedientEngine:
    """An engine that never finishes loading."""
    threading.Event().wait()
    return ObedientEngine()
