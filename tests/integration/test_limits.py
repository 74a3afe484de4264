"""What happens at the limits: a full Redis, a slow database, a carrier that is away, a queue without end.

docs/limits.md says for each of them what people see and do; it names the tests that are elsewhere.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from integration.api_support import assert_problem, running_api
from integration.kernel_support import TASK, Bench, bench, kernel_database, walk
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.policy import BREAKER_MAX_OPEN_S, Breaker
from switchboard_worker.sweep import Sweep
from waiting import await_true


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture
def jobs(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[Bench]:
    with bench(urls, valkey) as made:
        yield made


@contextmanager
def full(jobs: Bench) -> Iterator[None]:
    """Let Redis refuse every write, as it does with noeviction once its memory is used up."""
    jobs.runtime.redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        jobs.runtime.redis.config_set("maxmemory", 0)


class TestRedisIsFull:
    def test_a_job_is_accepted_and_queued_once_there_is_room(self, jobs: Bench) -> None:
        with full(jobs):
            job_id = jobs.enqueue(payload={"items": 1})
            assert Sweep(jobs.runtime).tick()
            assert jobs.queued() == []
            assert jobs.job(job_id)["status"] == "pending"
        assert Sweep(jobs.runtime).tick()
        assert jobs.queued() == [f"{TASK}_{job_id}"]

    def test_a_slice_that_ends_meanwhile_is_kept_and_those_behind_it_follow(self, jobs: Bench) -> None:
        kernel = jobs.kernel(walk)
        first, second = (jobs.enqueue(payload={"items": 3}) for _ in range(2))
        with full(jobs):
            jobs.run(kernel, first)
            assert jobs.job(first)["status"] == "completed"
        jobs.run(kernel, second)
        assert (jobs.effects(first), jobs.effects(second)) == ([0, 1, 2], [0, 1, 2])

    def test_requests_are_answered_as_ever(self, jobs: Bench) -> None:
        redis_url = jobs.runtime.settings.redis_url.get_secret_value()
        with running_api(database_url=jobs.urls.app, redis_url=redis_url) as api:
            acme = api.tenant()
            with full(jobs):
                answer = acme.owner.patch("/api/business", json={"call_cap": 5})
            assert (answer.status_code, answer.json()["call_cap"]) == (200, 5)


def test_a_statement_that_takes_too_long_is_a_503_with_a_time_to_wait_and_changes_nothing(
    jobs: Bench, urls: DatabaseUrls
) -> None:
    redis_url = jobs.runtime.settings.redis_url.get_secret_value()
    with running_api(database_url=urls.app, redis_url=redis_url) as api:
        acme = api.tenant()
        answers = []
        patch = threading.Thread(target=lambda: answers.append(acme.owner.patch("/api/business", json={"call_cap": 7})))
        with jobs.runtime.database.tenant(acme.id) as session:
            session.execute(text("SELECT 1 FROM businesses FOR UPDATE"))
            patch.start()
            # Ended as statement_timeout ends it, without waiting the minute out.
            await_true(lambda: _cancel_who_waits(jobs), "the request to wait for the lock")
            patch.join(30)
        assert_problem(answers[0], 503, "Database unavailable")
        assert answers[0].headers["retry-after"] == "5"
        assert acme.owner.get("/api/business").json()["call_cap"] == 3


def _cancel_who_waits(jobs: Bench) -> bool:
    waiting = "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    # As the application's role, which may cancel what is its own.
    with jobs.runtime.database.crossing() as session:
        return bool(session.execute(text(waiting)).all())


def test_a_carrier_that_is_away_for_an_hour_is_probed_a_few_times_and_not_by_all_at_once() -> None:
    began = now = datetime(2026, 3, 2, 9, tzinfo=UTC)
    probes, jitter = 0, 0.0
    breaker = Breaker(0, None)
    while now < began + timedelta(hours=1):
        jitter = (jitter + 0.37) % 1
        breaker, probes = breaker.after(ok=False, now=now, jitter=jitter), probes + 1
        now = max(now, breaker.open_until or now)
    assert probes <= 15
    assert breaker.open_until is not None
    assert breaker.open_until <= now + timedelta(seconds=1.25 * BREAKER_MAX_OPEN_S)
    assert len({Breaker(9, None).after(ok=False, now=now, jitter=each / 10).open_until for each in range(10)}) == 10
    assert breaker.after(ok=True, now=now) == Breaker(0, None)
