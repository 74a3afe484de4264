"""Recordings: the shipped speech, and parts of it."""

import io
import wave

import pytest

from switchboard_simulator import media
from switchboard_simulator.speech_library import SPEECH_DIR, Clip, clip_named, clips
from switchboard_simulator.speech_library import media as speech


@pytest.mark.parametrize("clip", clips(), ids=lambda clip: clip.file)
def test_a_clip_is_short_telephone_speech(clip: Clip) -> None:
    with wave.open(io.BytesIO(speech(clip.file))) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 8000)
        assert sound.getnframes() / 8000 == pytest.approx(clip.seconds, abs=0.01)
    assert 1.5 <= clip.seconds <= 4
    assert speech(clip.mp3)[:1] == b"\xff"


def test_the_speech_is_small_and_varied() -> None:
    assert sum(path.stat().st_size for path in SPEECH_DIR.iterdir()) < 1_000_000
    assert len({clip.voice for clip in clips()}) == 4
    assert len({clip.text for clip in clips()}) == 12


def test_an_unknown_clip_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"01-kal\.wav"):
        clip_named("none.wav")


@pytest.mark.parametrize(
    ("requested", "status", "content", "content_range"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=2-3", 206, b"23", "bytes 2-3/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=5-4", 416, b"", "bytes */10"),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_a_download_can_go_on_where_it_stopped(
    requested: str | None, status: int, content: bytes, content_range: str | None
) -> None:
    part = media.cut(b"0123456789", requested)
    assert (part.status, part.content, part.headers.get("Content-Range")) == (status, content, content_range)
