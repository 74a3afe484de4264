"""Bulk tasks through the kernel: every lead once, one bad lead harms nobody else, and what was deleted comes back."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select, text, update
from structlog.testing import capture_logs

from integration.leads_support import LeadsBench, leads_bench
from migration_support import connected
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.calls.models import OutboundCallJob
from switchboard_core.calls.schemas import RunCreate
from switchboard_core.calls.service import start_run
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.jobs.manager import TaskNotFoundError
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads import do_not_call, service
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.models import Lead
from switchboard_core.leads.schemas import LeadChanges
from switchboard_core.leads.service import bulk_delete, bulk_update
from switchboard_worker import sweep as sweep_module
from switchboard_worker.sweep import Sweep

EVERYBODY = LeadFilter(all=True)
ALIVE = Lead.deleted_at.is_(None)


@pytest.fixture
def bench(database_urls: DatabaseUrls, redis_url: str) -> Iterator[LeadsBench]:
    with leads_bench(database_urls, redis_url) as made:
        yield made


@pytest.fixture
def owner(database_urls: DatabaseUrls) -> Iterator[Connection]:
    """A connection of the tables' owner, to make the database refuse things."""
    with connected(database_urls.owner) as connection:
        yield connection


def delete(bench: LeadsBench, selection: LeadFilter = EVERYBODY) -> int:
    with bench.session() as session:
        return bulk_delete(session, bench.runtime, selection).id


def change(bench: LeadsBench, changes: LeadChanges, selection: LeadFilter = EVERYBODY) -> int:
    with bench.session() as session:
        return bulk_update(session, bench.runtime, selection, changes).id


def test_bulk_delete_deletes_and_says_so_in_the_words_of_the_contract(bench: LeadsBench) -> None:
    bench.add_leads(50)
    with capture_logs() as logs:
        with bench.session() as session:
            task = bulk_delete(session, bench.runtime, EVERYBODY)
        job = bench.run_to_its_end(task.id)
    words = [entry["event"] for entry in logs]
    assert f"Creating bulk delete job: 50 leads (tenant={bench.business_id})" in words
    assert f"Enqueued RQ job for bulk delete, job_id={task.id}" in words
    assert f"JOB PICKED queue='maintenance' job_id=delete_leads_{task.id}" in words
    assert "Deleted 50 leads successfully" in words
    assert (task.total, job.status, job.done, job.failed) == (50, JobStatus.COMPLETED, 50, 0)
    assert job.result == {"deleted": 50}
    assert bench.count(Lead, ALIVE) == 0
    assert bench.count(Lead) == 50


def test_leads_that_come_later_are_not_meant(bench: LeadsBench) -> None:
    bench.add_leads(3)
    job_id = delete(bench)
    bench.load("phone\n+442079460102\n")
    bench.run_to_its_end(job_id)
    assert bench.lead("+442079460102").id


def test_only_the_selected_leads_are_deleted(bench: LeadsBench) -> None:
    ids = bench.add_leads(6)
    bench.run_to_its_end(delete(bench, LeadFilter(ids=[ids[0], ids[4], 10**9])))
    with bench.session() as session:
        assert session.scalars(select(Lead.id).where(~ALIVE).order_by(Lead.id)).all() == [ids[0], ids[4]]


def test_ids_of_another_business_select_nothing(bench: LeadsBench) -> None:
    ids = bench.add_leads(2)
    with bench.session(bench.another_business()) as session:
        task = bulk_delete(session, bench.runtime, LeadFilter(ids=list(ids)))
    assert task.total == 0
    assert bench.kernel.run_slice(task.id) is Outcome.FINISHED
    assert bench.count(Lead, ALIVE) == 2


def test_bulk_update_changes_what_it_names_and_nothing_else(bench: LeadsBench) -> None:
    bench.load("phone,name,tags,timezone,attr_plan,attr_old\n+14155550101,Ada,spring|vip,Europe/Rome,free,x\n")
    changes = LeadChanges(add_tags=["called", "vip"], remove_tags=["spring"], attributes={"plan": "pro", "old": None})
    with capture_logs() as logs:
        job = bench.run_to_its_end(change(bench, changes))
    ada = bench.lead("+14155550101")
    assert job.status is JobStatus.COMPLETED
    assert (ada.name, ada.timezone, ada.tags) == ("Ada", "Europe/Rome", ["called", "vip"])
    assert ada.attributes == {"plan": "pro"}
    assert "Updated 1 leads successfully" in [entry["event"] for entry in logs]


def test_an_update_that_changes_its_own_filter_still_reaches_everybody(bench: LeadsBench) -> None:
    bench.add_leads(250)
    job_id = change(bench, LeadChanges(remove_tags=["spring"], timezone="Europe/Rome"), LeadFilter(tags=["spring"]))
    job = bench.run_to_its_end(job_id, budget_s=0)
    assert job.done == 250
    assert bench.count(Lead, Lead.timezone == "Europe/Rome") == 250


def test_work_is_done_in_slices_and_each_is_kept(bench: LeadsBench) -> None:
    bench.add_leads(250)
    job_id = delete(bench)
    assert bench.kernel.run_slice(job_id, budget_s=0) is Outcome.AGAIN
    job = bench.job(job_id)
    assert (job.status, job.done, job.total) == (JobStatus.RUNNING, 100, 250)
    assert bench.count(Lead, ALIVE) == 150
    assert bench.run_to_its_end(job_id, budget_s=0).done == 250


def test_a_cancel_stops_between_slices_and_keeps_what_was_done(bench: LeadsBench) -> None:
    bench.add_leads(250)
    job_id = delete(bench)
    bench.kernel.run_slice(job_id, budget_s=0)
    with bench.session() as session:
        bench.runtime.tasks.cancel(session, job_id)
    job = bench.run_to_its_end(job_id)
    assert (job.status, job.done) == (JobStatus.CANCELLED, 100)
    assert bench.count(Lead, ALIVE) == 150


def test_one_bad_lead_is_found_and_the_others_are_changed(bench: LeadsBench, owner: Connection) -> None:
    ids = bench.add_leads(230)
    bad = ids[137]
    owner.execute(text(f"ALTER TABLE leads ADD CONSTRAINT no_luck CHECK (id <> {bad} OR deleted_at IS NULL)"))
    job = bench.run_to_its_end(delete(bench))
    assert (job.status, job.done, job.failed) == (JobStatus.COMPLETED, 229, 1)
    assert [error["item"] for error in job.errors] == [str(bad)]
    assert "no_luck" in job.errors[0]["message"]
    with bench.session() as session:
        assert session.scalars(select(Lead.id).where(ALIVE)).all() == [bad]


def test_a_lead_that_makes_the_commit_fail_is_found_and_the_others_are_changed(
    bench: LeadsBench, owner: Connection
) -> None:
    ids = bench.add_leads(230)
    bad = ids[137]
    owner.execute(
        text(f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.id = {bad} THEN RAISE EXCEPTION 'this lead cannot be saved'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON leads
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
        """)
    )
    with capture_logs() as logs:
        job = bench.run_to_its_end(delete(bench))
    failures = [entry for entry in logs if entry["event"].startswith("Commit failed at ")]
    assert failures[0]["event"].startswith("Commit failed at 0: ")
    assert {entry["log_level"] for entry in failures} == {"error"}
    assert (job.status, job.done, job.failed) == (JobStatus.COMPLETED, 229, 1)
    assert [error["item"] for error in job.errors] == [str(bad)]
    assert job.errors[0]["message"].startswith("Commit failed at 137: ")
    with bench.session() as session:
        assert session.scalars(select(Lead.id).where(ALIVE)).all() == [bad]


def test_a_lead_deleted_meanwhile_is_not_touched_again(bench: LeadsBench) -> None:
    ids = bench.add_leads(3)
    job_id = change(bench, LeadChanges(timezone="Europe/Rome"))
    with bench.session() as session:
        session.execute(update(Lead).where(Lead.id == ids[1]).values(deleted_at=Lead.created_at))
    assert bench.run_to_its_end(job_id).done == 2
    assert bench.count(Lead, Lead.timezone == "Europe/Rome") == 2


# What an import brought in


def delete_import(bench: LeadsBench, import_id: int) -> int:
    with bench.session() as session:
        return service.delete_import(session, bench.runtime, import_id).id


def test_an_import_takes_back_the_leads_that_it_created_and_leaves_those_that_it_only_updated(
    bench: LeadsBench,
) -> None:
    bench.load("phone,name\n+14155550101,Ada\n")
    second = bench.load("phone,name\n+14155550101,Ada Moreno\n+14155550102,Ben\n+14155550103,Cleo\n")
    bench.load("phone,name\n+14155550103,Cleo Adams\n+14155550104,Dan\n")  # created by the second, updated by the third
    with capture_logs() as logs:
        job = bench.run_to_its_end(delete_import(bench, second.id))
    assert (job.status, job.total, job.done, job.result) == (JobStatus.COMPLETED, 2, 2, {"deleted": 2})
    with bench.session() as session:
        left = session.execute(select(Lead.phone, Lead.name).where(ALIVE).order_by(Lead.phone)).all()
    assert [tuple(row) for row in left] == [("+14155550101", "Ada Moreno"), ("+14155550104", "Dan")]
    words = [entry["event"] for entry in logs]
    assert f"Creating bulk delete job: 2 leads (tenant={bench.business_id})" in words
    assert f"JOB PICKED queue='maintenance' job_id=delete_imported_leads_{job.id}" in words
    assert "Deleted 2 leads successfully" in words


def test_an_import_that_is_not_there_or_another_s_cannot_be_taken_back(bench: LeadsBench) -> None:
    theirs = bench.for_another_business().load("phone\n+14155550101\n")
    for import_id in (theirs.id, 10**9):
        with pytest.raises(service.ImportNotFoundError, match=f"There is no import {import_id}"):
            delete_import(bench, import_id)


# Undo


def restore(bench: LeadsBench, task_id: int) -> int:
    with bench.session() as session:
        return service.restore(session, bench.runtime, task_id).id


def test_an_undone_delete_leaves_everything_as_it_was(bench: LeadsBench) -> None:
    bench.load("phone,name,tags,attr_plan\n+14155550101,Ada,spring|vip,pro\n+14155550102,Ben,,\n")
    deleted = bench.run_to_its_end(delete(bench))
    with capture_logs() as logs:
        job = bench.run_to_its_end(restore(bench, deleted.id))
    assert (job.status, job.total, job.done, job.result) == (JobStatus.COMPLETED, 2, 2, {"restored": 2})
    ada = bench.lead("+14155550101")
    assert (ada.name, ada.tags, ada.attributes, ada.deleted_by_job_id) == (
        "Ada",
        ["spring", "vip"],
        {"plan": "pro"},
        None,
    )
    words = [entry["event"] for entry in logs]
    assert f"Creating bulk restore job: 2 leads (tenant={bench.business_id})" in words
    assert "Restored 2 leads successfully" in words


def test_a_deleted_import_is_undone_too(bench: LeadsBench) -> None:
    report = bench.load("phone\n+14155550101\n")
    deleted = bench.run_to_its_end(delete_import(bench, report.id))
    assert bench.run_to_its_end(restore(bench, deleted.id)).done == 1
    assert bench.lead("+14155550101").import_id == report.id


def test_only_what_the_task_deleted_comes_back(bench: LeadsBench) -> None:
    ids = bench.add_leads(3)
    first = bench.run_to_its_end(delete(bench, LeadFilter(ids=[ids[0]])))
    bench.run_to_its_end(delete(bench, LeadFilter(ids=[ids[1]])))
    bench.run_to_its_end(restore(bench, first.id))
    with bench.session() as session:
        assert session.scalars(select(Lead.id).where(ALIVE).order_by(Lead.id)).all() == [ids[0], ids[2]]


def test_a_number_imported_anew_meanwhile_is_that_lead_s_error_and_the_rest_comes_back(bench: LeadsBench) -> None:
    ids = bench.add_leads(250)
    deleted = bench.run_to_its_end(delete(bench))
    bench.load("phone,name\n+14155550007,Seven\n+14155550201,Two hundred and one\n")
    job = bench.run_to_its_end(restore(bench, deleted.id), budget_s=0)
    assert (job.status, job.done, job.failed) == (JobStatus.COMPLETED, 248, 2)
    assert [error["item"] for error in job.errors] == [str(ids[7]), str(ids[201])]
    assert {error["message"] for error in job.errors} == {
        "Its number was imported anew meanwhile: delete that lead first, or leave this one as it is."
    }
    assert bench.count(Lead, ALIVE) == 250
    assert bench.lead("+14155550007").name == "Seven"


def test_what_could_not_be_restored_can_be_once_its_number_is_free(bench: LeadsBench) -> None:
    bench.add_leads(1)
    deleted = bench.run_to_its_end(delete(bench))
    bench.load("phone\n+14155550000\n")
    assert bench.run_to_its_end(restore(bench, deleted.id)).failed == 1
    bench.run_to_its_end(delete(bench))
    assert bench.run_to_its_end(restore(bench, deleted.id)).done == 1


def test_a_cancelled_delete_is_undone_as_far_as_it_came(bench: LeadsBench) -> None:
    bench.add_leads(250)
    job_id = delete(bench)
    bench.kernel.run_slice(job_id, budget_s=0)
    with pytest.raises(service.NotUndoableError, match="has not ended: wait for its end, or cancel it"):
        restore(bench, job_id)
    with bench.session() as session:
        bench.runtime.tasks.cancel(session, job_id)
    assert bench.run_to_its_end(restore(bench, job_id)).done == 100
    assert bench.count(Lead, ALIVE) == 250


def test_an_undo_asked_for_twice_is_one_task_and_afterwards_there_is_nothing_left(bench: LeadsBench) -> None:
    bench.add_leads(3)
    deleted = bench.run_to_its_end(delete(bench))
    undo = restore(bench, deleted.id)
    assert restore(bench, deleted.id) == undo
    bench.run_to_its_end(undo)
    with pytest.raises(service.NotUndoableError, match="has left nothing to restore"):
        restore(bench, deleted.id)


def test_only_tasks_that_delete_leads_can_be_undone(bench: LeadsBench) -> None:
    bench.add_leads(1)
    updated = bench.run_to_its_end(change(bench, LeadChanges(timezone="Europe/Rome")))
    with pytest.raises(service.NotUndoableError, match="is of the type update_leads: only tasks that delete leads"):
        restore(bench, updated.id)


def test_another_business_s_task_cannot_be_undone(bench: LeadsBench) -> None:
    bench.add_leads(1)
    deleted = bench.run_to_its_end(delete(bench))
    with pytest.raises(TaskNotFoundError):
        restore(bench.for_another_business(), deleted.id)
    assert bench.count(Lead, ALIVE) == 0


def age(owner: Connection, days: int) -> None:
    """Let days pass."""
    for table, column in (("leads", "deleted_at"), ("background_jobs", "finished_at")):
        owner.execute(text(f"UPDATE {table} SET {column} = {column} - make_interval(days => {days})"))


def test_after_the_window_an_undo_is_refused(bench: LeadsBench, owner: Connection) -> None:
    bench.add_leads(1)
    deleted = bench.run_to_its_end(delete(bench))
    age(owner, 31)
    with pytest.raises(service.UndoExpiredError, match="more than 30 days ago: its leads are gone for good"):
        restore(bench, deleted.id)


def test_within_the_window_an_undo_outlives_the_row_of_its_task(bench: LeadsBench, owner: Connection) -> None:
    bench.add_leads(1)
    deleted = bench.run_to_its_end(delete(bench))
    owner.execute(text("DELETE FROM background_jobs"))
    assert bench.run_to_its_end(restore(bench, deleted.id)).done == 1


# For good


def purge(bench: LeadsBench) -> int:
    return Sweep(bench.runtime).purge_deleted_leads()


def test_what_is_deleted_longer_than_the_window_is_purged(bench: LeadsBench, owner: Connection) -> None:
    bench.load("phone,do_not_call\n+14155550101,yes\n+14155550102,no\n")
    bench.for_another_business().load("phone\n+14155550101\n")
    bench.run_to_its_end(delete(bench))
    assert purge(bench) == 0
    age(owner, 31)
    bench.load("phone\n+14155550102\n")
    bench.run_to_its_end(delete(bench))  # not long ago
    bench.load("phone\n+14155550103\n")
    assert purge(bench) == 2
    with bench.session() as session:
        assert session.scalars(select(Lead.phone).order_by(Lead.id)).all() == ["+14155550102", "+14155550103"]
        assert do_not_call.is_listed(session, "+14155550101")
    assert purge(bench) == 0


def test_a_lead_that_was_called_keeps_its_row_without_a_person_in_it(bench: LeadsBench, owner: Connection) -> None:
    bench.load("phone,name,email,tags,timezone,attr_plan\n+14155550101,Ada,ada@example.com,vip,Europe/Rome,pro\n")
    lead_id = bench.lead("+14155550101").id
    with bench.session() as session:
        order = RunCreate(name="Spring", message="Hello", leads=EVERYBODY, caller_ids=["+14155550100"])
        run = start_run(session, bench.runtime, order)
        session.add(
            OutboundCallJob(
                business_id=bench.business_id, run_id=run.id, lead_id=lead_id, to_number="+14155550101", timezone="UTC"
            )
        )
    deleted = bench.run_to_its_end(delete(bench))
    age(owner, 31)
    assert purge(bench) == 1
    assert purge(bench) == 0
    with bench.session() as session:
        lead = session.get_one(Lead, lead_id)
        assert session.scalars(select(OutboundCallJob.lead_id)).all() == [lead_id]
    assert (lead.phone, lead.name, lead.email, lead.timezone, lead.tags, lead.attributes) == (
        "", None, None, "UTC", [], {},
    )  # fmt: skip
    with pytest.raises(service.UndoExpiredError):
        restore(bench, deleted.id)


def test_a_backlog_is_purged_in_batches(bench: LeadsBench, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "BATCH", 4)
    monkeypatch.setattr(sweep_module, "PURGE_BATCHES", 2)
    bench.add_leads(10)
    bench.run_to_its_end(delete(bench))
    age(owner, 31)
    assert [purge(bench), purge(bench), purge(bench)] == [8, 2, 0]
