"""The judge says no: each thing that must hold of a call job that has ended is told when it does not."""

from threading import Timer

import pytest

from integration.calls_support import CallsBench
from invariants import assert_slots_follow, violations

NUMBER = "+14155550123"
NOT_AS_ITS_LAST = "a call job has not ended as its last attempt"
AGAIN = "a lead was called again though its call had ended for good"

COPY = """
    INSERT INTO call_attempts (id, business_id, run_id, job_id, number, account_sid, from_number, to_number,
                               state, reason, sent_at, settled_at, created_at)
    SELECT gen_random_uuid(), business_id, run_id, job_id, 2, account_sid, from_number, to_number,
           state, reason, sent_at, settled_at, created_at + interval '1 second' FROM call_attempts
"""


def broken(bench: CallsBench) -> set[str]:
    """The names of the rules that are broken."""
    return {line.partition(": ")[0] for line in violations(bench.urls.owner)}


@pytest.mark.parametrize(
    ("tampering", "rule"),
    [
        ("UPDATE outbound_call_jobs SET status = 'busy'", NOT_AS_ITS_LAST),
        ("UPDATE outbound_call_jobs SET status = 'skipped'", NOT_AS_ITS_LAST),
        ("UPDATE outbound_call_jobs SET reason = 'no reason'", NOT_AS_ITS_LAST),
        ("DELETE FROM call_attempts", NOT_AS_ITS_LAST),
        (COPY, AGAIN),
        (f"UPDATE call_attempts SET state = 'failed', reason = 'outcome_unknown'; {COPY}", AGAIN),
    ],
    ids=["other status", "taken out", "other reason", "never called", "called twice", "dialled again"],
)
def test_a_job_that_ended_otherwise_than_its_calls_is_told(bench: CallsBench, tampering: str, rule: str) -> None:
    run = bench.start(NUMBER)
    bench.work_to_the_end(run)
    assert broken(bench) == set()

    for statement in tampering.split(";"):
        bench.execute(statement)

    assert rule in broken(bench)


def test_a_job_that_nobody_called_may_be_canceled_only_with_its_run(bench: CallsBench) -> None:
    run = bench.start(NUMBER)
    bench.execute("UPDATE outbound_call_jobs SET status = 'canceled', finished_at = now()")
    assert NOT_AS_ITS_LAST in broken(bench)
    bench.execute("UPDATE outbound_call_runs SET status = 'cancelled' WHERE id = %s", run.id)
    assert NOT_AS_ITS_LAST not in broken(bench)


@pytest.mark.parametrize("wrong", ["left behind", "missing"])
def test_a_slot_that_stays_wrong_is_told_and_one_that_is_mended_is_not(bench: CallsBench, wrong: str) -> None:
    bench.start(NUMBER)
    attempt_id, redis = str(bench.admit().attempt.id), bench.runtime.redis
    key = f"switchboard:slots:{bench.business_id}"

    def spoil() -> None:
        redis.sadd(key, "left-behind") if wrong == "left behind" else redis.srem(key, attempt_id)

    def mend() -> None:
        redis.srem(key, "left-behind")
        redis.sadd(key, attempt_id)

    spoil()
    with pytest.raises(AssertionError, match="slots that were wrong for"):
        assert_slots_follow(bench.urls.owner, redis, within_s=0.3)
    mending = Timer(0.2, mend)
    mending.start()
    assert_slots_follow(bench.urls.owner, redis, within_s=20)
    mending.join()
