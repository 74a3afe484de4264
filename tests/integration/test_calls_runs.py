"""Runs: how they start, expand, pause, resume and are cancelled softly."""

import pytest
from sqlalchemy import select, text

from integration.calls_support import CallsBench, make_business, numbers
from migration_support import connected, migration_settings
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.calls import service
from switchboard_core.calls.schemas import RunCreate
from switchboard_core.calls.service import RunNotFoundError, RunRefusedError
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import SchemaTooOldError
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.runtime import make_runtime
from switchboard_core.settings import Settings

NARROW = (
    "ALTER TABLE background_jobs DROP CONSTRAINT chk_job_type, "
    "ADD CONSTRAINT chk_job_type CHECK (job_type = 'delete_receipts_all')"
)
"""The constraint as migration 103 leaves it."""

ORDER = RunCreate.model_validate({"name": "Spring", "message": "Hello", "leads": {"all": True}})


class TestStarting:
    def test_the_run_and_its_job_are_rows_and_a_wake_up_before_any_worker_moves(self, bench: CallsBench) -> None:
        run = bench.create()
        assert (run.status, run.counts.total) == ("pending", 0)
        assert bench.task(run)["status"] == "pending"
        assert bench.runtime.redis.lrange("rq:queue:default", 0, -1) == [
            f"enqueue_outbound_calls_{run.job_id}".encode()
        ]

    def test_a_business_without_a_number_to_call_from_is_told_so(self, bench: CallsBench) -> None:
        mute = bench.another_business(caller_ids=[])
        with pytest.raises(RunRefusedError, match="There is no number to call from"), bench.session(mute) as session:
            service.start_run(session, bench.runtime, ORDER)
        assert bench.value("SELECT count(*) FROM outbound_call_runs") == 0
        assert bench.create(business_id=mute, caller_ids=["+14155550177"]).status == "pending"

    def test_a_schema_without_the_job_type_is_refused_and_nothing_is_half_written(
        self, empty_database_urls: DatabaseUrls, redis_url: str
    ) -> None:
        run_migrations(migration_settings(empty_database_urls))
        with connected(empty_database_urls.owner) as connection:
            connection.execute(text(NARROW))
        settings = Settings(_env_file=None, database_url=empty_database_urls.app, redis_url=redis_url)
        runtime = make_runtime(settings, name="old-schema")
        try:
            business_id = make_business(runtime)
            with pytest.raises(SchemaTooOldError, match="switchboard migrate"):  # noqa: SIM117 - the transaction ends
                with runtime.database.tenant(business_id) as session:
                    service.start_run(session, runtime, ORDER)
            with runtime.database.tenant(business_id) as session:
                assert service.list_runs(session) == []
                assert session.scalars(select(BackgroundJob)).all() == []
            assert runtime.redis.keys("rq:*") == []
        finally:
            runtime.close()


class TestExpanding:
    def test_five_thousand_leads_become_jobs_in_slices(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(5000))
        run = bench.create()
        totals: list[int] = []
        while not totals or totals[-1] < 5000 or bench.task(run)["cursor"] != {"watch": True}:
            # So little time that each slice takes one batch.
            bench.kernel.run_slice(run.job_id or 0, budget_s=0.000001)
            totals.append(bench.task(run)["total"] or 0)
            assert bench.value("SELECT count(*) FROM outbound_call_jobs") == totals[-1]
        assert len(totals) > 5
        assert totals == sorted(totals)
        view = bench.view(run.id)
        assert (view.status, view.counts.total, view.counts.queued) == ("running", 5000, 5000)
        bench.check()

    def test_a_number_is_called_once_in_a_run_however_often_it_is_a_lead(self, bench: CallsBench) -> None:
        """A lead that is deleted and entered again while the run expands is still the same number."""
        first, second = numbers(2)
        bench.add_leads(first)
        run = bench.create()
        bench.kernel.run_slice(run.job_id or 0)
        bench.execute("UPDATE leads SET deleted_at = now()")
        bench.execute("UPDATE outbound_call_runs SET expanded_at = NULL, status = 'pending'")
        bench.execute("UPDATE background_jobs SET cursor = '{\"after_lead\": 0}', run_after = now()")
        bench.add_leads(first, second)
        bench.slices(run)
        assert bench.view(run.id).counts.total == 2
        assert bench.value("SELECT count(*) FROM outbound_call_jobs WHERE to_number = %s", first) == 1

    def test_only_the_leads_that_the_filter_means_are_called(self, bench: CallsBench) -> None:
        chosen, other = numbers(2)
        bench.add_leads(chosen, other)
        bench.execute("UPDATE leads SET tags = '[\"vip\"]' WHERE phone = %s", chosen)
        run = bench.start(leads={"tags": ["vip"]})
        assert run.counts.total == 1
        assert bench.job(chosen)["status"] == "queued"

    def test_leads_of_another_business_are_never_called(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(3), business_id=bench.another_business())
        assert bench.start(*numbers(1, 5_559_000)).counts.total == 1

    def test_a_run_without_a_lead_is_over_at_once(self, bench: CallsBench) -> None:
        run = bench.start()
        assert (run.status, run.counts.total) == ("completed", 0)
        bench.check(at_rest=True)

    def test_nothing_is_dialled_before_every_lead_has_its_job(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(1500))
        run = bench.create()
        bench.kernel.run_slice(run.job_id or 0, budget_s=0.000001)
        assert 0 < bench.view(run.id).counts.total < 1500
        bench.pump(run)
        assert bench.report()["calls"] == 0

    def test_a_worker_killed_between_two_slices_loses_and_doubles_nothing(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(2500))
        run = bench.create()
        bench.kernel.run_slice(run.job_id or 0, budget_s=0.000001)
        # Killed with its claim: the lease runs out.
        bench.execute(
            "UPDATE background_jobs SET lease_until = clock_timestamp() - interval '1 s', attempt = attempt + 1"
        )
        bench.slices(run)
        assert bench.view(run.id).counts.total == 2500


class TestPausing:
    def test_a_paused_run_places_no_call_until_it_is_resumed(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(3))
        with bench.session() as session:
            service.pause_run(session, run.id)
        bench.pump(run)
        assert bench.report()["calls"] == 0
        assert bench.view(run.id).status == "paused"
        with bench.session() as session:
            service.resume_run(session, bench.runtime, run.id)
        (view,) = bench.work_to_the_end(run)
        assert view.counts.completed == 3
        bench.check(at_rest=True)

    def test_live_calls_of_a_paused_run_go_on_to_their_end(self, bench: CallsBench) -> None:
        first, second = numbers(2)
        run = bench.start(first, second)
        bench.dial()
        with bench.session() as session:
            service.pause_run(session, run.id)
        bench.await_status(first, "completed")
        assert bench.job(second)["status"] == "queued"
        assert bench.view(run.id).status == "paused"
        bench.check()

    def test_a_call_that_is_about_to_be_sent_is_called_off_by_a_pause(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        run = bench.start(number)
        admitted = bench.admit()
        with bench.session() as session:
            service.pause_run(session, run.id)
        bench.dial(admitted)
        assert bench.calls_to(number) == 0
        job = bench.job(number)
        assert (job["status"], job["attempts"]) == ("queued", 0)
        bench.check()

    def test_a_run_that_is_paused_while_it_expands_stays_paused(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(2))
        run = bench.create()
        with bench.session() as session:
            service.pause_run(session, run.id)
        bench.slices(run)
        assert bench.view(run.id).status == "paused"
        with bench.session() as session:
            assert service.resume_run(session, bench.runtime, run.id).status == "running"

    def test_a_run_that_is_over_can_neither_be_paused_nor_resumed(self, bench: CallsBench) -> None:
        run = bench.start()
        with bench.session() as session:
            with pytest.raises(RunRefusedError, match="cannot be paused"):
                service.pause_run(session, run.id)
            with pytest.raises(RunRefusedError, match="Start a new run"):
                service.resume_run(session, bench.runtime, run.id)

    def test_another_business_sees_and_changes_nothing(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(1))
        with bench.session(bench.another_business()) as session:
            with pytest.raises(RunNotFoundError):
                service.pause_run(session, run.id)
            with pytest.raises(RunNotFoundError):
                service.resume_run(session, bench.runtime, run.id)
            with pytest.raises(RunNotFoundError):
                service.cancel_run(session, bench.runtime, run.job_id or 0)
        assert bench.view(run.id).status == "running"


def cancel(bench: CallsBench, job_id: int | None) -> None:
    with bench.session() as session:
        service.cancel_run(session, bench.runtime, job_id or 0)


class TestSoftCancel:
    def test_from_its_commit_on_no_call_is_placed_and_the_queue_is_emptied(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(20))
        cancel(bench, run.job_id)
        bench.pump(run)
        assert bench.report()["calls"] == 0
        (view,) = bench.work_to_the_end(run)
        assert (view.status, view.counts.canceled, view.reason) == ("cancelled", 20, "cancelled on request")
        assert bench.task(run)["status"] == "cancelled"
        bench.check(at_rest=True)

    def test_the_last_look_calls_off_a_call_whose_connection_stands_already(self, bench: CallsBench) -> None:
        """The latest moment at which a cancel can still win: the very next thing would be the first byte."""
        (number,) = numbers(1)
        run = bench.start(number)
        bench.dial(before_look=lambda: cancel(bench, run.job_id))
        assert bench.calls_to(number) == 0
        assert bench.job(number)["status"] == "canceled"
        bench.work_to_the_end(run)
        bench.check(at_rest=True)

    def test_live_calls_go_on_to_their_end_and_the_run_ends_after_them(self, bench: CallsBench) -> None:
        talking, waiting = numbers(2)
        bench.script(talking, talk_seconds=0.5)
        run = bench.start(talking, waiting)
        bench.dial()
        cancel(bench, run.job_id)
        bench.slices(run)
        assert bench.job(waiting)["status"] == "canceled"
        assert bench.value("SELECT finished_at FROM outbound_call_runs") is None
        (view,) = bench.work_to_the_end(run)
        assert (view.counts.completed, view.counts.canceled) == (1, 1)
        assert bench.calls_to(talking) == 1
        bench.check(at_rest=True)

    def test_a_busy_lead_of_a_cancelled_run_is_not_tried_again(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        bench.script(number, "busy", ring_seconds=0.5)
        run = bench.start(number, retry_after_s={"busy": 0})
        bench.dial()
        cancel(bench, run.job_id)
        (view,) = bench.work_to_the_end(run)
        assert (view.counts.busy, bench.calls_to(number)) == (1, 1)
        bench.check(at_rest=True)

    def test_a_run_that_is_cancelled_before_it_expanded_calls_nobody(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(10))
        run = bench.create()
        cancel(bench, run.job_id)
        (view,) = bench.work_to_the_end(run)
        assert (view.status, view.counts.total) == ("cancelled", 0)
        bench.check(at_rest=True)

    def test_cancelling_twice_changes_nothing(self, bench: CallsBench) -> None:
        run = bench.start(*numbers(2))
        cancel(bench, run.job_id)
        before = bench.task(run)["version"]
        cancel(bench, run.job_id)
        assert bench.task(run)["version"] == before
        bench.work_to_the_end(run)
        cancel(bench, run.job_id)
        assert bench.view(run.id).status == "cancelled"

    def test_the_other_run_of_the_business_goes_on(self, bench: CallsBench) -> None:
        run, other = bench.start(*numbers(3)), bench.start()
        cancel(bench, run.job_id)
        views = bench.work_to_the_end(run, other)
        assert (views[0].counts.canceled, views[1].counts.completed) == (3, 3)
        bench.check(at_rest=True)
