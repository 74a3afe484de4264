"""WAV files as carriers send them: plain, streamed, cut off, stereo, or not WAV at all."""

import math
import struct
import wave
from array import array
from pathlib import Path

import pytest

from switchboard_core.speech.audio import AudioError, double_rate, probe_wav, read_speech


def write_wav(path: Path, samples: list[int], *, rate: int = 8000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return path


def wav_bytes(data: bytes, *, data_length: int | None = None, tag: int = 1, bits: int = 16, rate: int = 8000) -> bytes:
    block = bits // 8
    form = struct.pack("<HHIIHH", tag, 1, rate, rate * block, block, bits)
    length = len(data) if data_length is None else data_length
    return (
        b"RIFF"
        + struct.pack("<I", 0)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", length)
        + data
    )


def tone(hertz: float, rate: int, seconds: float) -> list[int]:
    return [round(8000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(int(rate * seconds))]


def test_the_length_of_a_recording_is_known_to_the_millisecond(tmp_path: Path) -> None:
    info = probe_wav(write_wav(tmp_path / "a.wav", [0] * 12_345))
    assert (info.duration_ms, info.sample_rate, info.channels, info.bits_per_sample, info.codec) == (
        1543,
        8000,
        1,
        16,
        "pcm",
    )


@pytest.mark.parametrize("data_length", [0, 0xFFFFFFFF, 1_000_000])
def test_a_streamed_or_cut_off_file_is_as_long_as_what_is_there(tmp_path: Path, data_length: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(bytes(16_000), data_length=data_length))
    assert probe_wav(path).duration_ms == 1000
    assert len(read_speech(path)) == 16_000


def test_chunks_before_the_sound_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    plain = wav_bytes(bytes(16_000))
    path.write_bytes(plain[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[12:])
    assert probe_wav(path).duration_ms == 1000


def test_an_extensible_header_tells_its_codec_further_down(tmp_path: Path) -> None:
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16_000, 2, 16, 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    path = tmp_path / "a.wav"
    path.write_bytes(
        b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 40) + form + b"data" + struct.pack("<I", 16_000) + bytes(16_000)
    )
    assert (probe_wav(path).codec, probe_wav(path).duration_ms) == ("pcm", 1000)


def test_the_length_of_a_compressed_recording_is_known_too(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(bytes(8000), tag=7, bits=8))
    assert (probe_wav(path).codec, probe_wav(path).duration_ms) == ("mulaw", 1000)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a WAV file"),
        (b"<html>not found</html>", "is not a WAV file: it begins with b'<htm'"),
        (wav_bytes(b"")[:20], "description is 0 bytes long"),
        (wav_bytes(b"")[:36], "without sound: it was cut off"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "without a description of its sound"),
        (wav_bytes(b"", rate=0), "claims 1 channels at 0 Hz"),
    ],
)
def test_what_is_not_audio_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=sentence):
        probe_wav(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (wav_bytes(bytes(100), tag=7, bits=8), "8-bit mulaw at 8000 Hz: only 16-bit PCM"),
        (wav_bytes(bytes(100), rate=44_100), "16-bit pcm at 44100 Hz: only 16-bit PCM"),
    ],
)
def test_audio_that_cannot_be_transcribed_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=sentence):
        read_speech(path)


def test_speech_at_16_khz_is_taken_as_it_is(tmp_path: Path) -> None:
    samples = tone(440, 16_000, 0.1)
    assert read_speech(write_wav(tmp_path / "a.wav", samples, rate=16_000)).tolist() == samples


def test_both_sides_of_a_call_are_mixed(tmp_path: Path) -> None:
    stereo = [value for left in (100, 200, 300) for value in (left, -50)]
    path = write_wav(tmp_path / "a.wav", stereo, rate=16_000, channels=2)
    assert read_speech(path).tolist() == [25, 75, 125]


@pytest.mark.parametrize("hertz", [100, 440, 1000, 2000])
def test_doubling_the_rate_keeps_the_sound(hertz: int) -> None:
    doubled = double_rate(array("h", tone(hertz, 8000, 0.1)))
    expected = tone(hertz, 16_000, 0.1)
    inner = list(zip(doubled, expected, strict=True))[4:-4]
    assert max(abs(got - wanted) for got, wanted in inner) <= 8000 * 0.13


@pytest.mark.parametrize("samples", [[], [7], [32_767, 32_767], [-32_768, 32_767, -32_768, 32_767]])
def test_doubling_keeps_every_sample_and_never_overflows(samples: list[int]) -> None:
    doubled = double_rate(array("h", samples))
    assert doubled[0::2].tolist() == samples
    assert len(doubled) == 2 * len(samples)
