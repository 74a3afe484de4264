"""What RQ calls for a recording: one stage of it, download or transcription, under a lease and with a fence."""

import random
import shutil
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog

from switchboard_core import crossing
from switchboard_core.jobs.kernel import MAX_CRASHES, Outcome
from switchboard_core.jobs.lease import Lease, LeaseKeeper
from switchboard_core.logs import get_logger
from switchboard_core.process import leaving
from switchboard_core.recordings.models import Recording
from switchboard_core.recordings.service import RecordingClaim, claim, downloads_active, record
from switchboard_core.recordings.states import RecordingStatus
from switchboard_core.runtime import Runtime, process_runtime
from switchboard_core.speech.audio import AudioError, probe_wav
from switchboard_core.speech.engines import EngineUnavailableError, TranscriptionError
from switchboard_core.speech.transcribe import TranscriptionProcess, TranscriptionStoppedError
from switchboard_core.sql import after_seconds, db_now
from switchboard_recorder.download import Downloaded, Downloader, DownloadLimits
from switchboard_recorder.download_errors import DiskFullError, DownloadError, RecorderLeavingError
from switchboard_recorder.media_url import MediaUrlPolicy
from switchboard_recorder.scratch import scratch_folder
from switchboard_recorder.store import RecordingStore, StoreError, StoreUnavailableError, open_store

log = get_logger(__name__)

MAX_RETRIES = 12
RETRIES_WITHOUT_FAULT = 9
"""Tries that count at most where the recording is not at fault: by then waits are longest, and some tries are left."""
_jitter = random.Random()  # noqa: S311 - spreads retries, protects nothing


@dataclass(frozen=True)
class Recorder:
    """The parts of a recorder process."""

    runtime: Runtime
    store: RecordingStore
    downloader: Downloader
    transcriber: TranscriptionProcess | None
    leases: LeaseKeeper

    def close(self) -> None:
        """Stop the transcription process and close the connections."""
        if self.transcriber:
            self.transcriber.close()
        self.downloader.close()
        self.leases.close()

    def leave_when(self, asked: threading.Event) -> None:
        """Break off a transcription once this process is asked to leave, from a thread; another one does it again.

        One that is killed with its process instead counts as one that ended its recorder.
        """

        def leave() -> None:
            asked.wait()
            if self.transcriber:
                self.transcriber.close()

        threading.Thread(target=leave, name="leaving", daemon=True).start()


def make_recorder(runtime: Runtime) -> Recorder:
    """Build the parts of a recorder.

    Raises:
        StoreMisconfiguredError: ``RECORDINGS_URL`` names no store.
    """
    settings = runtime.settings
    return Recorder(
        runtime=runtime,
        store=open_store(settings.recordings_url, s3_endpoint_url=settings.s3_endpoint_url),
        downloader=Downloader(
            (settings.twilio_account_sid, settings.twilio_auth_token.get_secret_value()),
            MediaUrlPolicy.create(settings.twilio_base_url, settings.twilio_media_hosts),
            DownloadLimits(max_bytes=settings.recording_max_bytes),
            sleep=_stay_for,
        ),
        transcriber=None
        if settings.transcription_engine == "none"
        else TranscriptionProcess(settings.transcription_engine),
        leases=LeaseKeeper(runtime.database, settings.lease_seconds),
    )


@lru_cache(maxsize=1)
def process_recorder() -> Recorder:
    """The recorder of this process."""
    return make_recorder(process_runtime())


def process_recording(recording_id: int) -> Outcome:
    """Do the next stage of a recording; the wake-up's only argument is the row's id."""
    return run_stage(process_recorder(), recording_id)


def run_stage(recorder: Recorder, recording_id: int) -> Outcome:
    """Claim a recording and download or transcribe it.

    Args:
        recorder: parts of this process.
        recording_id: the row.
    """
    runtime = recorder.runtime
    with runtime.database.crossing() as session:
        ref = crossing.recording(session, recording_id)
    if ref is None:
        return Outcome.FINISHED
    with runtime.database.tenant(ref.business_id) as session:
        claimed = claim(
            session,
            recording_id,
            lease_s=runtime.settings.lease_seconds,
            per_business=runtime.settings.recordings_per_business,
        )
    if claimed is None:
        return Outcome.FINISHED
    row = claimed.recording
    with (
        structlog.contextvars.bound_contextvars(call_sid=row.call_sid, business_id=row.business_id),
        recorder.leases.hold(Lease("recordings", row.business_id, row.id, row.attempt)),
    ):
        if row.crash_count >= MAX_CRASHES:
            return _give_up(recorder, row)
        if row.status is RecordingStatus.DOWNLOADING:
            return _download(recorder, claimed)
        return _transcribe(recorder, row)


def _give_up(recorder: Recorder, row: Recording) -> Outcome:
    """End a recording that ended its recorders; one that is stored already only stays without a transcript."""
    died = f"its recorder died {row.crash_count} times in a row, so it is not tried any more"
    if row.status is RecordingStatus.DOWNLOADING:
        values = {"status": RecordingStatus.FAILED, "reason": f"Not downloaded: {died}."}
    else:
        values = {"status": RecordingStatus.COMPLETED, "reason": f"No transcript: {died}."}
    log.error("recording given up", recording_sid=row.recording_sid, reason=values["reason"])
    with recorder.runtime.database.tenant(row.business_id) as session:
        record(session, row, values, release=True)
    return Outcome.FINISHED


def _download(recorder: Recorder, claimed: RecordingClaim) -> Outcome:
    row = claimed.recording
    log.info("WORKER_PICKED", job_type="download_only", recording_sid=row.recording_sid, retry=row.retries)
    log.info("WORKER_SLOT_ACQUIRED", active=claimed.downloading)
    reason = "failed"
    try:
        with scratch_folder() as folder:
            file = recorder.downloader.download(
                row.media_url,
                folder / f"{row.recording_sid}.wav",
                on_attempt=lambda attempt: log.info("DOWNLOAD_START", recording_sid=row.recording_sid, attempt=attempt),
                on_progress=lambda _size: _stay_for(0.0),
            )
            values = _keep(recorder, row, file)
        outcome, reason = Outcome.AGAIN, "downloaded"
        if recorder.transcriber is None:
            values |= {"status": RecordingStatus.COMPLETED}
            outcome = Outcome.FINISHED
    except (DownloadError, StoreError, AudioError) as error:
        values = _failure(row, error, back_to=RecordingStatus.PENDING)
        outcome, reason = Outcome.FINISHED, type(error).__name__
    except Exception as error:
        log.exception("download failed unexpectedly")
        values = _failure(row, error, back_to=RecordingStatus.PENDING, retryable=True)
        outcome, reason = Outcome.FINISHED, type(error).__name__
    return _release_slot(recorder, row, values, outcome, reason)


def _stay_for(seconds: float) -> None:
    """Wait, unless this recorder is asked to leave: a drain must not wait for a download that may take minutes."""
    if leaving().wait(seconds):
        msg = "The recorder was asked to leave; another one downloads the recording."
        raise RecorderLeavingError(msg)


def _keep(recorder: Recorder, row: Recording, file: Downloaded) -> dict[str, Any]:
    """Put a downloaded file into the store; what is known of it afterwards."""
    duration_ms = probe_wav(file.path).duration_ms
    # Made of the row alone: a second download, after a crash, must not leave a second object.
    key = f"{row.business_id}/{row.created_at:%Y-%m}/{row.recording_sid}.wav"
    stored = recorder.store.put(key, file.path, "audio/x-wav", file.sha256)
    log.info("WORKER_DOWNLOAD_DONE", file=stored.url, bytes=stored.size, duration_ms=duration_ms)
    return {
        "status": RecordingStatus.DOWNLOADED,
        "object_key": key,
        "bytes": stored.size,
        "sha256": stored.sha256,
        "duration_ms": duration_ms,
        "downloaded_at": db_now(),
        "retries": 0,
        "reason": None,
    }


def _release_slot(recorder: Recorder, row: Recording, values: dict[str, Any], outcome: Outcome, reason: str) -> Outcome:
    log.info("WORKER_RELEASE_SLOT", reason=reason)
    with recorder.runtime.database.tenant(row.business_id) as session:
        kept = record(session, row, values, release=True)
        session.flush()
        active = downloads_active(session)
    if not kept:
        log.warning("recording claim lost: another recorder has taken it over", recording_sid=row.recording_sid)
        return Outcome.FINISHED
    limit = recorder.runtime.settings.recordings_per_business
    log.info(f"RECORDING_SLOT_RELEASED active_after={active}/{limit}", reason=reason)  # noqa: G004 - literal words
    return outcome


def _transcribe(recorder: Recorder, row: Recording) -> Outcome:
    try:
        values = _transcript(recorder, row)
    except AudioError as error:
        # The copy is safe in the store; only nobody can read words out of it.
        values = {"status": RecordingStatus.COMPLETED, "reason": f"No transcript: {error}"}
    except (TranscriptionError, StoreError, DiskFullError) as error:
        values = _failure(row, error, back_to=RecordingStatus.DOWNLOADED)
    except Exception as error:
        log.exception("transcription failed unexpectedly")
        values = _failure(row, error, back_to=RecordingStatus.DOWNLOADED, retryable=True)
    with recorder.runtime.database.tenant(row.business_id) as session:
        record(session, row, values, release=True)
    return Outcome.FINISHED


def _transcript(recorder: Recorder, row: Recording) -> dict[str, Any]:
    if recorder.transcriber is None or row.object_key is None:
        return {"status": RecordingStatus.COMPLETED}
    with scratch_folder() as folder:
        wav = folder / f"{row.recording_sid}.wav"
        with recorder.store.open(row.object_key) as stored, wav.open("wb") as file:
            shutil.copyfileobj(stored, file, 1 << 20)
        transcript = recorder.transcriber.transcribe(wav, recorder.runtime.settings.transcription_timeout_seconds)
    log.info(
        "TRANSCRIPTION_DONE", recording_sid=row.recording_sid, engine=transcript.engine, words=len(transcript.words)
    )
    return {
        "status": RecordingStatus.COMPLETED,
        "transcript": transcript.text,
        "transcript_engine": transcript.engine,
        "reason": None,
    }


def _failure(
    row: Recording, error: Exception, *, back_to: RecordingStatus, retryable: bool | None = None
) -> dict[str, Any]:
    """Back to where the stage started, later; or the end, when no later try can help."""
    if retryable is None:
        retryable = bool(getattr(error, "retryable", False)) or isinstance(error, StoreUnavailableError)
    # A store or disk that is full or away, or a recorder that leaves, says nothing about the recording: no limit on
    # tries.
    endless = isinstance(
        error,
        StoreUnavailableError
        | DiskFullError
        | TranscriptionStoppedError
        | EngineUnavailableError
        | RecorderLeavingError,
    )
    if not endless and (not retryable or row.retries >= MAX_RETRIES):
        log.error("recording failed", recording_sid=row.recording_sid, reason=str(error))
        if back_to is RecordingStatus.DOWNLOADED:
            return {"status": RecordingStatus.COMPLETED, "reason": f"No transcript: {error}"}
        return {"status": RecordingStatus.FAILED, "reason": str(error)}
    delay_s = min(300.0, 2.0 ** min(row.retries, 9)) * (0.5 + _jitter.random() / 2)
    log.warning("recording is tried again", recording_sid=row.recording_sid, in_s=round(delay_s, 1), reason=str(error))
    return {
        "status": back_to,
        "reason": str(error),
        "retries": max(row.retries, min(row.retries + 1, RETRIES_WITHOUT_FAULT if endless else MAX_RETRIES)),
        "run_after": after_seconds(delay_s),
    }
