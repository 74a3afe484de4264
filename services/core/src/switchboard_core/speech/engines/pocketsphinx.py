"""The default engine: CMU PocketSphinx, whose English model ships inside its wheel, so nothing is ever fetched.

It hears a telephone's narrow band through a model that was trained on 16 kHz; ``audio.read_speech`` says how the
gap is filled, and tests/integration/test_transcription.py measures what comes out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pocketsphinx

from switchboard_core.speech.audio import SPEECH_RATE, Samples, read_speech
from switchboard_core.speech.engines import EngineUnavailableError, Transcript, TranscriptionError, Word

# Weight of the language model against what is heard; PocketSphinx's own default is 6.5. Measured over a telephone's
# band, 5 makes a third fewer errors on the simulator's speech and no more on another 96 sentences.
_LANGUAGE_WEIGHT = 5.0
_MS_PER_FRAME = 10
_SAMPLES_PER_MS = SPEECH_RATE // 1000
# Searching a whole call as one sentence costs memory and time out of proportion, so longer audio is cut at pauses.
_LONGEST_UTTERANCE_MS = 20_000
_SHORTEST_UTTERANCE_MS = 100
# A cut at a pause keeps this much silence on both sides: the search needs it to find the first and last word.
_MARGIN_MS = 250


class PocketsphinxEngine:
    """Transcribes English, offline, at about a third of the recording's length on one core."""

    def __init__(self) -> None:
        pocketsphinx.set_loglevel("FATAL")
        try:
            self._decoder = pocketsphinx.Decoder(samprate=SPEECH_RATE, lw=_LANGUAGE_WEIGHT)
        except (RuntimeError, ValueError) as error:
            msg = f"PocketSphinx cannot load its model ({error}): install the pocketsphinx package again."
            raise EngineUnavailableError(msg) from error

    @property
    def name(self) -> str:
        """Name and model."""
        return "pocketsphinx/en-us"

    def transcribe(self, wav: Path) -> Transcript:
        """Transcribe a recording of 16-bit PCM at 8,000 or 16,000 samples a second.

        Raises:
            AudioError: the file is something else.
            TranscriptionError: the decoder failed.
        """
        samples = read_speech(wav)
        words = tuple(
            word for utterance in split_at_pauses(samples) for word in self._decode(utterance.start_ms, utterance.pcm)
        )
        return Transcript.from_words(self.name, words)

    def _decode(self, start_ms: int, pcm: Samples) -> Iterator[Word]:
        try:
            self._decoder.start_utt()
            # The whole utterance at once lets the decoder level the channel with all it will hear (batch CMN).
            self._decoder.process_raw(pcm.tobytes(), full_utt=True)
            self._decoder.end_utt()
        except RuntimeError as error:
            msg = f"PocketSphinx failed at {start_ms} ms ({error})."
            raise TranscriptionError(msg) from error
        for segment in self._decoder.seg() or ():
            if segment.word[0] not in "<[+":  # silence and noises are written <sil>, [NOISE], ++BREATH++
                yield Word(
                    text=segment.word.partition("(")[0],  # "a(2)" is the second pronunciation of "a"
                    start_ms=start_ms + segment.start_frame * _MS_PER_FRAME,
                    end_ms=start_ms + (segment.end_frame + 1) * _MS_PER_FRAME,
                    confidence=round(min(1.0, max(0.0, segment.prob)), 4),
                )


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech.

    Attributes:
        start_ms: where it begins in the recording.
        pcm: its samples.
    """

    start_ms: int
    pcm: Samples


def split_at_pauses(samples: Samples) -> Iterator[Utterance]:
    """Yield what is to be decoded: short audio as it is, the speech between the pauses of longer audio.

    Args:
        samples: mono, 16,000 a second.
    """
    if _ms(samples) < _SHORTEST_UTTERANCE_MS:
        return
    if _ms(samples) <= _LONGEST_UTTERANCE_MS:
        if _anybody_speaks(samples):
            yield Utterance(0, samples)
        return
    for start_ms, end_ms in _speech(samples):
        for cut_ms in range(start_ms, end_ms, _LONGEST_UTTERANCE_MS):
            pcm = samples[cut_ms * _SAMPLES_PER_MS : min(cut_ms + _LONGEST_UTTERANCE_MS, end_ms) * _SAMPLES_PER_MS]
            if _ms(pcm) >= _SHORTEST_UTTERANCE_MS:
                yield Utterance(cut_ms, pcm)


def _anybody_speaks(samples: Samples) -> bool:
    """Tell whether there is any speech: the decoder makes a word even of silence."""
    detector = pocketsphinx.Vad(sample_rate=SPEECH_RATE)
    frame = detector.frame_bytes // samples.itemsize
    whole_frames = range(0, len(samples) - frame + 1, frame)
    return any(detector.is_speech(samples[begin : begin + frame].tobytes()) for begin in whole_frames)


def _speech(samples: Samples) -> Iterator[tuple[int, int]]:
    """Yield begin and end in ms of each stretch in which somebody speaks."""
    endpointer = pocketsphinx.Endpointer(sample_rate=SPEECH_RATE)
    frame = endpointer.frame_bytes // samples.itemsize
    spoken = False
    latest_ms = 0
    for begin in range(0, len(samples), frame):
        chunk = samples[begin : begin + frame].tobytes()
        endpointer.process(chunk) if len(chunk) == endpointer.frame_bytes else endpointer.end_stream(chunk)
        if spoken and not endpointer.in_speech:
            start_ms = max(latest_ms, round(endpointer.speech_start * 1000) - _MARGIN_MS)
            latest_ms = min(_ms(samples), round(endpointer.speech_end * 1000) + _MARGIN_MS)
            yield start_ms, latest_ms
        spoken = endpointer.in_speech
    if spoken:
        yield max(latest_ms, round(endpointer.speech_start * 1000) - _MARGIN_MS), _ms(samples)


def _ms(samples: Samples) -> int:
    return len(samples) // _SAMPLES_PER_MS
