"""Claims on recordings: who may work on one, and how many of a business at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import update

from integration.calls_support import CallsBench
from switchboard_core.recordings.models import Recording
from switchboard_core.recordings.service import RecordingClaim, claim, downloads_active, record
from switchboard_core.recordings.states import RecordingStatus
from switchboard_core.sql import db_now

LEASE_S = 10.0
AT_ONCE = 3


def waiting_recordings(bench: CallsBench, number: int, business_id: int | None = None) -> list[int]:
    """Rows of recordings that nobody has touched."""
    business_id = business_id or bench.business_id
    return [
        int(
            bench.value(
                "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url) "
                "VALUES (%s, %s, 'CA1', 'http://127.0.0.1:1/none') RETURNING id",
                business_id,
                f"RE{business_id}-{at}",
            )
        )
        for at in range(number)
    ]


def take(bench: CallsBench, recording_id: int, business_id: int | None = None) -> RecordingClaim | None:
    with bench.session(business_id) as session:
        return claim(session, recording_id, lease_s=LEASE_S, per_business=AT_ONCE)


def write(bench: CallsBench, claimed: RecordingClaim, status: RecordingStatus) -> bool:
    with bench.session(claimed.recording.business_id) as session:
        return record(session, claimed.recording, {"status": status}, release=True)


def test_three_downloads_of_a_business_at_once_and_the_fourth_waits_for_a_slot(bench: CallsBench) -> None:
    ids = waiting_recordings(bench, 4)
    claims = [take(bench, recording_id) for recording_id in ids]
    assert [claimed and claimed.downloading for claimed in claims] == [1, 2, 3, None]
    assert bench.recording(ids[3])["status"] == "pending"
    assert bench.value("SELECT run_after > clock_timestamp() FROM recordings WHERE id = %s", ids[3])
    assert claims[0] is not None
    assert write(bench, claims[0], RecordingStatus.COMPLETED)
    bench.recordings_due()
    assert take(bench, ids[3]) is not None


def test_another_business_has_slots_of_its_own(bench: CallsBench) -> None:
    other = bench.another_business()
    for recording_id in waiting_recordings(bench, 3):
        take(bench, recording_id)
    assert all(take(bench, recording_id, other) for recording_id in waiting_recordings(bench, 3, other))


def test_a_recording_is_worked_on_by_one_recorder(bench: CallsBench) -> None:
    (recording_id,) = waiting_recordings(bench, 1)
    assert take(bench, recording_id) is not None
    assert take(bench, recording_id) is None


def test_a_killed_recorders_claim_is_taken_over_and_its_late_word_is_fenced_off(bench: CallsBench) -> None:
    (recording_id,) = waiting_recordings(bench, 1)
    stopped = take(bench, recording_id)
    bench.execute("UPDATE recordings SET lease_until = clock_timestamp() - interval '1 s'")
    successor = take(bench, recording_id)
    assert stopped is not None
    assert successor is not None
    assert successor.recording.attempt == stopped.recording.attempt + 1
    assert write(bench, stopped, RecordingStatus.FAILED) is False
    assert bench.recording(recording_id)["status"] == "downloading"
    assert write(bench, successor, RecordingStatus.COMPLETED) is True


def test_claims_over_a_lease_that_ran_out_are_counted_until_a_recorder_gives_its_claim_back(bench: CallsBench) -> None:
    (recording_id,) = waiting_recordings(bench, 1)
    for crashes in range(3):
        claimed = take(bench, recording_id)
        assert claimed is not None
        assert claimed.recording.crash_count == crashes
        bench.execute("UPDATE recordings SET lease_until = clock_timestamp() - interval '1 s'")
    assert claimed is not None
    assert write(bench, claimed, RecordingStatus.DOWNLOADED)
    successor = take(bench, recording_id)
    assert successor is not None
    assert successor.recording.crash_count == 0


def test_the_slot_of_a_killed_recorder_is_free_when_its_lease_is_over(bench: CallsBench) -> None:
    ids = waiting_recordings(bench, 4)
    for recording_id in ids[:3]:
        take(bench, recording_id)
    bench.execute("UPDATE recordings SET lease_until = clock_timestamp() - interval '1 s'")
    claimed = take(bench, ids[3])
    assert claimed is not None
    assert claimed.downloading == 1


def test_transcribing_needs_no_download_slot(bench: CallsBench) -> None:
    ids = waiting_recordings(bench, 4)
    for recording_id in ids[:3]:
        take(bench, recording_id)
    bench.execute("UPDATE recordings SET status = 'downloaded' WHERE id = %s", ids[3])
    claimed = take(bench, ids[3])
    assert claimed is not None
    assert claimed.recording.status is RecordingStatus.TRANSCRIBING
    with bench.session() as session:
        assert downloads_active(session) == 3


def test_what_is_over_is_never_claimed_again(bench: CallsBench) -> None:
    (recording_id,) = waiting_recordings(bench, 1)
    for status in ("completed", "failed", "absent"):
        bench.execute("UPDATE recordings SET status = %s", status)
        assert take(bench, recording_id) is None


def test_many_recorders_at_once_never_have_more_than_three_downloads(bench: CallsBench) -> None:
    ids, most, lock = waiting_recordings(bench, 12), [0], threading.Lock()

    def work_on(recording_id: int) -> None:
        for _ in range(500):
            claimed = take(bench, recording_id)
            if claimed is None:
                with bench.session() as session:
                    session.execute(update(Recording).where(Recording.id == recording_id).values(run_after=db_now()))
                continue
            with bench.session() as session:
                active = downloads_active(session)
            with lock:
                most[0] = max(most[0], active, claimed.downloading)
            assert write(bench, claimed, RecordingStatus.COMPLETED)
            return
        raise AssertionError("never got a slot")

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(work_on, ids))
    assert most[0] <= AT_ONCE
    assert bench.value("SELECT count(*) FROM recordings WHERE status = 'completed'") == 12
