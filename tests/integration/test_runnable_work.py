"""What counts as runnable, state by state."""

from collections.abc import Iterator

import pytest

from integration.crossing_support import CALLER, World
from integration.runnable_support import (
    CALLS,
    DOWNLOADS,
    EARLIER,
    LATER,
    RECORDINGS,
    WATCH,
    K,
    counted_database,
    counting_runtime,
    runnable,
)
from migration_support import connected
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres
from switchboard_core.runtime import Runtime


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with counted_database(postgres, migrated_template, "runnable_states") as urls:
        yield urls


@pytest.fixture
def world(urls: DatabaseUrls) -> Iterator[World]:
    with connected(urls.owner) as connection:
        made = World(connection)
        yield made
        made.run_sql("DELETE FROM businesses")


@pytest.fixture(scope="module")
def runtime(urls: DatabaseUrls) -> Iterator[Runtime]:
    with counting_runtime(urls) as made:
        yield made


def test_nothing_to_do_is_zero(world: World, runtime: Runtime) -> None:
    world.business()
    assert runnable(runtime) == 0


@pytest.mark.parametrize(
    ("row", "number"),
    [
        pytest.param({}, 1, id="pending and due"),
        pytest.param({"admitted": "NULL"}, 1, id="not in Redis yet"),
        pytest.param({"status": "running"}, 1, id="between two slices"),
        pytest.param({"status": "running", "lease": LATER}, 1, id="a worker has it"),
        pytest.param({"status": "running", "lease": EARLIER}, 1, id="its worker died"),
        pytest.param({"status": "running", "after": LATER}, 0, id="asleep"),
        pytest.param({"after": LATER}, 0, id="not due"),
        pytest.param({"status": "completed"}, 0, id="completed"),
        pytest.param({"status": "failed"}, 0, id="failed"),
        pytest.param({"status": "cancelled"}, 0, id="cancelled"),
        pytest.param({"queue": "low"}, 0, id="of another queue"),
    ],
)
def test_a_background_job_counts_when_a_worker_could_run_it_now(
    world: World, runtime: Runtime, row: dict[str, str], number: int
) -> None:
    world.job(world.business(), **row)
    assert runnable(runtime, "maintenance") == number


def test_of_a_backlog_only_what_admission_lets_in_counts(world: World, runtime: Runtime) -> None:
    busy, other = world.business(), world.business()
    for _ in range(3 * K):
        world.job(busy, admitted="NULL")
    world.job(busy, queue="low")
    world.job(other)
    assert runnable(runtime, "maintenance") == K + 1
    assert runnable(runtime, "low") == 1
    assert runnable(runtime, "maintenance", "low") == K + 2


def test_a_long_campaign_counts_as_many_calls_as_it_has_slots(world: World, runtime: Runtime) -> None:
    business = world.business(cap=3)
    run = world.run(business)
    for _ in range(10):
        world.call_job(business, run)
    assert runnable(runtime, CALLS) == 3


def test_calls_in_flight_count_and_take_the_place_of_calls_to_be_placed(world: World, runtime: Runtime) -> None:
    business = world.business(cap=3)
    run = world.run(business)
    for _ in range(10):
        world.call_job(business, run)
    for _ in range(2):
        world.attempt(business, run)
    assert runnable(runtime, CALLS) == 3


def test_calls_in_flight_count_although_the_cap_was_lowered(world: World, runtime: Runtime) -> None:
    business = world.business(cap=1)
    run = world.run(business)
    world.call_job(business, run)
    for _ in range(2):
        world.attempt(business, run)
    assert runnable(runtime, CALLS) == 2


def test_the_last_leads_of_a_campaign_count_one_by_one(world: World, runtime: Runtime) -> None:
    business = world.business(cap=3)
    for _ in range(2):
        world.call_job(business, world.run(business))
    assert runnable(runtime, CALLS) == 2


def test_slots_are_those_of_each_business(world: World, runtime: Runtime) -> None:
    for cap in (1, 2):
        business = world.business(cap=cap)
        run = world.run(business)
        for _ in range(5):
            world.call_job(business, run)
    assert runnable(runtime, CALLS) == 3


@pytest.mark.parametrize(
    ("business", "run", "job"),
    [
        pytest.param({}, {"status": "paused"}, {}, id="the run is paused"),
        pytest.param({}, {"status": "pending"}, {}, id="the run is still expanding"),
        pytest.param({}, {"status": "cancelled"}, {}, id="the run is cancelled"),
        pytest.param({}, {}, {"due": LATER}, id="calling hours or a retry put it off"),
        pytest.param({}, {}, {"status": "completed"}, id="the call has ended"),
        pytest.param({"cap": 0}, {}, {}, id="the business may place no call"),
        pytest.param({"callers": "[]"}, {}, {}, id="there is no number to call from"),
        pytest.param({"breaker": LATER, "failures": 5}, {}, {}, id="the breaker is open"),
    ],
)
def test_a_call_that_the_pump_would_not_place_does_not_count(
    world: World, runtime: Runtime, business: dict[str, int], run: dict[str, str], job: dict[str, str]
) -> None:
    owner = world.business(**business)  # type: ignore[arg-type]
    world.call_job(owner, world.run(owner, **run), **job)
    assert runnable(runtime, CALLS) == 0


def test_a_run_with_a_caller_of_its_own_counts(world: World, runtime: Runtime) -> None:
    business = world.business(callers="[]")
    world.call_job(business, world.run(business, callers=CALLER))
    assert runnable(runtime, CALLS) == 1


def test_a_breaker_whose_time_is_over_lets_calls_count(world: World, runtime: Runtime) -> None:
    business = world.business(breaker=EARLIER, failures=5)
    world.call_job(business, world.run(business))
    assert runnable(runtime, CALLS) == 1


def test_a_due_call_counts_although_its_business_is_to_be_woken_later(world: World, runtime: Runtime) -> None:
    # The time was set for a run that sleeps until tomorrow; another one was started since.
    business = world.business(wake=LATER)
    world.call_job(business, world.run(business))
    assert runnable(runtime, CALLS) == 1


@pytest.mark.parametrize(
    ("row", "number"),
    [
        pytest.param({}, 1, id="to be downloaded"),
        pytest.param({"status": "downloading", "lease": LATER}, 1, id="being downloaded"),
        pytest.param({"status": "downloaded"}, 1, id="to be transcribed"),
        pytest.param({"status": "transcribing", "lease": LATER}, 1, id="being transcribed"),
        pytest.param({"after": LATER}, 0, id="tried again later"),
        pytest.param({"status": "completed"}, 0, id="completed"),
        pytest.param({"status": "absent"}, 0, id="absent"),
        pytest.param({"status": "failed"}, 0, id="failed"),
    ],
)
def test_a_recording_counts_when_a_recorder_could_work_on_it_now(
    world: World, runtime: Runtime, row: dict[str, str], number: int
) -> None:
    world.recording(world.business(), **row)
    assert runnable(runtime, RECORDINGS) == number


def test_downloads_count_within_the_slots_of_a_business_and_transcriptions_all(world: World, runtime: Runtime) -> None:
    busy, other = world.business(), world.business()
    world.recording(busy, status="downloading", lease=LATER)
    for _ in range(10):
        world.recording(busy)
    for _ in range(5):
        world.recording(busy, status="downloaded")
    world.recording(other)
    assert runnable(runtime, RECORDINGS) == DOWNLOADS + 5 + 1


class TestSomebodyHasToSweep:
    """The sweep runs in workers: one stays up as long as it may have to wake, settle or ask for something."""

    @pytest.mark.parametrize("status", ["pending", "running", "paused"])
    def test_an_open_run_keeps_one_worker(self, world: World, runtime: Runtime, status: str) -> None:
        for business in (world.business(), world.business()):
            world.call_job(business, world.run(business, status), due=LATER)
        assert runnable(runtime, CALLS) == 0
        assert runnable(runtime, WATCH) == 1

    def test_an_open_run_adds_nothing_to_jobs_that_count_anyway(self, world: World, runtime: Runtime) -> None:
        business = world.business()
        world.run(business)
        for _ in range(2):
            world.job(business, queue=WATCH)
        assert runnable(runtime, WATCH) == 2

    def test_a_watch_that_sleeps_and_an_open_run_count_once(self, world: World, runtime: Runtime) -> None:
        business = world.business()
        world.run(business)
        world.job(business, queue=WATCH, status="running", after=LATER)
        assert runnable(runtime) == 1

    def test_a_run_that_is_over_keeps_nobody(self, world: World, runtime: Runtime) -> None:
        world.run(world.business(), "completed")
        assert runnable(runtime) == 0

    def test_a_recording_that_is_tried_again_later_keeps_one_worker(self, world: World, runtime: Runtime) -> None:
        world.recording(world.business(), after=LATER)
        assert runnable(runtime, RECORDINGS) == 0
        assert runnable(runtime, WATCH) == 1

    def test_a_call_whose_recording_is_awaited_keeps_one_worker(self, world: World, runtime: Runtime) -> None:
        business = world.business()
        run = world.run(business, "completed")
        attempt = world.attempt(business, run, sid="CA7")
        settle = "UPDATE call_attempts SET state = 'completed', settled_at = now() - interval '1 s' WHERE id = :id"
        world.run_sql(settle, id=attempt)
        assert runnable(runtime, WATCH) == 1
        world.run_sql("UPDATE call_attempts SET recordings_listed_at = now() WHERE id = :id", id=attempt)
        assert runnable(runtime) == 0
