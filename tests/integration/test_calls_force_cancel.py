"""Force-cancel: ends a run's calls from the api itself, with every worker dead, and whatever arrives late."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey, free_port
from switchboard_core.calls import callbacks, service
from switchboard_core.calls.admission import Admitted, admit_next
from switchboard_core.calls.cleanup import settle_silent
from switchboard_core.calls.dial import dial
from switchboard_core.calls.force_cancel import force_cancel
from switchboard_core.calls.models import OutboundCallJob
from switchboard_core.calls.schemas import ForceCancelReport, RunView
from switchboard_core.calls.service import RunNotFoundError
from switchboard_core.calls.settle import apply_event
from switchboard_core.calls.states import CallEvent
from switchboard_core.calls.twilio_carrier import TwilioCarrier
from switchboard_core.leads import do_not_call

LEAD, OTHER = numbers(2)


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey, simulator={"talk_seconds": 60}) as bench:
        yield bench


def force(bench: CallsBench, run: RunView) -> ForceCancelReport:
    assert run.job_id is not None
    return force_cancel(bench.runtime, bench.business_id, run.job_id)


class TestWithEveryWorkerDead:
    def test_live_calls_are_hung_up_and_queued_ones_ended_by_the_request_itself(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(5))
        for _ in range(2):
            bench.dial()
        bench.await_true(lambda: bench.view(run.id).counts.in_progress == 2, "two conversations")
        report = force(bench, run)
        assert (report.canceled, report.hung_up, report.pending) == (3, 2, 0)
        bench.await_true(lambda: bench.view(run.id).counts.canceled == 5, "the carrier's word on both")
        assert bench.report()["live"] == 0
        bench.check()
        bench.work_to_the_end(run)
        assert bench.view(run.id).status == "cancelled"
        bench.check(at_rest=True)

    def test_open_attempts_keep_their_slots_until_the_carriers_word(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        bench.dial()
        bench.await_status(LEAD, "in_progress")
        bench.faults(callback_lose=1)
        force(bench, run)
        assert bench.job(LEAD)["status"] == "canceling"
        assert bench.runtime.slots.active(bench.business_id) == 1
        bench.check()
        bench.faults()
        settle_silent(bench.runtime, silent_s=0)
        assert bench.job(LEAD)["status"] == "canceled"
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_a_call_that_was_not_sent_yet_ends_at_once_and_counts_as_no_attempt(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        admitted = bench.admit()
        report = force(bench, run)
        assert (report.canceled, report.hung_up, report.pending) == (1, 0, 0)
        bench.dial(admitted)
        assert bench.calls_to(LEAD) == 0
        job = bench.job(LEAD)
        assert (job["status"], job["attempts"]) == ("canceled", 0)
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_a_carrier_that_is_away_leaves_calls_pending_and_the_sweep_hangs_them_up(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        bench.dial()
        bench.await_status(LEAD, "in_progress")
        settings = bench.runtime.settings.model_copy(update={"twilio_base_url": f"http://127.0.0.1:{free_port()}"})
        away = replace(bench.runtime, carrier=TwilioCarrier(settings))
        report = force_cancel(away, bench.business_id, run.job_id or 0)
        assert (report.hung_up, report.pending) == (0, 1)
        assert bench.job(LEAD)["status"] == "canceling"
        settle_silent(bench.runtime, silent_s=0)
        bench.await_status(LEAD, "canceled")
        assert bench.report()["live"] == 0
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_repeating_it_hangs_up_what_was_not_reached_and_does_no_other_harm(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, OTHER)
        bench.dial()
        bench.await_status(LEAD, "in_progress")
        bench.faults(query_5xx=1)
        assert force(bench, run).pending == 1
        bench.faults()
        assert force(bench, run).hung_up == 1
        bench.await_status(LEAD, "canceled")
        assert force(bench, run).hung_up == 0
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_a_long_queue_is_ended_in_part_by_the_request_and_then_by_the_runs_job(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(600))
        report = force(bench, run)
        assert 0 < report.canceled < 600
        bench.check()
        (view,) = bench.work_to_the_end(run)
        assert view.counts.canceled == 600
        bench.check(at_rest=True)

    def test_nobody_can_cancel_another_businesss_run(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        with pytest.raises(RunNotFoundError):
            force_cancel(bench.runtime, bench.another_business(), run.job_id or 0)
        assert bench.view(run.id).status == "running"


class TestWhatArrivesLate:
    @pytest.fixture(autouse=True)
    def ringing(self, bench: CallsBench) -> None:
        """Nobody answers, so that no request for what to say ends the call before anything else does."""
        bench.script(LEAD, ring_seconds=60)

    def test_a_sid_that_arrives_after_the_cancel_is_hung_up(self, bench: CallsBench) -> None:
        bench.faults(callback_lose=1)
        run = bench.start(LEAD)
        bench.dial(before_answer=lambda: force(bench, run))
        assert bench.attempt(LEAD)["call_sid"] is not None
        assert bench.report()["live"] == 0
        bench.faults()
        settle_silent(bench.runtime, silent_s=0)
        assert bench.job(LEAD)["status"] == "canceled"
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_a_callback_that_arrives_after_the_cancel_is_hung_up_without_any_worker(self, bench: CallsBench) -> None:
        """The answer to the create call was lost, so nobody knew whom to hang up."""
        bench.faults(create_lose_answer=1, callback_lose=1)
        run = bench.start(LEAD)
        admitted = bench.dial()
        report = force(bench, run)
        assert (report.hung_up, report.pending) == (0, 1)
        bench.faults()
        sid = bench.sid_at_carrier(LEAD)
        bench.callback(admitted.attempt.id, "ringing", CallSid=sid)
        bench.await_status(LEAD, "canceled")
        assert bench.report()["live"] == 0
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_a_hang_up_that_failed_in_a_webhook_is_done_by_the_next_pump(self, bench: CallsBench) -> None:
        bench.faults(create_lose_answer=1, callback_lose=1)
        run = bench.start(LEAD)
        admitted = bench.dial()
        force(bench, run)
        sid = bench.sid_at_carrier(LEAD)
        bench.faults(query_5xx=1)
        bench.callback(admitted.attempt.id, "ringing", CallSid=sid)
        assert bench.report()["live"] == 1
        bench.faults()
        bench.work_until(lambda: bench.report()["live"] == 0, "the hang-up")
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_a_call_that_turns_up_after_it_was_given_up_is_hung_up(self, bench: CallsBench) -> None:
        """It ended as outcome_unknown and holds no slot: it must not go on outside the cap."""
        bench.faults(create_lose_answer=1, callback_lose=1, query_5xx=1)
        bench.start(LEAD)
        admitted = bench.dial()
        with bench.session() as session:
            apply_event(session, bench.runtime, admitted.attempt.id, CallEvent.OUTCOME_UNKNOWN)
        bench.faults()
        sid = bench.sid_at_carrier(LEAD)
        bench.callback(admitted.attempt.id, "in-progress", CallSid=sid)
        bench.await_true(lambda: bench.report()["live"] == 0, "the hang-up")
        attempt = bench.attempt(LEAD)
        assert (attempt["state"], attempt["call_sid"]) == ("failed", sid)
        bench.check()

    def test_who_answers_a_call_that_is_being_hung_up_or_was_given_up_hears_nothing(self, bench: CallsBench) -> None:
        bench.faults(create_lose_answer=1, callback_lose=1)
        bench.start(LEAD, OTHER)
        first, second = bench.dial(), bench.dial()
        for admitted, event in ((first, CallEvent.CANCEL_REQUESTED), (second, CallEvent.OUTCOME_UNKNOWN)):
            ref = callbacks.find_attempt(bench.runtime, str(admitted.attempt.id), {})
            assert ref is not None
            assert "Hello Lead" in callbacks.voice_response(bench.runtime, ref)
            with bench.session() as session:
                apply_event(session, bench.runtime, admitted.attempt.id, event)
            assert "<Hangup/>" in callbacks.voice_response(bench.runtime, ref)


class TestLocks:
    """Webhooks, admission, cancel and force-cancel take their locks in one order: none is ever chosen as a victim."""

    def test_force_cancel_waits_for_a_webhook_instead_of_locking_it_out(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, OTHER)
        live = bench.dial()
        bench.await_status(LEAD, "in_progress")
        with ThreadPoolExecutor(max_workers=1) as pool:
            with bench.session() as webhook:
                webhook.get_one(OutboundCallJob, live.attempt.job_id, with_for_update={"key_share": True})
                request = pool.submit(force, bench, run)
                self._await_a_lock(bench)
                apply_event(webhook, bench.runtime, live.attempt.id, CallEvent.COMPLETED)
            assert request.result(timeout=20).canceled == 1
        assert bench.job(LEAD)["status"] == "completed"

    def test_cancel_waits_for_an_admission_that_passed_over_a_listed_number(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, OTHER)
        with bench.session() as session:
            do_not_call.add(session, [LEAD])
        with ThreadPoolExecutor(max_workers=1) as pool:
            with bench.session() as admission:
                admit_next(admission, bench.runtime)
                request = pool.submit(self._cancel, bench, run)
                self._await_a_lock(bench)
            request.result(timeout=20)
        assert bench.view(run.id).status == "cancelled"
        assert bench.job(OTHER)["status"] == "dialing"

    def test_force_cancel_in_a_storm_of_webhooks_leaves_everything_in_order(self, bench: CallsBench) -> None:
        leads = numbers(16)
        bench.execute("UPDATE businesses SET call_cap = 20")
        bench.sim("POST", "script", {"outcome": "answer", "talk_seconds": 0.05, "ring_seconds": 0.01})
        bench.faults(callback_duplicate=0.7, callback_delay=0.5, callback_delay_seconds=0.3)
        run = bench.start(*leads)

        def place() -> None:
            for _ in leads:
                with bench.session() as session:
                    outcome = admit_next(session, bench.runtime)
                if isinstance(outcome, Admitted):
                    dial(bench.runtime, outcome)

        def cancel() -> None:
            bench.await_true(lambda: bench.report()["calls"] > 4, "some calls")
            for _ in range(3):
                force(bench, run)

        with ThreadPoolExecutor(max_workers=2) as pool:
            for job in (pool.submit(place), pool.submit(cancel)):
                job.result(timeout=60)
        bench.await_carrier()
        bench.faults()
        (view,) = bench.work_to_the_end(run)
        assert view.counts.canceled + view.counts.completed == len(leads)
        bench.check(at_rest=True)

    @staticmethod
    def _cancel(bench: CallsBench, run: RunView) -> None:
        with bench.session() as session:
            service.cancel_run(session, bench.runtime, run.job_id or 0)

    @staticmethod
    def _await_a_lock(bench: CallsBench) -> None:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        bench.await_true(lambda: bench.value(waiting) > 0, "the other transaction to wait for a lock")
