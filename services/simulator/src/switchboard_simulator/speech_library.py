"""The spoken sentences that ship with the package, served as recordings."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SPEECH_DIR = Path(__file__).parent / "speech"


@dataclass(frozen=True, slots=True)
class Clip:
    """One sentence.

    Attributes:
        file: name of the WAV file (8 kHz, 16 bit, mono).
        mp3: name of the same sentence as MP3.
        voice: the synthesiser's voice.
        seconds: length.
        greeting: whether it is what an answering machine says.
        text: the words, in small letters without punctuation.
    """

    file: str
    mp3: str
    voice: str
    seconds: float
    greeting: bool
    text: str


@cache
def clips() -> tuple[Clip, ...]:
    """Return all clips, in the order of the manifest."""
    manifest = json.loads((SPEECH_DIR / "manifest.json").read_text(encoding="utf-8"))
    return tuple(Clip(**entry) for entry in manifest)


def clip_named(file: str) -> Clip:
    """Return a clip by the name of its WAV file.

    Raises:
        KeyError: there is no such clip; the message lists those there are.
    """
    for clip in clips():
        if clip.file == file:
            return clip
    names = ", ".join(clip.file for clip in clips())
    raise KeyError(f"there is no clip {file!r}; choose one of {names}")


@cache
def media(file: str) -> bytes:
    """Return the bytes of a clip's WAV or MP3 file."""
    return (SPEECH_DIR / file).read_bytes()
