"""Clean-up on evidence: what is taken over, what fails, what is left alone, and who cleans up at all."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from integration.calls_support import CallsBench, numbers
from switchboard_api.startup import Startup
from switchboard_core.calls.cleanup import cleanup_business, cleanup_stuck_runs, rebuild_all_slots
from switchboard_core.calls.pump import rebuild_slots
from switchboard_core.calls.schemas import CleanupReport
from switchboard_core.calls.semaphore import CallSemaphore
from switchboard_core.calls.service import pause_run
from switchboard_core.calls.startup import StartupCleanup
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import ServiceRole
from waiting import await_true

LEAD, OTHER = numbers(2)
LIMIT_S = 300
REASON = f"No worker has worked on it for {LIMIT_S} seconds."


def as_role(bench: CallsBench, role: ServiceRole | None, *, first_heartbeat_within_s: float = 0.0) -> Runtime:
    changed = {"service_role": role, "heartbeat_interval_seconds": first_heartbeat_within_s}
    return replace(bench.runtime, settings=bench.runtime.settings.model_copy(update=changed))


def worker_seen(bench: CallsBench, seconds_ago: float, role: str = "worker") -> None:
    bench.execute(
        "INSERT INTO worker_heartbeats (name, role, queues, seen_at) "
        "VALUES (%s, %s, '[]', clock_timestamp() - make_interval(secs => %s))",
        f"{role}-{seconds_ago}",
        role,
        seconds_ago,
    )


def nobody_worked_for(bench: CallsBench, seconds: float) -> None:
    """The runs' last sign of life, and their wake-up, are this long ago; no lease is held."""
    bench.execute("UPDATE outbound_call_runs SET heartbeat_at = clock_timestamp() - make_interval(secs => %s)", seconds)
    bench.execute("UPDATE background_jobs SET lease_until = NULL")
    bench.runtime.redis.flushall()


class TestStuckRuns:
    def test_without_a_worker_the_run_its_jobs_and_its_task_fail_with_the_reason(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(5))
        bench.dial()
        bench.await_status(LEAD, "completed")
        nobody_worked_for(bench, LIMIT_S + 1)
        assert cleanup_stuck_runs(bench.runtime, on_startup=True) == CleanupReport(runs_failed=1)
        view, task = bench.view(run.id), bench.task(run)
        assert (view.status, view.reason) == ("failed", REASON)
        assert (view.counts.completed, view.counts.failed) == (1, 4)
        assert bench.job(OTHER)["reason"] == REASON
        assert (task["status"], task["reason"], task["done"], task["failed"]) == ("failed", REASON, 1, 4)
        bench.check(at_rest=True)

    def test_a_live_worker_takes_the_run_over(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(3))
        nobody_worked_for(bench, LIMIT_S + 1)
        worker_seen(bench, 1)
        assert cleanup_stuck_runs(bench.runtime) == CleanupReport(runs_taken_over=1)
        assert bench.runtime.redis.lrange("rq:queue:default", 0, -1) == [
            f"enqueue_outbound_calls_{run.job_id}".encode()
        ]
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 3
        bench.check(at_rest=True)

    def test_a_run_that_was_taken_over_is_not_stuck_any_more(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        nobody_worked_for(bench, LIMIT_S + 1)
        worker_seen(bench, 1)
        cleanup_stuck_runs(bench.runtime)
        assert cleanup_stuck_runs(bench.runtime) == CleanupReport()

    def test_a_worker_that_was_seen_too_long_ago_and_a_recorder_take_nothing_over(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        nobody_worked_for(bench, LIMIT_S + 1)
        worker_seen(bench, LIMIT_S + 1)
        worker_seen(bench, 1, role="recorder")
        assert cleanup_stuck_runs(bench.runtime).runs_failed == 1

    def test_a_run_with_a_sign_of_life_within_the_limit_is_left_alone(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        nobody_worked_for(bench, LIMIT_S - 5)
        assert cleanup_stuck_runs(bench.runtime) == CleanupReport()
        assert bench.view(run.id).status == "running"

    def test_a_run_whose_lease_is_held_is_never_failed(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        nobody_worked_for(bench, 10 * LIMIT_S)
        bench.execute("UPDATE background_jobs SET lease_until = clock_timestamp() + interval '10 s'")
        assert cleanup_stuck_runs(bench.runtime) == CleanupReport()
        assert bench.view(run.id).status == "running"

    def test_a_run_with_a_call_that_goes_on_is_never_failed(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        run = bench.start(LEAD, OTHER)
        bench.dial()
        bench.await_status(LEAD, "in_progress")
        nobody_worked_for(bench, 10 * LIMIT_S)
        bench.age(10 * LIMIT_S)
        report = StartupCleanup(as_role(bench, ServiceRole.API)).run()
        assert report is not None
        assert (report.runs_failed, report.attempts_settled, report.slots) == (0, 0, 1)
        assert bench.view(run.id).status == "running"
        bench.check()

    def test_a_paused_run_is_watched_too(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        with bench.session() as session:
            pause_run(session, run.id)
        nobody_worked_for(bench, LIMIT_S + 1)
        worker_seen(bench, 1)
        assert cleanup_stuck_runs(bench.runtime).runs_taken_over == 1
        assert bench.view(run.id).status == "paused"

    def test_a_paused_run_needs_no_worker_and_is_not_failed_for_want_of_one(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        with bench.session() as session:
            pause_run(session, run.id)
        nobody_worked_for(bench, 10 * LIMIT_S)
        assert cleanup_stuck_runs(bench.runtime, on_startup=True) == CleanupReport()
        assert (bench.view(run.id).status, bench.job(LEAD)["status"]) == ("paused", "queued")

    def test_a_run_that_never_expanded_is_taken_over_and_expands(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(2))
        run = bench.create()
        nobody_worked_for(bench, LIMIT_S + 1)
        worker_seen(bench, 1)
        cleanup_stuck_runs(bench.runtime)
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 2

    def test_runs_that_are_over_are_history(self, bench: CallsBench) -> None:
        run = bench.start()
        nobody_worked_for(bench, 10 * LIMIT_S)
        assert cleanup_stuck_runs(bench.runtime) == CleanupReport()
        assert bench.view(run.id).status == "completed"

    def test_a_late_callback_of_a_failed_run_changes_nothing(self, bench: CallsBench) -> None:
        run = bench.start(LEAD)
        live = bench.dial()
        bench.await_status(LEAD, "completed")
        bench.add_leads(OTHER)
        bench.execute("UPDATE outbound_call_runs SET status = 'running', finished_at = NULL")
        nobody_worked_for(bench, LIMIT_S + 1)
        cleanup_stuck_runs(bench.runtime)
        before = bench.task(run)
        bench.callback(live.attempt.id, "completed")
        assert bench.task(run)["done"] == before["done"]
        bench.check(at_rest=True)


class TestOneBusiness:
    def test_a_person_cleans_up_their_own_business_only(self, bench: CallsBench) -> None:
        other = bench.another_business()
        mine, theirs = bench.start(LEAD), bench.start(OTHER, business_id=other)
        nobody_worked_for(bench, LIMIT_S + 1)
        report = cleanup_business(bench.runtime, bench.business_id)
        assert report.runs_failed == 1
        assert bench.view(mine.id).status == "failed"
        assert bench.view(theirs.id, other).status == "running"

    def test_a_hundred_silent_calls_of_others_do_not_stand_in_the_way(self, bench: CallsBench) -> None:
        other = bench.another_business(call_cap=200)
        bench.start(*numbers(110, 5_552_000), business_id=other)
        for _ in range(110):
            bench.admit(other)
        bench.start(LEAD)
        bench.admit()
        bench.age(100)
        report = cleanup_business(bench.runtime, bench.business_id)
        assert (report.attempts_checked, report.attempts_settled) == (1, 1)
        assert bench.job(LEAD)["status"] == "queued"


class TestSlots:
    def test_slots_are_rebuilt_from_the_rows_whatever_redis_holds(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        bench.dial()
        key = bench.runtime.slots.key(bench.business_id)
        for members in ((), ("a call of yesterday", "another")):
            bench.runtime.redis.delete(key)
            for member in members:
                bench.runtime.redis.sadd(key, member)
            assert rebuild_all_slots(bench.runtime, [bench.business_id]) == 1
            bench.check()

    def test_slots_that_redis_forgot_to_free_do_not_stop_the_pump(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(3))
        bench.runtime.slots.rebuild(bench.business_id, [f"phantom-{number}" for number in range(10)])
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 3
        bench.check(at_rest=True)

    def test_a_slot_that_is_freed_while_slots_are_rebuilt_stays_free(self, bench: CallsBench) -> None:
        """The rebuild has read the rows, then the call ends, and only then the rebuild writes what it has read."""
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        live = bench.dial()
        bench.await_status(LEAD, "in_progress")

        class Overtaken(CallSemaphore):
            def rebuild(self, business_id: int, attempt_ids: object) -> int:
                if bench.job(LEAD)["status"] == "in_progress":
                    bench.callback(live.attempt.id, "completed")
                return super().rebuild(business_id, attempt_ids)  # type: ignore[arg-type]

        runtime = replace(bench.runtime, slots=Overtaken(bench.runtime.redis))
        with bench.session() as session:
            assert rebuild_slots(session, runtime, bench.business_id) == 0
        assert bench.runtime.slots.active(bench.business_id) == 0


class TestStartup:
    def test_the_api_says_that_it_cleans_up_and_what_it_found(self, bench: CallsBench) -> None:
        bench.start(LEAD, OTHER)
        bench.die_dialling("before_answer")
        bench.await_status(LEAD, "completed")
        bench.admit()
        bench.age(100)
        bench.runtime.redis.flushall()
        with capture_logs() as lines:
            report = StartupCleanup(as_role(bench, ServiceRole.API)).run()
        assert report == CleanupReport(attempts_checked=1, attempts_settled=1)
        words = [line["event"] for line in lines]
        assert words.index("[STARTUP] Running outbound cleanup") < words.index("[STARTUP] Outbound cleanup complete")
        assert words.count("[STARTUP] Outbound cleanup complete") == 1
        assert bench.job(OTHER)["status"] == "queued"
        bench.check()

    @pytest.mark.parametrize("role", [None, ServiceRole.WORKER, ServiceRole.RECORDER, ServiceRole.MIGRATE])
    def test_nobody_else_cleans_up(self, bench: CallsBench, role: ServiceRole | None) -> None:
        run = bench.start(LEAD)
        nobody_worked_for(bench, LIMIT_S + 1)
        with capture_logs() as lines:
            assert StartupCleanup(as_role(bench, role)).run() is None
        assert [line for line in lines if "[STARTUP]" in line["event"]] == []
        assert bench.view(run.id).status == "running"

    def test_of_many_replicas_that_start_together_one_cleans_up(self, bench: CallsBench) -> None:
        bench.start(LEAD)
        nobody_worked_for(bench, LIMIT_S + 1)
        settings = as_role(bench, ServiceRole.API).settings
        replicas = [make_runtime(settings, name=f"replica-{number}") for number in range(5)]
        try:
            with capture_logs() as lines, ThreadPoolExecutor(max_workers=5) as pool:
                reports = list(pool.map(lambda replica: StartupCleanup(replica).run(), replicas))
        finally:
            for replica in replicas:
                replica.close()
        assert [report.runs_failed for report in reports if report is not None] == [1]
        assert [line["event"] for line in lines].count("[STARTUP] Running outbound cleanup") == 1

    def test_it_runs_again_after_a_minute_but_not_before(self, bench: CallsBench) -> None:
        api = as_role(bench, ServiceRole.API)
        assert StartupCleanup(api).run() is not None
        assert StartupCleanup(api).run() is None
        bench.execute("UPDATE maintenance_marks SET at = at - interval '61 s'")
        assert StartupCleanup(api).run() is not None

    def test_one_that_the_database_broke_off_is_begun_again_by_the_same_process(
        self, bench: CallsBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = bench.start(LEAD)
        nobody_worked_for(bench, LIMIT_S + 1)
        api = as_role(bench, ServiceRole.API)
        breaks = iter([OperationalError("SELECT", None, Exception("the connection is lost"))])

        def breaks_off_once(runtime: Runtime, *, on_startup: bool) -> CleanupReport:
            for error in breaks:
                assert StartupCleanup(api).run() is None, "another replica has to stay away"
                raise error
            return cleanup_stuck_runs(runtime, on_startup=on_startup)

        monkeypatch.setattr("switchboard_core.calls.startup.cleanup_stuck_runs", breaks_off_once)
        with capture_logs() as lines:
            asyncio.run(Startup(api, first_wait_s=0.01).run())
        words = [line["event"] for line in lines]
        assert words.index("startup cleanup not finished; trying again") < words.index(
            "[STARTUP] Outbound cleanup complete"
        )
        assert bench.view(run.id).status == "failed"

    def test_a_worker_that_is_started_together_with_the_api_keeps_its_runs(self, bench: CallsBench) -> None:
        """Everything was down for longer than the limit, and the api is up first."""
        run = bench.start(LEAD)
        nobody_worked_for(bench, 10 * LIMIT_S)
        api = as_role(bench, ServiceRole.API, first_heartbeat_within_s=60)
        with ThreadPoolExecutor(max_workers=1) as pool, capture_logs() as lines:
            report = pool.submit(StartupCleanup(api).run)
            await_true(lambda: any("Running outbound" in line["event"] for line in lines), "the clean-up's begin")
            worker_seen(bench, 0)
            found = report.result(timeout=30)
        assert found is not None
        assert (found.runs_taken_over, found.runs_failed) == (1, 0)
        assert bench.view(run.id).status == "running"

    def test_it_concludes_nothing_while_the_carrier_is_away(self, bench: CallsBench) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        bench.dial()
        bench.await_status(LEAD, "in_progress")
        bench.age(1000)
        bench.faults(query_5xx=1)
        report = StartupCleanup(as_role(bench, ServiceRole.API)).run()
        assert report is not None
        assert (report.attempts_checked, report.attempts_settled, report.slots) == (1, 0, 1)
        assert bench.job(LEAD)["status"] == "in_progress"
