"""Bulk tasks of leads, and the expansion of a campaign, whose worker is killed at every boundary of their slices."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from integration.leads_support import LeadsBench, fresh_leads_bench
from slice_kills import MakeWorld, World, check_kills
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls import service as calls
from switchboard_core.calls.models import OutboundCallJob, OutboundCallRun
from switchboard_core.calls.schemas import RunCreate
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.leads import service
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.leads.models import Lead
from switchboard_core.leads.schemas import LeadChanges
from switchboard_worker.tasks.entry import tasks

EVERYBODY = LeadFilter(all=True)
NUMBER = 250
"""Leads of a world: three slices."""

Enqueue = Callable[[LeadsBench], int]


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[LeadsBench]:
    with fresh_leads_bench(postgres, migrated_template, valkey) as bench:
        yield bench


def world_of(shared: LeadsBench, enqueue: Enqueue) -> MakeWorld:
    """Worlds of a new business each, with the job that ``enqueue`` makes."""

    @contextmanager
    def make() -> Iterator[World]:
        bench = shared.for_another_business()
        job_id = enqueue(bench)
        runtime = bench.runtime
        yield World(
            runtime,
            bench.business_id,
            job_id,
            tasks(runtime),
            observe=lambda: leads_of(bench, job_id),
            name=partial(phone_of, bench),
        )

    return make


def leads_of(bench: LeadsBench, job_id: int) -> Sequence[object]:
    """All leads as the job left them, without ids and moments."""
    with bench.session() as session:
        rows = session.execute(
            select(
                Lead.phone,
                Lead.timezone,
                Lead.tags,
                Lead.attributes,
                Lead.deleted_at.is_(None),
                Lead.deleted_by_job_id == job_id,
            ).order_by(Lead.phone, Lead.id)
        ).all()
    return [tuple(row) for row in rows]


def phone_of(bench: LeadsBench, lead_id: str) -> str:
    with bench.session() as session:
        return session.get_one(Lead, int(lead_id)).phone


def add_leads(session: Session, business_id: int, number: int) -> None:
    session.execute(
        text(
            "INSERT INTO leads (business_id, phone, timezone, tags) "
            "SELECT :business_id, '+1415' || (5550000 + n), 'UTC', '[\"spring\"]' FROM generate_series(1, :number) n"
        ),
        {"business_id": business_id, "number": number},
    )


def delete(bench: LeadsBench) -> int:
    with bench.session() as session:
        add_leads(session, bench.business_id, NUMBER)
        return service.bulk_delete(session, bench.runtime, EVERYBODY).id


def update(bench: LeadsBench) -> int:
    # What the update changes is what its filter asks for: a lead that was done is not selected again.
    changes = LeadChanges(add_tags=["called"], remove_tags=["spring"], attributes={"plan": "pro"})
    with bench.session() as session:
        add_leads(session, bench.business_id, NUMBER)
        return service.bulk_update(session, bench.runtime, LeadFilter(tags=["spring"]), changes).id


def delete_import(bench: LeadsBench) -> int:
    phones = [f"+1415{5550000 + number}" for number in range(NUMBER)]
    bench.load("phone\n+14155550003\n+14155559999\n")
    report = bench.load("\n".join(["phone", *phones]))
    with bench.session() as session:
        return service.delete_import(session, bench.runtime, report.id).id


def restore(bench: LeadsBench) -> int:
    deleted = delete(bench)
    bench.run_to_its_end(deleted)
    bench.load("phone\n+14155550011\n+14155550177\n")
    with bench.session() as session:
        return service.restore(session, bench.runtime, deleted).id


@pytest.mark.parametrize("enqueue", [delete, update, delete_import, restore])
def test_killed_at_any_boundary_of_its_slices_a_bulk_task_ends_as_if_nothing_had_happened(
    shared: LeadsBench, enqueue: Enqueue
) -> None:
    assert check_kills(world_of(shared, enqueue)).slices == 3


def test_killed_at_any_boundary_a_campaign_gives_every_lead_one_call_job(shared: LeadsBench) -> None:
    order = RunCreate(name="Spring", message="Hello", leads=EVERYBODY, caller_ids=["+14155550100"])

    @contextmanager
    def make() -> Iterator[World]:
        bench = shared.for_another_business()
        with bench.session() as session:
            add_leads(session, bench.business_id, 1001)
            job_id = calls.start_run(session, bench.runtime, order).background_job_id
        assert job_id is not None
        runtime, expanded = bench.runtime, partial(is_expanded, bench)
        yield World(runtime, bench.business_id, job_id, tasks(runtime), partial(call_jobs_of, bench), over=expanded)

    assert check_kills(make).slices == 3


def is_expanded(bench: LeadsBench) -> bool:
    return bench.count(OutboundCallRun, OutboundCallRun.expanded_at.is_not(None)) == 1


def call_jobs_of(bench: LeadsBench) -> object:
    jobs = OutboundCallJob
    with bench.session() as session:
        return session.execute(
            select(func.count(), func.count(jobs.lead_id.distinct()), func.min(jobs.to_number), func.max(jobs.status))
        ).one()


def test_an_effect_that_a_killed_worker_leaves_and_its_successor_repeats_is_found(shared: LeadsBench) -> None:
    def careless(_ctx: SliceContext, _payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
        mails.append("a mail")
        return Slice()

    mails: list[str] = []

    @contextmanager
    def make() -> Iterator[World]:
        mails.clear()
        bench = shared.for_another_business()
        with bench.session() as session:
            job_id = bench.runtime.tasks.create(session, "delete_leads", {}).id
        yield World(bench.runtime, bench.business_id, job_id, {"delete_leads": careless}, observe=lambda: list(mails))

    with pytest.raises(AssertionError, match=r"killed at Boundary\(commit=1, after=False\)"):
        check_kills(make)
