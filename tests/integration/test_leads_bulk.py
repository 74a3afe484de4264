"""Bulk delete and update through the kernel: every lead once, and one bad lead harms nobody else."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select, text, update
from structlog.testing import capture_logs

from integration.leads_support import LeadsBench, leads_bench
from migration_support import connected
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.models import Lead
from switchboard_core.leads.schemas import LeadChanges
from switchboard_core.leads.service import bulk_delete, bulk_update

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
