"""What becomes of a create call: each answer, no answer, and a worker that is killed around it. Never a second call."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from integration.calls_servers import DIAL_DEADLINE_S, calls_bench
from integration.calls_support import CallsBench, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey, free_port
from switchboard_core.calls.admission import Idle, admit_next
from switchboard_core.calls.asking import ASKERS, GIVE_UP_AFTER
from switchboard_core.calls.cleanup import cleanup_stuck_dialing_jobs, settle_silent
from switchboard_core.calls.dial import _write_down, dial
from switchboard_core.calls.policy import BREAKER_THRESHOLD
from switchboard_core.calls.settle import Evidence
from switchboard_core.calls.states import CallEvent
from switchboard_core.calls.twilio_carrier import TwilioCarrier
from switchboard_core.runtime import Runtime

LEAD, OTHER = numbers(2)
WINDOW_S = 120.0


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey, carrier_read_timeout_seconds=1.0) as bench:
        yield bench


def with_carrier_at(bench: CallsBench, url: str, **settings: object) -> Runtime:
    changed = bench.runtime.settings.model_copy(update={"twilio_base_url": url, **settings})
    return replace(bench.runtime, settings=changed, carrier=TwilioCarrier(changed))


class TestAnswers:
    def test_a_call_that_is_taken_is_known_by_its_sid_at_once(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=5)
        bench.start(LEAD)
        bench.dial()
        attempt = bench.attempt(LEAD)
        assert attempt["call_sid"].startswith("CA")
        assert attempt["sent_at"] is not None
        assert bench.job(LEAD)["status"] in {"dialing", "ringing", "in_progress"}
        bench.check()

    @pytest.mark.parametrize("code", [21211, 21214, 21217, 13224])
    def test_a_number_that_the_carrier_refuses_fails_with_the_reason(self, bench: CallsBench, code: int) -> None:
        bench.script(LEAD, "reject", error_code=code)
        run = bench.start(LEAD, retry_after_s={"busy": 1})
        bench.dial()
        job = bench.job(LEAD)
        assert job["status"] == "failed"
        assert f"carrier error {code}" in job["reason"]
        bench.slices(run)
        task = bench.task(run)
        assert (task["done"], task["failed"]) == (0, 1)
        assert f"carrier error {code}" in task["errors"][0]["message"]
        assert LEAD not in str(task["errors"]), "no phone number in the errors of a task"
        assert bench.view(run.id).status == "completed"
        bench.check(at_rest=True)

    def test_a_429_counts_nothing_and_is_tried_again(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, max_attempts=1)
        bench.faults(create_429=1)
        bench.dial()
        job, attempt = bench.job(LEAD), bench.attempt(LEAD)
        assert (job["status"], job["attempts"], job["setbacks"]) == ("queued", 0, 1)
        assert attempt["state"] == "not_placed"
        assert bench.value("SELECT next_attempt_at > clock_timestamp() FROM outbound_call_jobs")
        assert bench.value("SELECT breaker_failures FROM businesses") == 0
        bench.faults()
        bench.age(10)
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 1
        assert bench.calls_to(LEAD) == 1
        bench.check(at_rest=True)

    def test_many_429s_in_a_row_never_use_up_the_attempts_of_a_lead(self, bench: CallsBench) -> None:
        bench.start(LEAD, max_attempts=1)
        bench.faults(create_429=1)
        for setbacks in range(1, 6):
            bench.dial()
            bench.age(400)
            assert bench.job(LEAD)["setbacks"] == setbacks
        bench.faults()
        bench.dial()
        bench.await_status(LEAD, "completed")
        assert bench.job(LEAD)["setbacks"] == 0

    def test_an_account_that_is_refused_fails_no_lead_and_opens_the_breaker(self, bench: CallsBench) -> None:
        leads = numbers(BREAKER_THRESHOLD)
        bench.start(*leads)
        barred = with_carrier_at(bench, bench.simulator_url, twilio_auth_token=SecretStr("wrong"))
        for _ in leads:
            dial_by(bench, barred)
        assert {bench.job(lead)["status"] for lead in leads} == {"queued"}
        assert bench.value("SELECT sum(attempts) FROM outbound_call_jobs") == 0
        bench.age(400)
        with bench.session() as session:
            idle = admit_next(session, bench.runtime)
        assert isinstance(idle, Idle)
        assert idle.why == "the breaker is open"
        assert bench.report()["calls"] == 0
        bench.check()

    def test_a_carrier_that_refuses_the_connection_was_certainly_sent_nothing(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        dial_by(bench, with_carrier_at(bench, f"http://127.0.0.1:{free_port()}"))
        attempt, job = bench.attempt(LEAD), bench.job(LEAD)
        assert (attempt["state"], attempt["sent_at"]) == ("not_placed", None)
        assert (job["status"], job["attempts"]) == ("queued", 0)
        assert job["reason"].startswith("the carrier cannot be reached")
        bench.check()

    def test_a_carrier_whose_name_is_not_known_was_certainly_sent_nothing(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        dial_by(bench, with_carrier_at(bench, "http://carrier.invalid"))
        assert bench.attempt(LEAD)["state"] == "not_placed"
        bench.check()

    def test_an_attempt_that_is_too_old_is_not_sent_any_more(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        admitted = bench.admit()
        bench.age(DIAL_DEADLINE_S)
        bench.dial(admitted)
        assert bench.attempt(LEAD)["state"] == "not_placed"
        assert bench.calls_to(LEAD) == 0
        bench.check()

    def test_an_attempt_is_sent_once_however_often_it_is_dialled(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=5)
        bench.start(LEAD)
        admitted = bench.dial()
        bench.dial(admitted)
        assert bench.calls_to(LEAD) == 1
        bench.check()


class TestLostAnswers:
    """The call exists or it does not, and nobody knows: it keeps its slot until somebody does."""

    LOST = ("create_lose_answer", "create_hang", "create_5xx_after")

    @pytest.mark.parametrize("fault", LOST)
    def test_the_callbacks_of_the_call_tell_how_it_ended(self, bench: CallsBench, fault: str) -> None:
        run = bench.start(LEAD)
        bench.faults(**{fault: 1})
        bench.dial()
        bench.await_status(LEAD, "completed")
        assert bench.attempt(LEAD)["call_sid"].startswith("CA")
        bench.slices(run)
        assert bench.calls_to(LEAD) == 1
        bench.check(at_rest=True)

    @pytest.mark.parametrize("fault", LOST)
    def test_without_callbacks_the_carriers_list_tells(self, bench: CallsBench, fault: str) -> None:
        run = bench.start(LEAD)
        bench.faults(**{fault: 1}, callback_lose=1)
        bench.dial()
        assert bench.job(LEAD)["status"] == "uncertain"
        bench.check()
        bench.await_carrier()
        bench.faults()
        assert settle_silent(bench.runtime, silent_s=0).attempts_settled == 1
        assert bench.job(LEAD)["status"] == "completed"
        bench.slices(run)
        assert bench.calls_to(LEAD) == 1
        bench.check(at_rest=True)

    def test_a_call_that_nobody_knows_ends_after_the_window_and_is_never_dialled_again(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, retry_after_s={"failed": 0, "busy": 0, "no_answer": 0}, max_attempts=5)
        bench.faults(create_5xx_before=1)
        bench.dial()
        for _ in range(2):
            bench.age(WINDOW_S / 2 - 1)
            assert settle_silent(bench.runtime, silent_s=0).attempts_settled == 0
            assert bench.job(LEAD)["status"] == "uncertain"
            bench.check()
        bench.age(3)
        bench.faults()
        assert settle_silent(bench.runtime, silent_s=0).attempts_settled == 1
        job = bench.job(LEAD)
        assert (job["status"], job["reason"], job["attempts"]) == ("failed", "outcome_unknown", 1)
        bench.work_to_the_end(run)
        assert bench.calls_to(LEAD) == 0
        assert len(bench.attempts(LEAD)) == 1
        bench.check(at_rest=True)

    def test_an_uncertain_call_keeps_its_slot(self, bench: CallsBench) -> None:
        bench.execute("UPDATE businesses SET call_cap = 1")
        bench.start(LEAD, OTHER)
        bench.faults(create_5xx_before=1)
        bench.dial()
        bench.faults()
        with bench.session() as session:
            assert admit_next(session, bench.runtime) == Idle("every slot is taken")

    def test_while_the_carrier_cannot_be_asked_nothing_is_concluded(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        bench.faults(create_5xx_before=1, query_5xx=1)
        bench.dial()
        bench.age(WINDOW_S + 1)
        assert settle_silent(bench.runtime, silent_s=0).attempts_settled == 0
        assert bench.job(LEAD)["status"] == "uncertain"

    def test_a_call_of_another_business_to_the_same_number_is_not_taken_for_ours(self, bench: CallsBench) -> None:
        """Both call through one account. The other's call ended a moment before ours was sent and never arrived."""
        other = bench.another_business()
        bench.start(LEAD)
        bench.start(LEAD, business_id=other)
        theirs = bench.admit(other)
        bench.dial(theirs)
        bench.await_status(LEAD, "completed")
        bench.faults(create_5xx_before=1)
        bench.dial()
        bench.faults()
        settle_silent(bench.runtime, silent_s=0)
        mine = bench.rows("SELECT * FROM call_attempts WHERE business_id = %s", bench.business_id)
        assert [(row["state"], row["call_sid"]) for row in mine] == [("uncertain", None)]
        bench.age(WINDOW_S + 1)
        settle_silent(bench.runtime, silent_s=0)
        assert bench.rows("SELECT state FROM call_attempts WHERE business_id = %s", bench.business_id) == [
            {"state": "failed"}
        ]
        bench.check()

    def test_a_retry_is_not_taken_for_the_call_before_it(self, bench: CallsBench) -> None:
        bench.script(LEAD, "busy")
        bench.start(LEAD, retry_after_s={"busy": 0})
        bench.dial()
        bench.await_status(LEAD, "queued")
        bench.faults(create_5xx_before=1)
        bench.dial()
        bench.faults()
        settle_silent(bench.runtime, silent_s=0)
        first, second = bench.attempts(LEAD)
        assert (first["state"], second["state"], second["call_sid"]) == ("busy", "uncertain", None)

    def test_a_slow_429_behind_the_sweeps_back_puts_the_lead_back(self, bench: CallsBench) -> None:
        """The sweep gave the answer up, then it came and said that nothing was placed."""
        bench.start(LEAD)
        admitted = bench.die_dialling("before_send")
        bench.age(DIAL_DEADLINE_S + 2)
        cleanup_stuck_dialing_jobs(bench.runtime)
        assert bench.job(LEAD)["status"] == "uncertain"
        _write_down(bench.runtime, bench.business_id, admitted.attempt.id, CallEvent.NOT_SENT, Evidence(reason="429"))
        assert bench.job(LEAD)["status"] == "queued"
        bench.check()

    def test_a_carrier_that_is_away_is_not_asked_about_every_call(self, bench: CallsBench) -> None:
        leads = numbers(8)
        bench.start(*leads)
        bench.faults(create_5xx_before=1, query_5xx=1)
        bench.execute("UPDATE businesses SET breaker_failures = -100")
        for _ in leads:
            bench.dial()
        # The last of them came without an answer while the others were under way.
        assert settle_silent(bench.runtime, silent_s=0).attempts_checked < GIVE_UP_AFTER + ASKERS
        bench.faults()
        assert settle_silent(bench.runtime, silent_s=0).attempts_checked == len(leads)


class TestKilledWorkers:
    def test_before_the_last_look_nothing_was_sent_and_the_lead_is_called_later(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        bench.admit()
        bench.check()
        assert cleanup_stuck_dialing_jobs(bench.runtime).attempts_settled == 0, "it may be in a live worker's hands"
        bench.age(DIAL_DEADLINE_S + 2)
        assert cleanup_stuck_dialing_jobs(bench.runtime).attempts_settled == 1
        job = bench.job(LEAD)
        assert (job["status"], job["attempts"]) == ("queued", 0)
        bench.age(10)
        bench.work_to_the_end(run)
        assert bench.calls_to(LEAD) == 1
        bench.check(at_rest=True)

    def test_a_worker_that_wakes_up_late_is_refused_by_the_last_look(self, bench: CallsBench) -> None:
        """Its attempt was settled and the lead called again: the old attempt must not become a second call."""
        bench.script(LEAD, talk_seconds=3)
        bench.start(LEAD)
        stopped = bench.admit()
        bench.age(DIAL_DEADLINE_S + 2)
        cleanup_stuck_dialing_jobs(bench.runtime)
        bench.age(10)
        bench.dial()
        bench.dial(stopped)
        assert bench.calls_to(LEAD) == 1
        assert bench.attempts(LEAD)[0]["state"] == "not_placed"
        bench.check()

    def test_between_the_last_look_and_the_send_nobody_knows_and_nobody_calls_again(self, bench: CallsBench) -> None:
        run = bench.start(LEAD, retry_after_s={"failed": 0}, max_attempts=3)
        bench.die_dialling("before_send")
        bench.age(DIAL_DEADLINE_S + 2)
        cleanup_stuck_dialing_jobs(bench.runtime)
        assert bench.job(LEAD)["status"] == "uncertain"
        bench.age(WINDOW_S)
        cleanup_stuck_dialing_jobs(bench.runtime)
        assert bench.job(LEAD)["reason"] == "outcome_unknown"
        bench.work_to_the_end(run)
        assert bench.calls_to(LEAD) == 0
        bench.check(at_rest=True)

    def test_between_the_send_and_the_answer_the_callbacks_tell(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        bench.die_dialling("before_answer")
        bench.await_status(LEAD, "completed")
        bench.slices(run)
        assert bench.calls_to(LEAD) == 1
        bench.check(at_rest=True)

    def test_between_the_send_and_the_answer_the_carriers_list_tells(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        bench.faults(callback_lose=1)
        bench.die_dialling("before_answer")
        bench.await_carrier()
        bench.age(DIAL_DEADLINE_S + 2)
        assert cleanup_stuck_dialing_jobs(bench.runtime).attempts_settled == 1
        bench.slices(run)
        assert bench.job(LEAD)["status"] == "completed"
        assert bench.calls_to(LEAD) == 1
        bench.check(at_rest=True)

    def test_a_call_that_goes_on_is_left_alone_by_the_clean_up(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        bench.die_dialling("before_answer")
        bench.await_status(LEAD, "in_progress")
        bench.age(1000)
        report = cleanup_stuck_dialing_jobs(bench.runtime)
        assert (report.attempts_checked, report.attempts_settled) == (1, 0)
        assert bench.job(LEAD)["status"] == "in_progress"
        assert bench.report()["live"] == 1


class TestBreaker:
    def test_it_opens_after_five_failures_and_a_call_that_works_closes_it(self, bench: CallsBench) -> None:
        leads = numbers(BREAKER_THRESHOLD + 2)
        run = bench.start(*leads)
        away = with_carrier_at(bench, f"http://127.0.0.1:{free_port()}")
        for _ in range(BREAKER_THRESHOLD):
            dial_by(bench, away)
        bench.age(1000)
        assert not bench.pump(run)
        assert bench.report()["calls"] == 0
        view = bench.view(run.id)
        assert view.waiting_for == "the carrier fails; calls are tried again later"
        assert view.next_call_at == bench.value("SELECT breaker_open_until FROM businesses")
        bench.execute("UPDATE businesses SET breaker_open_until = clock_timestamp(), next_wake_at = NULL")
        bench.work_to_the_end(run)
        assert bench.value("SELECT breaker_failures FROM businesses") == 0
        bench.check(at_rest=True)

    def test_after_its_time_one_call_probes_before_the_others_follow(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=10)
        bench.start(LEAD, OTHER)
        bench.execute("UPDATE businesses SET breaker_failures = 5, breaker_open_until = clock_timestamp()")
        probe = bench.admit()
        assert why_not(bench) == "a probe is on its way to the carrier"
        bench.dial(probe)
        assert bench.admit().attempt.id != probe.attempt.id

    def test_a_conversation_that_goes_on_is_no_probe(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(*numbers(3))
        conversation = bench.admit()
        bench.dial(conversation)
        bench.execute("UPDATE businesses SET breaker_failures = 5, breaker_open_until = clock_timestamp()")
        probe = bench.admit()
        assert why_not(bench) == "a probe is on its way to the carrier"
        bench.dial(probe)
        assert bench.admit().attempt.id not in {conversation.attempt.id, probe.attempt.id}

    def test_a_probe_that_fails_opens_it_for_longer(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        bench.execute("UPDATE businesses SET breaker_failures = 5, breaker_open_until = clock_timestamp()")
        bench.faults(create_5xx_before=1)
        bench.dial()
        assert bench.value("SELECT breaker_open_until > clock_timestamp() + interval '50 s' FROM businesses")

    def test_a_number_that_is_refused_says_nothing_against_the_carrier(self, bench: CallsBench) -> None:
        bench.execute("UPDATE businesses SET breaker_failures = 4")
        bench.script(LEAD, "reject")
        bench.start(LEAD)
        bench.dial()
        assert bench.value("SELECT breaker_failures FROM businesses") == 0


def why_not(bench: CallsBench) -> str:
    """Why no call is admitted now."""
    with bench.session() as session:
        idle = admit_next(session, bench.runtime)
    assert isinstance(idle, Idle)
    return idle.why


def dial_by(bench: CallsBench, runtime: Runtime) -> None:
    """Dial the next call with another carrier."""
    dial(runtime, bench.admit())
