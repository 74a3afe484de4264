"""The child side of ``TranscriptionProcess``: loads an engine, then answers one recording after the other."""

import dataclasses
import faulthandler
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from switchboard_core.speech.audio import AudioError
from switchboard_core.speech.engines import (
    EngineUnavailableError,
    TranscriptionEngine,
    TranscriptionError,
    engine_from_settings,
)
from switchboard_core.speech.transcribe import receive, send

# The parent kills at the limit; this only matters when there is no parent any more.
_ORPHAN_GRACE_S = 2.0


def main() -> None:
    """Serve until the parent closes the connection or dies; arguments: the connection's number and the engine."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes us
    questions: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, questions), daemon=True).start()
    try:
        engine = engine_from_settings(sys.argv[2])
    except EngineUnavailableError as error:
        send(connection, {"unavailable": str(error)})
        return
    send(connection, {"ready": engine.name})
    while True:
        question = questions.get()
        # An engine that holds the interpreter's lock keeps _listen from noticing that the parent died. This timer
        # runs outside of the interpreter and ends the process all the same.
        faulthandler.dump_traceback_later(question["limit_s"] + _ORPHAN_GRACE_S, exit=True)
        answer = _answer(engine, Path(question["wav"]))
        faulthandler.cancel_dump_traceback_later()
        send(connection, {"id": question["id"], **answer})


def _listen(connection: "Connection[Any, Any]", questions: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass questions on, and end the process at once when there is nobody left to answer."""
    while True:
        try:
            questions.put(receive(connection))
        except (EOFError, OSError):
            os._exit(0)


def _answer(engine: TranscriptionEngine, wav: Path) -> dict[str, Any]:
    # Any other exception is a defect of the engine: it ends the process, with its traceback on stderr.
    try:
        return dataclasses.asdict(engine.transcribe(wav))
    except AudioError as error:
        return {"audio_error": str(error)}
    except TranscriptionError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
