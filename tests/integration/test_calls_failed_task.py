"""A run whose task fails: it ends with the task's reason, and no call job of it waits for ever."""

from integration.calls_support import CallsBench, numbers
from switchboard_core.calls.schemas import RunView
from switchboard_core.calls.service import cancel_run
from switchboard_core.doctor.rows import broken_rows

LIVE, SECOND, THIRD = numbers(3)
CRASHED = "Its worker crashed or it ran out of time 5 times in a row, so it was stopped."


def crash(bench: CallsBench, run: RunView) -> None:
    """Let the run's task have killed its workers once too often; what a worker does then."""
    bench.execute("UPDATE background_jobs SET crash_count = 5, run_after = now() WHERE id = %s", run.job_id)
    bench.slices(run)


def wake(bench: CallsBench, run: RunView) -> None:
    bench.execute("UPDATE background_jobs SET run_after = now() WHERE id = %s", run.job_id)
    bench.slices(run)


def counters(bench: CallsBench, run: RunView) -> tuple[str, int, int, int]:
    task = bench.task(run)
    return task["status"], task["done"], task["failed"], task["total"]


def findings(bench: CallsBench) -> list[str]:
    with bench.session() as session:
        return [str(finding) for finding in broken_rows(session, days=7, grace_s=300.0)]


def test_a_run_without_live_calls_ends_at_once_with_the_reason_of_its_task(bench: CallsBench) -> None:
    run = bench.start(SECOND, THIRD)
    crash(bench, run)
    view = bench.view(run.id)
    assert (view.status, view.reason, view.counts.canceled) == ("failed", CRASHED, 2)
    assert view.finished_at is not None
    assert counters(bench, run) == ("failed", 2, 0, 2)
    assert bench.job(SECOND)["reason"] == CRASHED
    assert not bench.pump(run)
    assert bench.report()["calls_by_number"] == {}
    bench.check(at_rest=True)


def test_live_calls_end_by_themselves_and_are_counted_before_the_run_is_over(bench: CallsBench) -> None:
    bench.script(LIVE, talk_seconds=60)
    run = bench.start(LIVE, SECOND, THIRD)
    attempt = bench.dial().attempt
    bench.await_status(LIVE, "in_progress")
    crash(bench, run)
    view = bench.view(run.id)
    assert (view.status, view.counts.canceled, view.counts.active, view.finished_at) == ("failed", 2, 1, None)
    assert counters(bench, run) == ("running", 2, 0, 3), "it watches the call"
    assert findings(bench) == []
    bench.check()

    bench.callback(attempt.id, "completed")
    bench.slices(run)  # woken by the last call
    assert counters(bench, run) == ("failed", 3, 0, 3)
    assert (bench.task(run)["reason"], bench.job(LIVE)["status"]) == (CRASHED, "completed")
    assert bench.view(run.id).finished_at is not None
    assert findings(bench) == []
    bench.check()


def test_a_task_that_goes_on_crashing_while_it_winds_down_still_ends_its_run(bench: CallsBench) -> None:
    bench.script(LIVE, talk_seconds=60)
    run = bench.start(LIVE, SECOND)
    attempt = bench.dial().attempt
    bench.await_status(LIVE, "in_progress")
    for _ in range(2):
        crash(bench, run)
    bench.callback(attempt.id, "completed")
    crash(bench, run)
    assert counters(bench, run) == ("failed", 2, 0, 2)
    assert (bench.view(run.id).status, bench.view(run.id).reason) == ("failed", CRASHED)
    bench.check()


def test_a_run_whose_leads_cannot_be_read_fails_instead_of_waiting_for_ever(bench: CallsBench) -> None:
    run = bench.create()
    bench.execute("UPDATE background_jobs SET payload = jsonb_set(payload, '{leads}', '{\"gone\": 1}')")
    bench.slices(run)
    view = bench.view(run.id)
    assert (view.status, view.counts.total, bench.task(run)["status"]) == ("failed", 0, "failed")
    assert view.reason
    assert view.reason == bench.task(run)["reason"]
    bench.check(at_rest=True)


def test_a_cancelled_run_stays_cancelled_when_its_task_crashes_winding_down(bench: CallsBench) -> None:
    run = bench.start(SECOND, THIRD)
    assert run.job_id is not None
    with bench.session() as session:
        cancel_run(session, bench.runtime, run.job_id)
    crash(bench, run)
    view = bench.view(run.id)
    assert (view.status, view.reason, view.counts.canceled) == ("cancelled", "cancelled on request", 2)
    assert counters(bench, run) == ("cancelled", 2, 0, 2)
    bench.check(at_rest=True)


def test_a_run_that_a_task_has_left_behind_is_ended_by_the_sweep(bench: CallsBench) -> None:
    run = bench.start(SECOND)
    bench.execute("UPDATE background_jobs SET status = 'failed', finished_at = now(), reason = 'a release before'")
    bench.execute("UPDATE outbound_call_runs SET heartbeat_at = now() - interval '1 hour'")
    assert bench.sweep.mend_stuck_runs() == 1
    assert (bench.view(run.id).status, bench.view(run.id).reason) == ("failed", "a release before")
    assert bench.job(SECOND)["status"] == "failed"
    bench.check(at_rest=True)
    assert bench.sweep.mend_stuck_runs() == 0
