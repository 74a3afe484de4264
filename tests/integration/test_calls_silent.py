"""Calls that ended, or fell silent, without a word: the carrier is asked, how often, and what its answer does."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from integration.calls_carrier import DisturbedCarrier, KilledError
from integration.calls_support import CallsBench, numbers
from switchboard_core.calls.carrier import Carrier, CarrierCall, CarrierUnavailableError
from switchboard_core.calls.cleanup import ANSWER_AWAITED_S, cleanup_stuck_dialing_jobs, settle_silent
from switchboard_core.calls.schemas import CleanupReport

LEAD, OTHER = numbers(2)
STRANGER = "CA" + "5" * 32


class _Silent(DisturbedCarrier):
    """Does not answer questions about some calls."""

    def __init__(self, carrier: Carrier, sids: set[str]) -> None:
        super().__init__(carrier)
        self._sids = sids

    def fetch(self, call_sid: str) -> CarrierCall | None:
        if call_sid in self._sids:
            raise CarrierUnavailableError("503")
        return super().fetch(call_sid)


class _Fatal(DisturbedCarrier):
    """Whoever asks it is killed before the answer."""

    def fetch(self, call_sid: str) -> CarrierCall | None:
        raise KilledError(call_sid)


class _Behind(DisturbedCarrier):
    """Says that its calls were made earlier than they were sent, and knows an older one of somebody else."""

    def find(self, to_number: str, since: datetime) -> list[CarrierCall]:
        (call,) = super().find(to_number, datetime(2000, 1, 1, tzinfo=UTC))
        assert call.created_at is not None
        found = (
            replace(call, sid=STRANGER, status="failed", created_at=call.created_at - timedelta(seconds=40)),
            replace(call, created_at=call.created_at - timedelta(seconds=25)),
        )
        return [each for each in found if each.created_at is not None and each.created_at >= since]


def test_calls_that_ended_without_a_word_are_settled_and_their_slots_freed(bench: CallsBench) -> None:
    bench.script(OTHER, "busy")
    run = bench.start(LEAD, OTHER, retry_after_s={})
    bench.faults(callback_lose=1)
    bench.dial()
    bench.dial()
    bench.await_carrier()
    assert bench.runtime.slots.active(bench.business_id) == 2
    bench.age(100)
    report = cleanup_stuck_dialing_jobs(bench.runtime)
    assert (report.attempts_checked, report.attempts_settled) == (2, 2)
    assert [bench.job(lead)["status"] for lead in (LEAD, OTHER)] == ["completed", "busy"]
    bench.slices(run)
    bench.check(at_rest=True)


def test_a_call_that_the_carrier_has_forgotten_ends_after_the_window(bench: CallsBench) -> None:
    bench.script(LEAD, talk_seconds=60)
    run = bench.start(LEAD)
    bench.dial()
    bench.await_status(LEAD, "in_progress")
    bench.sim("POST", "reset")
    bench.age(130)
    assert cleanup_stuck_dialing_jobs(bench.runtime).attempts_settled == 1
    assert bench.job(LEAD)["reason"] == "outcome_unknown"
    bench.work_to_the_end(run)
    assert bench.value("SELECT count(*) FROM call_attempts") == 1


def test_a_call_whose_answer_was_lost_is_found_though_the_carriers_clock_is_behind(bench: CallsBench) -> None:
    """And it is that call, not one that somebody else has made to the number on the same account."""
    run = bench.start(LEAD)
    bench.faults(callback_lose=1, create_lose_answer=1)
    bench.dial()
    bench.await_carrier()
    assert bench.attempt(LEAD)["call_sid"] is None
    bench.age(15.1)
    assert settle_silent(replace(bench.runtime, carrier=_Behind(bench.runtime.carrier))).attempts_settled == 1
    assert bench.attempt(LEAD)["call_sid"] == bench.sid_at_carrier(LEAD)
    assert bench.job(LEAD)["status"] == "completed"
    bench.slices(run)
    bench.check(at_rest=True)


def test_a_question_that_the_carrier_did_not_answer_is_asked_again_within_seconds(bench: CallsBench) -> None:
    """A fault run found it: one 503 kept the slot for another whole silence, longer than the 30 s promised."""
    run = bench.start(LEAD)
    bench.faults(callback_lose=1)
    bench.dial()
    bench.await_carrier()
    bench.age(15.1)
    bench.faults(query_5xx=1)
    assert settle_silent(bench.runtime) == CleanupReport(attempts_checked=1)
    bench.faults()
    bench.age(0.9)
    assert settle_silent(bench.runtime) == CleanupReport()  # not at once: a carrier that is away is not stormed
    bench.age(0.2)
    assert settle_silent(bench.runtime) == CleanupReport(attempts_checked=1, attempts_settled=1)
    bench.slices(run)
    bench.check(at_rest=True)


def test_a_question_whose_asker_was_killed_is_asked_again_within_seconds(bench: CallsBench) -> None:
    """A fault run found it (seed 34355): the next one asked only after another whole silence."""
    run = bench.start(LEAD)
    bench.faults(callback_lose=1)
    bench.dial()
    bench.await_carrier()
    bench.age(15.1)
    with pytest.raises(KilledError):
        settle_silent(replace(bench.runtime, carrier=_Fatal(bench.runtime.carrier)))
    assert settle_silent(bench.runtime) == CleanupReport()  # who asked may still get its answer
    bench.age(ANSWER_AWAITED_S + 0.1)
    assert settle_silent(bench.runtime) == CleanupReport(attempts_checked=1, attempts_settled=1)
    bench.slices(run)
    bench.check(at_rest=True)


def test_a_call_that_lives_is_asked_about_once_in_a_silence(bench: CallsBench) -> None:
    bench.script(LEAD, talk_seconds=60)
    bench.start(LEAD)
    bench.dial()
    bench.await_status(LEAD, "in_progress")
    bench.age(15.1)
    assert settle_silent(bench.runtime) == CleanupReport(attempts_checked=1)
    bench.age(ANSWER_AWAITED_S + 0.1)
    assert settle_silent(bench.runtime) == CleanupReport()


def test_questions_that_fail_again_and_again_hold_up_no_other(bench: CallsBench) -> None:
    others = numbers(4, 5_553_000)
    bench.execute("UPDATE businesses SET call_cap = 5")
    bench.faults(callback_lose=1)
    bench.start(*others, LEAD)
    for _ in range(5):
        bench.dial()
    bench.await_carrier()
    bench.age(15.1)
    refused = {str(bench.attempt(number)["call_sid"]) for number in others}
    runtime = replace(bench.runtime, carrier=_Silent(bench.runtime.carrier, refused))
    passes = [settle_silent(runtime)]
    bench.age(1.1)
    passes.append(settle_silent(runtime))
    assert sum(report.attempts_settled for report in passes) == 1
    assert bench.job(LEAD)["status"] == "completed"


def test_doing_it_twice_at_once_does_no_harm(bench: CallsBench) -> None:
    leads = numbers(8)
    run = bench.start(*leads)
    bench.faults(callback_lose=1)
    for _ in leads:
        bench.dial()
    bench.await_carrier()
    bench.age(100)
    with ThreadPoolExecutor(max_workers=4) as pool:
        settled = [pool.submit(cleanup_stuck_dialing_jobs, bench.runtime) for _ in range(4)]
        assert sum(report.result().attempts_settled for report in settled) == len(leads)
    bench.slices(run)
    assert bench.task(run)["done"] == len(leads)
    bench.check(at_rest=True)
