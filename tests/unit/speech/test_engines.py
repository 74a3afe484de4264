"""Choosing an engine, and what Whisper's answers become; integration/test_transcription.py listens."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from switchboard_core.speech.engines import (
    EngineUnavailableError,
    Transcript,
    TranscriptionError,
    Word,
    engine_from_settings,
)


class WhisperModel:
    """What faster_whisper offers, without its model of 150 MB."""

    def __init__(self, model: str, *, device: str, compute_type: str) -> None:
        if model == "unknown":
            raise ValueError("Invalid model size 'unknown'")
        assert (device, compute_type) == ("cpu", "int8")

    def transcribe(self, audio: str, *, word_timestamps: bool, vad_filter: bool) -> tuple[Any, None]:
        assert word_timestamps
        assert vad_filter
        if audio == "damaged.wav":
            raise ValueError("Invalid data found")
        hello = SimpleNamespace(word=" Hello,", start=0.5, end=0.92, probability=0.9)
        world = SimpleNamespace(word=" world.", start=1.0, end=1.5, probability=0.8)
        return iter(
            [SimpleNamespace(text=" Hello,", words=[hello]), SimpleNamespace(text=" world.", words=[world])]
        ), None


@pytest.fixture
def whisper_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", module)


@pytest.mark.usefixtures("whisper_installed")
def test_whispers_segments_become_one_transcript_with_its_punctuation() -> None:
    assert engine_from_settings("whisper").transcribe(Path("call.wav")) == Transcript(
        text="Hello, world.",
        engine="whisper/base.en",
        confidence=0.85,
        words=(Word("Hello,", 500, 920, 0.9), Word("world.", 1000, 1500, 0.8)),
    )


@pytest.mark.usefixtures("whisper_installed")
@pytest.mark.parametrize(
    ("setting", "name"), [("whisper:small.en", "whisper/small.en"), ("whisper:/models/ours", "whisper/ours")]
)
def test_whispers_model_or_folder_is_part_of_the_setting(setting: str, name: str) -> None:
    assert engine_from_settings(setting).name == name


@pytest.mark.usefixtures("whisper_installed")
def test_an_unknown_model_of_whisper_is_named() -> None:
    with pytest.raises(EngineUnavailableError, match="'unknown' cannot be loaded"):
        engine_from_settings("whisper:unknown")


@pytest.mark.usefixtures("whisper_installed")
def test_a_recording_that_whisper_cannot_read_is_named() -> None:
    with pytest.raises(TranscriptionError, match=r"failed on damaged\.wav"):
        engine_from_settings("whisper").transcribe(Path("damaged.wav"))


def test_whisper_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(EngineUnavailableError, match=r"install switchboard-recorder\[whisper\]"):
        engine_from_settings("whisper")


@pytest.mark.parametrize("name", ["", "sphinx", "no.such.module:create", "pathlib:nothing"])
def test_an_unknown_engine_says_which_there_are(name: str) -> None:
    with pytest.raises(EngineUnavailableError, match="use pocketsphinx, whisper, whisper:<model>"):
        engine_from_settings(name)


def test_a_transcript_without_words_has_no_confidence() -> None:
    assert Transcript.from_words("any/1", ()) == Transcript("", "any/1", None, ())
