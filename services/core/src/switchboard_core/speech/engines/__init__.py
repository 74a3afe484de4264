"""Transcription engines: what each must offer, and how one is chosen by name."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class TranscriptionError(Exception):
    """A recording could not be transcribed; the message says why.

    Attributes:
        retryable: whether the same recording can succeed at a later try.
    """

    retryable = False


class EngineUnavailableError(TranscriptionError):
    """The engine cannot be loaded; the message says what to install or to set."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a transcript.

    Attributes:
        text: the word, as the engine spells it.
        start_ms: where it begins in the recording.
        end_ms: where it ends.
        confidence: between 0 and 1.
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording.

    Attributes:
        text: all of it; empty where nothing was understood.
        engine: name and model that produced it.
        confidence: mean of the words' confidences, between 0 and 1; None without words.
        words: in the order of the recording.
    """

    text: str
    engine: str
    confidence: float | None
    words: tuple[Word, ...]

    @classmethod
    def from_words(cls, engine: str, words: tuple[Word, ...], text: str | None = None) -> "Transcript":
        """Build a transcript from its words.

        Args:
            engine: name and model.
            words: in order.
            text: with the engine's punctuation; None joins the words by spaces.
        """
        confidence = round(sum(word.confidence for word in words) / len(words), 4) if words else None
        return cls(" ".join(word.text for word in words) if text is None else text, engine, confidence, words)


class TranscriptionEngine(Protocol):
    """Turns a WAV file into text. Loading one is slow; using it need not be safe from two threads at once."""

    @property
    def name(self) -> str:
        """Name and model, as it is stored with each transcript."""
        ...

    def transcribe(self, wav: Path) -> Transcript:
        """Transcribe a recording.

        Raises:
            AudioError: the file is not audio that the engine reads.
            TranscriptionError: it failed.
        """
        ...


def engine_from_settings(name: str) -> TranscriptionEngine:
    """Load an engine; this takes about a second, and longer for Whisper.

    Args:
        name: ``pocketsphinx``; ``whisper``, or ``whisper:<model or folder>``; or ``package.module:factory`` for an
            engine of your own, where calling ``factory()`` gives a ``TranscriptionEngine``.

    Raises:
        EngineUnavailableError: there is no such engine, or what it needs is not installed.
    """
    kind, _, detail = name.partition(":")
    if kind == "pocketsphinx":
        from switchboard_core.speech.engines.pocketsphinx import PocketsphinxEngine

        return PocketsphinxEngine()
    if kind == "whisper":
        from switchboard_core.speech.engines.whisper import DEFAULT_MODEL, WhisperEngine

        return WhisperEngine(detail or DEFAULT_MODEL)
    try:
        engine: TranscriptionEngine = getattr(importlib.import_module(kind), detail)()
    except (ImportError, AttributeError, ValueError) as error:
        msg = (
            f"TRANSCRIPTION_ENGINE is {name!r}, which cannot be loaded ({error}): use pocketsphinx, whisper, "
            "whisper:<model> or package.module:factory."
        )
        raise EngineUnavailableError(msg) from error
    return engine
