"""What was really said in the demo's recordings, beside what was heard."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib import resources

from switchboard_cli.output import Json


@dataclass(frozen=True)
class Heard:
    """One transcript.

    Attributes:
        said: the words of the recording.
        heard: the words of the transcript.
    """

    said: str
    heard: str

    @property
    def words(self) -> int:
        """How many words were said."""
        return len(self.said.split())

    @property
    def words_right(self) -> int:
        """How many of them are in the transcript, in order."""
        pairs = SequenceMatcher(None, self.said.split(), self.heard.split(), autojunk=False)
        return sum(block.size for block in pairs.get_matching_blocks())


def sentences_by_sha256() -> dict[str, str]:
    """What is said in each recording that the simulator may serve, by the hash of its file."""
    folder = resources.files("switchboard_simulator") / "speech"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {hashlib.sha256((folder / clip["file"]).read_bytes()).hexdigest(): clip["text"] for clip in manifest}


def compared(recordings: Iterable[Json], sentences: dict[str, str]) -> list[Heard]:
    """The transcripts, each beside the truth.

    The hash finds it: a recording that was changed or mixed up on its way would have none.
    """
    return [
        Heard(sentences[recording["sha256"]], recording["transcript"] or "")
        for recording in recordings
        if recording["status"] == "completed" and recording["sha256"] in sentences
    ]
