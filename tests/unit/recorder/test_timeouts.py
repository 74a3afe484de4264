"""The stages of a recording end by their own limits, before RQ ends them with something that nobody can explain."""

import pytest
from pydantic import ValidationError

from switchboard_core.jobs.transport import recording_wakeup
from switchboard_core.settings import Settings
from switchboard_core.speech.transcribe import START_TIMEOUT_S
from switchboard_recorder.download import DownloadLimits

STAGE_S = recording_wakeup(1).timeout_s


def settings(transcription_s: float) -> Settings:
    return Settings(
        _env_file=None, database_url="postgresql+psycopg://app@db/app", transcription_timeout_seconds=transcription_s
    )


def test_a_download_leaves_time_to_store_what_came() -> None:
    limits = DownloadLimits()
    assert limits.total_s + limits.read_s + limits.longest_pause_s <= STAGE_S - 60


def test_the_longest_transcription_leaves_time_to_fetch_the_audio_and_to_load_the_engine() -> None:
    longest = settings(420.0).transcription_timeout_seconds
    assert longest + START_TIMEOUT_S <= STAGE_S - 60


def test_a_longer_transcription_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 420"):
        settings(421.0)
