"""Whisper, for those who install the extra ``whisper`` of recorder and worker: better text, far more work."""

from pathlib import Path
from typing import Any

from switchboard_core.speech.engines import EngineUnavailableError, Transcript, TranscriptionError, Word

DEFAULT_MODEL = "base.en"


class WhisperEngine:
    """Transcribes with faster-whisper on the CPU.

    Args:
        model: name of a published model, fetched once into the cache of the machine, or a folder that holds one (for
            machines without a way out).

    Raises:
        EngineUnavailableError: the extra is not installed, or the model cannot be loaded.
    """

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            msg = (
                "TRANSCRIPTION_ENGINE is whisper, but it is not installed: install switchboard-recorder[whisper] and "
                "switchboard-worker[whisper], or set TRANSCRIPTION_ENGINE=pocketsphinx."
            )
            raise EngineUnavailableError(msg) from error
        self._label = Path(model).name
        try:
            # 8-bit weights need a quarter of the memory and lose no words worth mentioning on a CPU.
            self._model: Any = WhisperModel(model, device="cpu", compute_type="int8")
        except (RuntimeError, ValueError, OSError) as error:
            msg = f"The Whisper model {model!r} cannot be loaded ({error}): give a known model's name or a folder."
            raise EngineUnavailableError(msg) from error

    @property
    def name(self) -> str:
        """Name and model."""
        return f"whisper/{self._label}"

    def transcribe(self, wav: Path) -> Transcript:
        """Transcribe a recording of any format that FFmpeg reads.

        Raises:
            TranscriptionError: it failed.
        """
        try:
            segments, _info = self._model.transcribe(str(wav), word_timestamps=True, vad_filter=True)
            found = list(segments)  # the work happens here
        except (RuntimeError, ValueError, OSError) as error:
            msg = f"Whisper failed on {wav.name} ({error})."
            raise TranscriptionError(msg) from error
        words = tuple(_word(word) for segment in found for word in segment.words or ())
        return Transcript.from_words(self.name, words, " ".join(segment.text.strip() for segment in found))


def _word(word: Any) -> Word:  # noqa: ANN401 - a class of faster_whisper, which is not installed by default
    return Word(word.word.strip(), round(word.start * 1000), round(word.end * 1000), round(word.probability, 4))
