"""Old tasks are deleted a batch of each business at a time, and no business keeps another from it."""

from collections.abc import Iterator

import pytest

from integration.kernel_support import QUEUE, TASK, Bench
from switchboard_worker.sweep import BATCH, Sweep


@pytest.fixture
def sweep(jobs: Bench) -> Sweep:
    return Sweep(jobs.runtime)


@pytest.fixture
def refused(jobs: Bench) -> Iterator[int]:
    """A business whose tasks cannot be deleted: PostgreSQL calls each try off, as ``statement_timeout`` does."""
    business_id = jobs.another_business()
    jobs.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE query_canceled USING MESSAGE = 'it took too long'; END $$"
    )
    jobs.sql(
        "CREATE TRIGGER refuse BEFORE DELETE ON background_jobs FOR EACH ROW "
        f"WHEN (OLD.business_id = {business_id}) EXECUTE FUNCTION refuse()"
    )
    yield business_id
    jobs.sql("DROP FUNCTION refuse CASCADE")


def put_old_tasks(jobs: Bench, business_id: int, number: int) -> None:
    jobs.sql(
        "INSERT INTO background_jobs (business_id, job_type, queue, status, finished_at) "
        "SELECT %s, %s, %s, 'completed', now() - interval '31 days' FROM generate_series(1, %s)",
        business_id,
        TASK,
        QUEUE,
        number,
    )


def tasks_of(jobs: Bench, business_id: int) -> int:
    return int(jobs.sql("SELECT count(*) FROM background_jobs WHERE business_id = %s", business_id)[0]["count"])


def test_however_many_there_are_the_next_sweeps_go_on_until_all_are_gone(jobs: Bench, sweep: Sweep) -> None:
    rival = jobs.another_business()
    put_old_tasks(jobs, jobs.business_id, 3 * BATCH)
    put_old_tasks(jobs, rival, 1)
    left = []
    for _ in range(3):
        sweep.tick()
        left.append((tasks_of(jobs, jobs.business_id), tasks_of(jobs, rival)))
    assert left == [(2 * BATCH, 0), (BATCH, 0), (0, 0)]


def test_once_all_are_gone_the_next_look_is_an_hour_later(jobs: Bench, sweep: Sweep) -> None:
    put_old_tasks(jobs, jobs.business_id, BATCH)
    for _ in range(2):  # a whole batch may not have been all
        sweep.tick()
    put_old_tasks(jobs, jobs.business_id, 1)
    sweep.tick()
    assert tasks_of(jobs, jobs.business_id) == 1


def test_remembered_answers_are_forgotten_in_batches_too(jobs: Bench, sweep: Sweep) -> None:
    jobs.sql(
        "INSERT INTO idempotency_keys (business_id, route, key, body_hash, created_at) "
        "SELECT %s, 'POST /api/leads', number, '', now() - interval '1 day 1 hour' FROM generate_series(1, %s) number",
        jobs.business_id,
        BATCH + 1,
    )
    left = []
    for _ in range(2):
        sweep.tick()
        left.append(jobs.sql("SELECT count(*) FROM idempotency_keys")[0]["count"])
    assert left == [1, 0]


def test_a_business_whose_tasks_cannot_be_deleted_keeps_no_other_from_it(
    jobs: Bench, sweep: Sweep, refused: int
) -> None:
    behind = jobs.another_business()
    for business_id in (jobs.business_id, refused, behind):
        put_old_tasks(jobs, business_id, 2)
    assert sweep.delete_old_tasks() == 4
    assert [tasks_of(jobs, each) for each in (jobs.business_id, refused, behind)] == [0, 2, 0]
    assert [entry["business_id"] for entry in jobs.logged if entry["event"] == "old tasks not deleted"] == [refused]


def test_such_a_business_is_not_tried_again_with_every_batch_of_the_others(
    jobs: Bench, sweep: Sweep, refused: int
) -> None:
    put_old_tasks(jobs, refused, 1)
    put_old_tasks(jobs, jobs.business_id, BATCH + 1)
    for _ in range(2):
        sweep.tick()
    assert tasks_of(jobs, jobs.business_id) == 0
    assert jobs.said("warning").count("old tasks not deleted") == 1
