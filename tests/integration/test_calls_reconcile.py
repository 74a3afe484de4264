"""``switchboard reconcile``: rows that went back in time, held against what the carrier has done since."""

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from integration.calls_support import CallsBench, numbers
from switchboard_cli.main import app
from switchboard_core.calls.carrier import CarrierUnavailableError
from switchboard_core.calls.reconcile import CALLED, Reconciled, reconcile
from switchboard_core.calls.service import resume_run

LEAD, OTHER, THIRD = numbers(3)


def reconciled(bench: CallsBench) -> Reconciled:
    return reconcile(bench.runtime, datetime.now(UTC) - timedelta(minutes=5))


def forget_calls(bench: CallsBench) -> None:
    """Bring the rows back to where nobody had been called."""
    bench.execute("DELETE FROM call_attempts")
    bench.execute("UPDATE outbound_call_jobs SET status = 'queued', attempts = 0, finished_at = NULL, reason = NULL")
    bench.execute("UPDATE background_jobs SET done = 0, failed = 0")


def test_who_was_called_since_is_taken_out_and_everybody_else_stays(bench: CallsBench) -> None:
    run = bench.start(LEAD, OTHER, THIRD)
    for _ in range(2):
        bench.dial()
    bench.await_carrier()
    called = {number for number in (LEAD, OTHER, THIRD) if bench.calls_to(number)}
    forget_calls(bench)

    report = reconciled(bench)
    assert (report.calls, report.skipped, report.settled, report.live) == (2, 2, 0, 0)
    assert report.paused == [(bench.business_id, run.id)]
    assert {
        row["to_number"] for row in bench.rows("SELECT * FROM outbound_call_jobs WHERE reason = %s", CALLED)
    } == called
    assert bench.task(run)["done"] == 2
    assert bench.view(run.id).status == "paused"
    assert reconciled(bench).skipped == 0


def test_a_call_that_goes_on_and_that_no_row_knows_is_counted(bench: CallsBench) -> None:
    bench.script(LEAD, talk_seconds=60)
    bench.start(LEAD)
    bench.dial()
    bench.await_status(LEAD, "in_progress")
    forget_calls(bench)
    report = reconciled(bench)
    assert (report.live, report.skipped) == (1, 1)


def test_a_backup_from_between_commit_and_send_knows_its_call(bench: CallsBench) -> None:
    """The sweep would conclude from the row that nothing was ever sent, and call again."""
    bench.start(LEAD)
    bench.dial()
    bench.await_status(LEAD, "completed")
    bench.execute(
        "UPDATE call_attempts SET state = 'dialing', call_sid = NULL, sent_at = NULL, settled_at = NULL, "
        "carrier_status = NULL"
    )
    bench.execute("UPDATE outbound_call_jobs SET status = 'dialing', attempts = 0, finished_at = NULL")
    bench.execute("UPDATE background_jobs SET done = 0")
    report = reconciled(bench)
    assert (report.settled, report.skipped) == (1, 0)
    attempt, job = bench.attempt(LEAD), bench.job(LEAD)
    assert (attempt["state"], attempt["call_sid"]) == ("completed", bench.sid_at_carrier(LEAD))
    assert (job["status"], job["attempts"]) == ("completed", 1)
    bench.check()


def test_an_attempt_that_the_carrier_never_had_goes_back_to_its_queue(bench: CallsBench) -> None:
    bench.start(LEAD)
    bench.admit()
    report = reconciled(bench)
    assert (report.settled, report.skipped) == (1, 0)
    assert bench.job(LEAD)["status"] == "queued"


def test_an_attempt_that_was_sent_and_that_nobody_knows_is_never_dialled_again(bench: CallsBench) -> None:
    bench.start(LEAD, retry_after_s={"failed": 0})
    bench.die_dialling("before_send")
    reconciled(bench)
    assert (bench.job(LEAD)["status"], bench.job(LEAD)["reason"]) == ("failed", "outcome_unknown")
    bench.check()


def test_a_run_that_had_not_listed_its_leads_lists_them_first(bench: CallsBench) -> None:
    before = bench.start(LEAD)
    bench.dial()
    bench.await_carrier()
    bench.execute("DELETE FROM outbound_call_runs")
    bench.execute("DELETE FROM background_jobs")
    run = bench.create()
    assert run.id != before.id
    report = reconciled(bench)
    assert (report.skipped, report.unexpanded) == (1, [])
    assert bench.view(run.id).status == "paused"
    assert bench.job(LEAD)["status"] == "skipped"


def test_a_number_that_was_called_is_taken_out_of_every_business(bench: CallsBench) -> None:
    """The carrier's list does not say whose call it was: better one call too few."""
    bench.start(LEAD)
    bench.dial()
    bench.await_carrier()
    other = bench.another_business()
    bench.start(LEAD, business_id=other)
    bench.execute("DELETE FROM call_attempts")
    bench.execute("UPDATE outbound_call_jobs SET status = 'queued', attempts = 0, finished_at = NULL")
    bench.execute("UPDATE background_jobs SET done = 0, failed = 0")
    assert reconciled(bench).skipped == 2


def test_resumed_the_run_ends_without_calling_anybody_twice(bench: CallsBench) -> None:
    run = bench.start(LEAD, OTHER)
    bench.dial()
    bench.await_carrier()
    forget_calls(bench)
    reconciled(bench)
    with bench.session() as session:
        resume_run(session, bench.runtime, run.id)
    bench.work_to_the_end(run)
    assert [bench.calls_to(number) for number in (LEAD, OTHER)] == [1, 1]


def test_while_the_carrier_is_away_every_run_is_paused_and_nothing_concluded(bench: CallsBench) -> None:
    run = bench.start(LEAD)
    bench.faults(query_5xx=1)
    with pytest.raises(CarrierUnavailableError):
        reconciled(bench)
    assert bench.view(run.id).status == "paused"
    assert bench.job(LEAD)["status"] == "queued"


@pytest.mark.parametrize("since", ["yesterday", "2026-01-26T11:05:00"])
def test_a_moment_without_a_zone_is_refused(since: str) -> None:
    ran = CliRunner().invoke(app, ["reconcile", "--since", since, "--yes"])
    assert ran.exit_code == 2
    assert "no moment with a time zone" in ran.stderr
