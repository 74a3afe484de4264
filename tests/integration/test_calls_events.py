"""The carrier's events through the rows: any order, doubled, late, lost; machine detection; recordings."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from structlog.testing import capture_logs

from integration.calls_support import CallsBench, numbers
from invariants import assert_invariants
from switchboard_core import crossing
from switchboard_core.calls import callbacks
from switchboard_core.calls.cleanup import list_lost_recordings, rebuild_all_slots
from switchboard_core.calls.dial import _mark_sent, _write_down
from switchboard_core.calls.models import CallAttempt
from switchboard_core.calls.settle import Evidence
from switchboard_core.calls.states import CallEvent

LEAD, OTHER = numbers(2)


STORIES = {
    "completed": ("initiated", "ringing", "in-progress", "completed"),
    "busy": ("initiated", "ringing", "busy"),
    "no_answer": ("initiated", "ringing", "no-answer"),
    "failed": ("initiated", "failed"),
    "canceled": ("initiated", "ringing", "canceled"),
}


class TestEveryOrder:
    def test_shuffled_and_doubled_events_of_many_calls_at_once_converge(self, bench: CallsBench) -> None:
        """What the property test of the table shows, once more through locks, counters and several threads."""
        random = Random(42)
        leads = numbers(30)
        bench.execute("UPDATE businesses SET call_cap = 100")
        run = bench.start(*leads, retry_after_s={}, record=True)
        expected: dict[int, str] = {}
        deliveries: list[Callable[[], object]] = []
        for _ in leads:
            attempt = bench.admit().attempt
            _mark_sent(bench.runtime, attempt)
            expected[attempt.job_id] = random.choice(list(STORIES))
            deliveries += self._deliveries(bench, attempt, STORIES[expected[attempt.job_id]], random)
        random.shuffle(deliveries)
        with ThreadPoolExecutor(max_workers=6) as pool:
            for done in [pool.submit(deliver) for deliver in deliveries]:
                done.result()
        found = {row["id"]: row["status"] for row in bench.rows("SELECT id, status FROM outbound_call_jobs")}
        assert found == expected
        answered = sum(1 for status in expected.values() if status == "completed")
        assert bench.value("SELECT count(*) FROM recordings") == answered
        assert bench.value("SELECT count(*) FROM call_attempts WHERE answered_by = 'human'") == answered
        bench.slices(run)
        # The carrier was not asked: these calls exist in the rows alone.
        assert_invariants(bench.urls.owner, bench.runtime.redis, at_rest=True)

    def _deliveries(
        self, bench: CallsBench, attempt: CallAttempt, story: tuple[str, ...], random: Random
    ) -> list[Callable[[], object]]:
        sid = f"CA{attempt.id.hex}"
        ref = crossing.AttemptRef(bench.business_id, attempt.id)
        found: list[Callable[[], object]] = []
        for word in story:
            last = {"CallDuration": "7", "AnsweredBy": "human"} if word == "completed" else {}
            form = {"CallStatus": word, "CallSid": sid, **last}
            found += [_partial(callbacks.on_status, bench, ref, form)] * random.choice((1, 1, 2, 3))
        if "completed" in story:
            recording = {
                "CallSid": sid,
                "RecordingSid": f"RE{attempt.id.hex}",
                "RecordingStatus": "completed",
                "RecordingUrl": "http://127.0.0.1/x",
            }
            found += [_partial(callbacks.on_recording, bench, ref, recording)] * random.choice((1, 2))
            detected = {"CallSid": sid, "AnsweredBy": "human"}
            found += [_partial(callbacks.on_machine_detection, bench, ref, detected)] * random.choice((0, 1, 2))
        answer = random.choice((CallEvent.CREATED, CallEvent.ANSWER_LOST, None))
        if answer is not None:
            evidence = Evidence(call_sid=sid) if answer is CallEvent.CREATED else Evidence()
            found.append(lambda: _write_down(bench.runtime, bench.business_id, attempt.id, answer, evidence))
        return found

    def test_a_whole_campaign_with_doubled_late_and_reordered_callbacks_ends_right(self, bench: CallsBench) -> None:
        leads = numbers(40)
        bench.faults(
            seed=3,
            callback_duplicate=0.4,
            callback_delay=0.4,
            callback_delay_seconds=0.3,
            callback_reorder=0.4,
            callback_hold_seconds=0.2,
        )
        for lead, outcome in zip(leads, ("answer", "busy", "no_answer", "fail") * 10, strict=True):
            bench.script(lead, outcome)
        run = bench.start(*leads, retry_after_s={"busy": 0, "no_answer": 0}, max_attempts=2)
        (view,) = bench.work_to_the_end(run)
        counts = view.counts
        assert (counts.completed, counts.busy, counts.no_answer, counts.failed) == (10, 10, 10, 10)
        assert [bench.calls_to(lead) for lead in leads[:4]] == [1, 2, 2, 1]
        bench.await_carrier()
        bench.check(at_rest=True)


def _partial(
    function: Callable[..., object], bench: CallsBench, ref: crossing.AttemptRef, form: dict[str, str]
) -> Callable[[], object]:
    return lambda: function(bench.runtime, ref, form)


class TestCallbacks:
    def test_the_end_of_a_call_frees_its_slot_and_wakes_the_pump_but_dials_nothing(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.execute("UPDATE businesses SET call_cap = 1")
        run = bench.start(LEAD, OTHER)
        live = bench.dial()
        bench.await_status(LEAD, "in_progress")
        bench.runtime.redis.delete("rq:queue:high")
        with capture_logs() as lines:
            bench.callback(live.attempt.id, "completed")
        assert "enqueuing next job to RQ worker" in [line["event"] for line in lines]
        assert bench.runtime.slots.active(bench.business_id) == 0
        assert bench.runtime.redis.lrange("rq:queue:high", 0, -1) == [f"process_next_{run.job_id}".encode()]
        assert bench.calls_to(OTHER) == 0

    def test_the_tenth_copy_of_an_end_wakes_nobody_and_counts_nothing(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, OTHER)
        live = bench.dial()
        bench.await_status(LEAD, "completed")
        bench.await_carrier()
        before = bench.task(run)["done"]
        bench.runtime.redis.delete("rq:queue:high")
        for _ in range(10):
            with capture_logs() as lines:
                bench.callback(live.attempt.id, "completed")
            assert "enqueuing next job to RQ worker" not in [line["event"] for line in lines]
        assert bench.task(run)["done"] == before == 1
        assert bench.runtime.redis.llen("rq:queue:high") == 0
        bench.check()

    def test_a_word_that_nobody_knows_changes_nothing(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        live = bench.dial()
        bench.await_status(LEAD, "in_progress")
        bench.callback(live.attempt.id, "exploded")
        assert bench.job(LEAD)["status"] == "in_progress"

    def test_redis_being_away_keeps_no_call_from_being_settled(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        live = bench.dial()
        bench.await_status(LEAD, "in_progress")
        # A slot that Redis cannot give back: the key is no set any more, as every command of the semaphore finds.
        bench.runtime.redis.set(bench.runtime.slots.key(bench.business_id), "broken")
        bench.callback(live.attempt.id, "completed")
        assert bench.job(LEAD)["status"] == "completed"
        assert rebuild_all_slots(bench.runtime, [bench.business_id]) == 0
        bench.check()

    def test_retries_of_a_busy_lead_end_with_the_last_allowed_attempt(self, bench: CallsBench) -> None:
        bench.script(LEAD, "busy")
        run = bench.start(LEAD, retry_after_s={"busy": 0.05}, max_attempts=3)
        (view,) = bench.work_to_the_end(run)
        assert view.counts.busy == 1
        assert [attempt["number"] for attempt in bench.attempts(LEAD)] == [1, 2, 3]
        bench.check(at_rest=True)

    def test_a_lead_that_is_waiting_for_its_retry_is_shown_with_its_time(self, bench: CallsBench) -> None:
        bench.script(LEAD, "no_answer")
        run = bench.start(LEAD, retry_after_s={"no_answer": 1800})
        bench.dial()
        bench.await_status(LEAD, "queued")
        view = bench.view(run.id)
        assert view.waiting_for == "the next attempt is not due yet"
        assert view.next_call_at == bench.job(LEAD)["next_attempt_at"]
        assert bench.value("SELECT next_attempt_at > clock_timestamp() + interval '1790 s' FROM outbound_call_jobs")


class TestMachines:
    def test_who_answered_is_known(self, bench: CallsBench) -> None:
        bench.script(LEAD, "machine", talk_seconds=0.2)
        bench.script(OTHER, "answer", talk_seconds=0.2)
        run = bench.start(LEAD, OTHER, machine_detection="detect")
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 2
        assert bench.attempt(LEAD)["answered_by"].startswith("machine")
        assert bench.attempt(OTHER)["answered_by"] == "human"

    def test_a_machine_is_hung_up_on_where_the_run_says_so(self, bench: CallsBench) -> None:
        bench.script(LEAD, "machine", talk_seconds=60)
        run = bench.start(LEAD, machine_detection="hangup")
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 1
        assert bench.report()["live"] == 0
        bench.check(at_rest=True)

    def test_a_person_is_never_hung_up_on(self, bench: CallsBench) -> None:
        bench.script(LEAD, "answer", talk_seconds=0.4)
        run = bench.start(LEAD, machine_detection="hangup")
        bench.work_to_the_end(run)
        assert bench.attempt(LEAD)["hangup_requested_at"] is None

    def test_detecting_alone_hangs_up_on_nobody(self, bench: CallsBench) -> None:
        bench.script(LEAD, "machine", talk_seconds=0.3)
        run = bench.start(LEAD, machine_detection="detect")
        bench.work_to_the_end(run)
        assert bench.attempt(LEAD)["hangup_requested_at"] is None

    @pytest.mark.parametrize("detection", ["detect", "hangup"])
    def test_a_lead_whose_machine_answered_is_called_again(self, bench: CallsBench, detection: str) -> None:
        person = {"outcome": "answer", "talk_seconds": 0.1}
        bench.sim("POST", "script", {"number": LEAD, "outcomes": [{"outcome": "machine", "talk_seconds": 0.3}, person]})
        run = bench.start(LEAD, machine_detection=detection, retry_after_s={"machine": 0.05})
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 1
        assert [attempt["answered_by"] for attempt in bench.attempts(LEAD)] == ["machine_start", "human"]
        bench.check(at_rest=True)


class TestRecordings:
    def test_a_doubled_webhook_makes_one_row_and_one_wake_up(self, bench: CallsBench) -> None:
        bench.faults(callback_duplicate=1, callback_delay_seconds=0.1)
        run = bench.start(LEAD, record=True)
        bench.work_to_the_end(run)
        bench.await_carrier()
        assert bench.value("SELECT count(*) FROM recordings") == 1
        row = bench.rows("SELECT * FROM recordings")[0]
        assert (row["status"], row["call_sid"]) == ("pending", bench.attempt(LEAD)["call_sid"])
        assert bench.runtime.redis.lrange("rq:queue:recordings", 0, -1) == [f"recording_{row['id']}".encode()]

    def test_a_recording_whose_webhook_was_lost_is_found_in_the_carriers_list(self, bench: CallsBench) -> None:
        bench.faults(callback_lose=1)
        bench.start(LEAD, record=True)
        live = bench.dial()
        bench.await_carrier()
        bench.faults()
        bench.callback(live.attempt.id, "completed")
        assert list_lost_recordings(bench.runtime, after_s=0) == 1
        assert bench.value("SELECT status FROM recordings") == "pending"
        assert list_lost_recordings(bench.runtime, after_s=0) == 0, "it is asked about once"

    def test_a_webhook_that_comes_after_the_list_changes_nothing(self, bench: CallsBench) -> None:
        bench.faults(callback_delay=1, callback_delay_seconds=0.1)
        run = bench.start(LEAD, record=True)
        bench.work_to_the_end(run)
        list_lost_recordings(bench.runtime, after_s=0)
        bench.await_carrier()
        list_lost_recordings(bench.runtime, after_s=0)
        assert bench.value("SELECT count(*) FROM recordings") == 1

    def test_a_recording_that_was_not_made_is_absent_and_nobody_is_woken(self, bench: CallsBench) -> None:
        bench.script(LEAD, recording="silent")
        run = bench.start(LEAD, record=True)
        bench.work_to_the_end(run)
        bench.await_carrier()
        row = bench.rows("SELECT * FROM recordings")[0]
        assert (row["status"], row["reason"]) == ("absent", "The carrier made no recording (code 16102).")
        assert bench.runtime.redis.llen("rq:queue:recordings") == 0

    def test_a_run_that_does_not_record_is_never_asked_about(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, record=False)
        bench.work_to_the_end(run)
        bench.await_carrier()
        assert list_lost_recordings(bench.runtime, after_s=0) == 0
        assert bench.value("SELECT count(*) FROM recordings") == 0

    def test_the_recording_of_a_call_whose_every_other_word_was_lost_tells_its_sid(self, bench: CallsBench) -> None:
        bench.faults(create_lose_answer=1, callback_lose=1)
        bench.start(LEAD, record=True)
        live = bench.dial()
        bench.await_carrier()
        sid = bench.sid_at_carrier(LEAD)
        (recording,) = bench.runtime.carrier.recordings_of(sid)
        form = {
            "CallSid": sid,
            "RecordingSid": recording.sid,
            "RecordingStatus": "completed",
            "RecordingUrl": recording.media_url,
        }
        callbacks.on_recording(bench.runtime, crossing.AttemptRef(bench.business_id, live.attempt.id), form)
        assert bench.attempt(LEAD)["call_sid"] == sid
        assert bench.value("SELECT call_sid FROM recordings") == sid
