"""Slow jobs whose every effect is counted by the database itself, in the transaction that makes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.campaign import Business
from e2e.kube import Json
from e2e.truth import Truth

LEADS_PER_JOB = 400

_COUNT_EFFECTS = """
CREATE TABLE e2e_effects (job text NOT NULL, lead bigint NOT NULL);
CREATE FUNCTION e2e_count() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO e2e_effects SELECT NEW.attributes ->> 'job', NEW.id;
    RETURN NULL;
END $$;
CREATE TABLE e2e_pace (seconds double precision NOT NULL);
INSERT INTO e2e_pace VALUES ({seconds});
CREATE FUNCTION e2e_wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM pg_sleep(seconds) FROM e2e_pace;
    RETURN NULL;
END $$;
CREATE TRIGGER e2e_count AFTER UPDATE ON leads FOR EACH ROW
    WHEN (NEW.attributes ? 'job') EXECUTE FUNCTION e2e_count();
CREATE TRIGGER e2e_wait AFTER UPDATE ON leads FOR EACH STATEMENT EXECUTE FUNCTION e2e_wait();
"""
_COUNT_NO_MORE = """
DROP TRIGGER e2e_count ON leads;
DROP TRIGGER e2e_wait ON leads;
DROP FUNCTION e2e_count;
DROP FUNCTION e2e_wait;
DROP TABLE e2e_effects;
DROP TABLE e2e_pace;
"""
_LEADS = """
INSERT INTO leads (business_id, phone, name, timezone)
SELECT %s, '+1202' || lpad(n::text, 7, '0'), 'Lead', 'UTC' FROM generate_series(1, %s) n
RETURNING id
"""


@contextmanager
def slow_and_counted(truth: Truth, *, seconds: float) -> Iterator[None]:
    """Make every statement that changes leads slow, without work for the processor, and count what it changes.

    Args:
        truth: the database.
        seconds: that each statement takes longer; a job makes one for every hundred leads.
    """
    truth.change(_COUNT_EFFECTS.format(seconds=seconds))
    try:
        yield
    finally:
        truth.change(_COUNT_NO_MORE)


def start_jobs(truth: Truth, business: Business, jobs: int) -> list[int]:
    """Start bulk updates, each of leads of its own; returns the ids of their tasks."""
    leads = [row["id"] for row in truth.rows(_LEADS, business.id, jobs * LEADS_PER_JOB)]
    tasks = []
    with business.client() as api:
        for number in range(jobs):
            own = leads[number * LEADS_PER_JOB : (number + 1) * LEADS_PER_JOB]
            change = {"filter": {"ids": own}, "changes": {"attributes": {"job": str(number)}}}
            task: Json = api.post("/api/leads/bulk-update", change)
            tasks.append(int(task["id"]))
    return tasks


def hurry(truth: Truth) -> None:
    """From now on no statement takes longer than it has to."""
    truth.change("UPDATE e2e_pace SET seconds = 0")


def progress(truth: Truth) -> int:
    """Leads that were changed so far."""
    count: int = truth.value("SELECT count(*) FROM e2e_effects")
    return count


def await_jobs(truth: Truth, tasks: list[int], timeout: float) -> None:
    """Wait until every task has ended."""
    left = "SELECT count(*) FROM background_jobs WHERE id = ANY(%s) AND finished_at IS NULL"
    truth.until(lambda: truth.value(left, tasks) == 0, f"{len(tasks)} jobs to end", timeout)


def check_jobs(truth: Truth, tasks: list[int]) -> None:
    """Every job has completed, and has changed each of its leads exactly once."""
    states = truth.rows("SELECT status, count(*) FROM background_jobs WHERE id = ANY(%s) GROUP BY status", tasks)
    assert states == [{"status": "completed", "count": len(tasks)}]
    doubled = truth.rows("SELECT job, lead, count(*) FROM e2e_effects GROUP BY job, lead HAVING count(*) > 1 LIMIT 5")
    assert doubled == []
    assert truth.rows("SELECT count(DISTINCT job) AS jobs, count(*) AS effects FROM e2e_effects") == [
        {"jobs": len(tasks), "effects": len(tasks) * LEADS_PER_JOB}
    ]
