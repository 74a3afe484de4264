"""What becomes of a recording when a stage of it has failed for the last time."""

import pytest

from switchboard_core.recordings.models import Recording
from switchboard_core.recordings.states import RecordingStatus
from switchboard_core.speech.transcribe import TranscriptionTimeoutError
from switchboard_recorder.download_errors import DiskError, DownloadError
from switchboard_recorder.jobs import MAX_RETRIES, _failure


def tried(times: int) -> Recording:
    return Recording(recording_sid="RE1", retries=times)


@pytest.mark.parametrize("error", [DownloadError("The carrier refuses it."), DiskError("Cannot write it.")])
def test_without_its_audio_it_has_failed(error: DownloadError) -> None:
    end = _failure(tried(MAX_RETRIES), error, back_to=RecordingStatus.PENDING)
    assert end == {"status": RecordingStatus.FAILED, "reason": str(error)}


def test_with_its_audio_it_only_has_no_transcript() -> None:
    error = TranscriptionTimeoutError("It took too long.")
    end = _failure(tried(MAX_RETRIES), error, back_to=RecordingStatus.DOWNLOADED)
    assert end == {"status": RecordingStatus.COMPLETED, "reason": "No transcript: It took too long."}


def test_a_disk_that_fails_is_tried_again() -> None:
    again = _failure(tried(0), DiskError("Cannot write it."), back_to=RecordingStatus.PENDING)
    assert (again["status"], again["retries"]) == (RecordingStatus.PENDING, 1)
