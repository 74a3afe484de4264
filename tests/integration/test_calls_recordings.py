"""Recordings: what a recorder does with each, good or bad, and with a store in trouble."""

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, Row, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import MAX_CRASHES, Outcome
from switchboard_core.recordings.service import claim, downloads_active
from switchboard_core.speech.transcribe import TranscriptionProcess
from switchboard_recorder.jobs import MAX_RETRIES, RETRIES_WITHOUT_FAULT, Recorder, make_recorder, run_stage
from switchboard_recorder.store import StoredObject
from switchboard_recorder.store_file import FileStore
from waiting import await_true

(LEAD,) = numbers(1)


@pytest.fixture(scope="module")
def servers(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CallsBench]:
    store = f"file://{tmp_path_factory.mktemp('recordings')}"
    with calls_bench(postgres, migrated_template, valkey, recordings_url=store, transcription_engine="none") as bench:
        yield bench


@pytest.fixture
def recorder(bench: CallsBench) -> Iterator[Recorder]:
    made = make_recorder(bench.runtime)
    yield made
    made.close()


def recorded(bench: CallsBench, lead: str = LEAD, **outcome: Any) -> int:
    """Call a lead, let the carrier record it; the id of the recording's row."""
    bench.script(lead, **outcome)
    run = bench.start(lead, record=True)
    bench.work_to_the_end(run)
    bench.await_carrier()
    return int(bench.value("SELECT max(id) FROM recordings"))


def work(recorder: Recorder, recording_id: int) -> tuple[Outcome, list[Row]]:
    """One stage, and the lines it logged; the api in the same process may end its account of a request meanwhile."""
    with capture_logs(processors=[merge_contextvars]) as lines:
        outcome = run_stage(recorder, recording_id)
    return outcome, [dict(line) for line in lines if line["event"] != "request"]


class TestDownloads:
    def test_a_recording_is_downloaded_stored_and_its_slot_given_back(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        recording_id = recorded(bench)
        outcome, _ = work(recorder, recording_id)
        found = bench.recording(recording_id)
        assert (outcome, found["status"], found["retries"], found["lease_until"]) == (
            Outcome.FINISHED,
            "completed",
            0,
            None,
        )
        with recorder.store.open(found["object_key"]) as stored:
            content = stored.read()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (found["bytes"], found["sha256"])
        assert found["duration_ms"] > 0
        with bench.session() as session:
            assert downloads_active(session) == 0

    def test_the_log_has_the_words_that_people_search_for(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = recorded(bench)
        found = bench.recording(recording_id)
        call = {"call_sid": found["call_sid"], "business_id": bench.business_id}
        sid = found["recording_sid"]
        _, lines = work(recorder, recording_id)
        expected: list[tuple[str, Row]] = [
            ("WORKER_PICKED", {**call, "job_type": "download_only", "recording_sid": sid, "retry": 0}),
            ("WORKER_SLOT_ACQUIRED", call),
            ("DOWNLOAD_START", {**call, "recording_sid": sid, "attempt": 1}),
            ("WORKER_DOWNLOAD_DONE", {**call, "bytes": bench.recording(recording_id)["bytes"]}),
            ("WORKER_RELEASE_SLOT", {**call, "reason": "downloaded"}),
            ("RECORDING_SLOT_RELEASED active_after=0/3", {**call, "reason": "downloaded"}),
        ]
        assert [line["event"] for line in lines] == [words for words, _ in expected]
        for line, (_, fields) in zip(lines, expected, strict=True):
            assert fields.items() <= line.items()
        assert {"file", "duration_ms"} <= lines[3].keys()

    def test_media_that_are_not_there_yet_are_asked_for_again(self, bench: CallsBench, recorder: Recorder) -> None:
        """The announcement, and with it the recorder, is faster than the media."""
        bench.script(LEAD, media_seconds=2.0)
        bench.start(LEAD, record=True)
        bench.dial()
        bench.await_true(lambda: bool(bench.rows("SELECT 1 FROM recordings")), "the announcement")
        recording_id = int(bench.value("SELECT id FROM recordings"))
        _, lines = work(recorder, recording_id)
        assert bench.recording(recording_id)["status"] == "completed"
        assert bench.report()["recordings"]["asked_too_early"] >= 1
        attempts = [line["attempt"] for line in lines if line["event"] == "DOWNLOAD_START"]
        assert attempts == list(range(1, len(attempts) + 1))
        assert len(attempts) > 1

    def test_a_download_that_is_cut_off_goes_on_and_is_whole(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = recorded(bench)
        bench.faults(seed=1, media_cut=0.5)
        work(recorder, recording_id)
        found = bench.recording(recording_id)
        assert found["status"] == "completed"
        with recorder.store.open(found["object_key"]) as stored:
            assert hashlib.sha256(stored.read()).hexdigest() == found["sha256"]

    def test_a_doubled_wake_up_finds_nothing_to_do(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = recorded(bench)
        work(recorder, recording_id)
        assert work(recorder, recording_id) == (Outcome.FINISHED, [])
        assert bench.report()["recordings"]["downloads"] == 1

    def test_a_recording_that_was_never_made_is_not_asked_for(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = recorded(bench, recording="too_short")
        assert bench.recording(recording_id)["status"] == "absent"
        assert work(recorder, recording_id) == (Outcome.FINISHED, [])
        assert bench.report()["recordings"]["downloads"] == 0

    def test_a_refusal_of_the_credentials_fails_at_once_with_what_to_check(self, bench: CallsBench) -> None:
        recording_id = recorded(bench)
        settings = bench.runtime.settings.model_copy(update={"twilio_account_sid": "AC" + "f" * 32})
        stranger = make_recorder(replace(bench.runtime, settings=settings))
        try:
            work(stranger, recording_id)
        finally:
            stranger.close()
        found = bench.recording(recording_id)
        assert found["status"] == "failed"
        assert "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" in found["reason"]
        assert found["finished_at"] is not None

    def test_a_url_that_leads_elsewhere_is_never_fetched(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = recorded(bench)
        bench.execute("UPDATE recordings SET media_url = 'http://169.254.169.254/latest/meta-data'")
        work(recorder, recording_id)
        assert bench.recording(recording_id)["status"] == "failed"

    def test_a_recorder_that_lost_its_claim_writes_nothing(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = recorded(bench)

        def taken_over() -> None:
            bench.execute("UPDATE recordings SET attempt = attempt + 1, status = 'downloading'")

        slow = replace(recorder, store=MoodyStore(recorder.store, before_put=taken_over))
        outcome, lines = work(slow, recording_id)
        assert outcome is Outcome.FINISHED
        assert "recording claim lost: another recorder has taken it over" in [line["event"] for line in lines]
        assert bench.recording(recording_id)["status"] == "downloading"


class MoodyStore:
    """A real store, to which something happens just before it is written or read."""

    def __init__(
        self,
        store: Any,
        *,
        before_put: Callable[[], None] = lambda: None,
        before_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._before_put = before_put
        self._before_open = before_open

    def put(self, key: str, source: Path, content_type: str, sha256: str) -> StoredObject:
        self._before_put()
        stored: StoredObject = self._store.put(key, source, content_type, sha256)
        return stored

    def open(self, key: str) -> BinaryIO:
        self._before_open()
        content: BinaryIO = self._store.open(key)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class TestStoresInTrouble:
    def test_a_store_that_is_away_is_tried_again_for_as_long_as_it_takes(
        self, bench: CallsBench, recorder: Recorder, tmp_path: Path
    ) -> None:
        recording_id = recorded(bench)
        away = replace(recorder, store=_store_that_is_away(tmp_path))
        for retries in range(1, MAX_RETRIES + 4):
            outcome, lines = work(away, recording_id)
            found = bench.recording(recording_id)
            counted = min(retries, RETRIES_WITHOUT_FAULT)
            assert (outcome, found["status"], found["retries"]) == (Outcome.FINISHED, "pending", counted)
            assert lines[-1]["event"] == "RECORDING_SLOT_RELEASED active_after=0/3"
            assert lines[-1]["reason"] == "StoreUnavailableError"
            assert bench.value("SELECT run_after > clock_timestamp() FROM recordings")
            bench.recordings_due()
        assert "check that the folder is mounted and writable" in found["reason"]
        work(recorder, recording_id)
        found = bench.recording(recording_id)
        assert (found["status"], found["retries"], found["reason"]) == ("completed", 0, None)

    def test_a_broken_download_after_a_long_outage_of_the_store_is_not_the_last_try(
        self, bench: CallsBench, recorder: Recorder, tmp_path: Path
    ) -> None:
        """The outage used up every try: the first thing to go wrong afterwards lost the recording for good."""
        recording_id = recorded(bench)
        away = replace(recorder, store=_store_that_is_away(tmp_path))
        for _ in range(MAX_RETRIES + 1):
            work(away, recording_id)
            bench.recordings_due()

        def fall_over() -> None:
            raise OSError("the line is cut")

        work(replace(recorder, store=MoodyStore(recorder.store, before_put=fall_over)), recording_id)
        assert bench.recording(recording_id)["status"] == "pending"
        bench.recordings_due()
        work(recorder, recording_id)
        assert bench.recording(recording_id)["status"] == "completed"

    def test_a_retry_that_is_not_due_is_not_taken(self, bench: CallsBench, recorder: Recorder, tmp_path: Path) -> None:
        recording_id = recorded(bench)
        work(replace(recorder, store=_store_that_is_away(tmp_path)), recording_id)
        assert work(recorder, recording_id) == (Outcome.FINISHED, [])
        assert bench.recording(recording_id)["status"] == "pending"

    def test_an_unexpected_error_is_tried_again_and_fails_in_the_end_with_its_reason(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        recording_id = recorded(bench)

        def fall_over() -> None:
            raise OSError("the cable is loose")

        broken = replace(recorder, store=MoodyStore(recorder.store, before_put=fall_over))
        work(broken, recording_id)
        assert bench.recording(recording_id)["retries"] == 1
        bench.execute("UPDATE recordings SET run_after = now(), retries = %s", MAX_RETRIES)
        work(broken, recording_id)
        found = bench.recording(recording_id)
        assert (found["status"], found["reason"], found["lease_until"]) == ("failed", "the cable is loose", None)

    def test_an_unexpected_error_of_a_transcription_gives_the_claim_back(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        """Otherwise the recording would come again with every lease that runs out, for ever."""
        recording_id = recorded(bench)
        work(recorder, recording_id)
        bench.execute("UPDATE recordings SET status = 'downloaded', finished_at = NULL")

        def fall_over() -> None:
            raise OSError("the cable is loose")

        broken = replace(
            recorder,
            store=MoodyStore(recorder.store, before_open=fall_over),
            transcriber=TranscriptionProcess("pocketsphinx"),
        )
        outcome, _ = work(broken, recording_id)
        found = bench.recording(recording_id)
        assert (outcome, found["status"], found["retries"], found["lease_until"]) == (
            Outcome.FINISHED,
            "downloaded",
            1,
            None,
        )


class TestRecordersInTrouble:
    def test_a_full_temporary_folder_is_tried_again_for_as_long_as_it_takes(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        recording_id = recorded(bench)

        def fill_up() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        full = replace(recorder, store=MoodyStore(recorder.store, before_put=fill_up))
        for retries in range(1, MAX_RETRIES + 4):
            work(full, recording_id)
            found = bench.recording(recording_id)
            assert (found["status"], found["retries"]) == ("pending", min(retries, RETRIES_WITHOUT_FAULT))
            bench.recordings_due()
        assert "free some room, or point TMPDIR to a folder with some" in found["reason"]
        work(recorder, recording_id)
        assert bench.recording(recording_id)["status"] == "completed"

    def test_a_full_temporary_folder_costs_no_transcript(self, bench: CallsBench, recorder: Recorder) -> None:
        recording_id = downloaded(bench, recorder, retries=MAX_RETRIES)

        def fill_up() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with TranscriptionProcess("pocketsphinx") as transcriber:
            store: Any = MoodyStore(recorder.store, before_open=fill_up)
            work(replace(recorder, store=store, transcriber=transcriber), recording_id)
        found = bench.recording(recording_id)
        assert (found["status"], found["lease_until"]) == ("downloaded", None)

    def test_a_recording_that_ends_its_recorder_five_times_is_not_downloaded_again(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        recording_id = recorded(bench)
        for _ in range(MAX_CRASHES):
            die_with(bench, recording_id)
        outcome, lines = work(recorder, recording_id)
        found = bench.recording(recording_id)
        assert (outcome, found["status"], found["lease_until"]) == (Outcome.FINISHED, "failed", None)
        assert found["reason"] == "Not downloaded: its recorder died 5 times in a row, so it is not tried any more."
        assert found["finished_at"] is not None
        assert [(line["event"], line["log_level"]) for line in lines] == [("recording given up", "error")]
        assert bench.report()["recordings"]["downloads"] == 0

    def test_a_recording_that_ends_its_recorder_five_times_stays_without_a_transcript(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        recording_id = downloaded(bench, recorder)
        for _ in range(MAX_CRASHES):
            die_with(bench, recording_id)
        _, lines = work(recorder, recording_id)
        found = bench.recording(recording_id)
        assert (found["status"], found["transcript"]) == ("completed", None)
        assert found["reason"] == "No transcript: its recorder died 5 times in a row, so it is not tried any more."
        assert [line["event"] for line in lines] == ["recording given up"]
        assert recorder.store.exists(found["object_key"])

    def test_four_deaths_in_a_row_are_not_yet_the_recording_s_fault(
        self, bench: CallsBench, recorder: Recorder
    ) -> None:
        recording_id = recorded(bench)
        for _ in range(MAX_CRASHES - 1):
            die_with(bench, recording_id)
        work(recorder, recording_id)
        found = bench.recording(recording_id)
        assert (found["status"], found["crash_count"]) == ("completed", 0)

    def test_a_recorder_that_is_asked_to_leave_gives_its_transcription_back(
        self, bench: CallsBench, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed with its process, a long one would look as if it had ended one recorder after the other."""
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        recording_id = downloaded(bench, recorder, recording_sid="hang")
        asked = threading.Event()
        with (
            TranscriptionProcess("transcription_engines:ObedientEngine") as transcriber,
            ThreadPoolExecutor(1) as pool,
        ):
            busy = replace(recorder, transcriber=transcriber)
            busy.leave_when(asked)
            stage = pool.submit(run_stage, busy, recording_id)
            await_true(lambda: bench.recording(recording_id)["status"] == "transcribing", "the transcription")
            asked.set()
            assert stage.result(30) is Outcome.FINISHED
        found = bench.recording(recording_id)
        assert (found["status"], found["lease_until"], found["crash_count"]) == ("downloaded", None, 0)


def downloaded(bench: CallsBench, recorder: Recorder, **values: Any) -> int:
    """A recording that only wants its transcript; the id of its row."""
    recording_id = recorded(bench)
    work(recorder, recording_id)
    for name, value in {"status": "downloaded", "finished_at": None, **values}.items():
        bench.execute(f"UPDATE recordings SET {name} = %s", value)
    return recording_id


def die_with(bench: CallsBench, recording_id: int) -> None:
    """What a recorder leaves behind that is killed at its work, once its lease is over."""
    with bench.session() as session:
        assert claim(session, recording_id, lease_s=10.0, per_business=3)
    bench.execute("UPDATE recordings SET lease_until = clock_timestamp() - interval '1 s'")


def _store_that_is_away(folder: Path) -> FileStore:
    """Its folder cannot be made, also not by root: a file stands where the mount should be."""
    (folder / "mount").touch()
    return FileStore(folder / "mount" / "store")
