"""The short way of an event against the long one: where it does something, it does the same."""

from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from integration.calls_support import CallsBench, Row, numbers
from switchboard_core.calls import callbacks
from switchboard_core.calls.express import STEPS, Ended, Told, apply_together, end_at_once, goes_on
from switchboard_core.calls.settle import Evidence, apply_event
from switchboard_core.calls.states import AttemptState, CallEvent, job_status
from switchboard_core.crossing import AttemptRef
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.runtime import make_runtime

(LEAD,) = numbers(1)
SID = "CA" + "7" * 32
WORDS = Evidence(call_sid=SID, carrier_status="ringing", answered_by="human", duration_s=7, reason="for a reason")
EVIDENCE = (WORDS, Evidence(), Evidence(), WORDS, WORDS)
NEW = {"call_sid": None, "carrier_status": None, "answered_by": None, "duration_s": None}
TOLD = {"call_sid": "CA" + "8" * 32, "carrier_status": "queued", "answered_by": "machine_start", "duration_s": 1}
KNOWN: tuple[dict[str, Any], ...] = (
    {**NEW, "sent": False, "record": True, "retry_after_s": {}},
    {**TOLD, "sent": True, "record": False, "retry_after_s": {"failed": 60}},
    {**NEW, "sent": True, "record": True, "retry_after_s": {"busy": 60, "no_answer": 60}},
    {**TOLD, "sent": True, "record": True, "retry_after_s": {"machine": 60}},
    {**NEW, "carrier_status": "completed", "sent": True, "record": True, "retry_after_s": {}},
)
TABLES = ("call_attempts", "outbound_call_jobs", "background_jobs")
TIMES = (
    "answered_at",
    "settled_at",
    "recordings_listed_at",
    "updated_at",
    "finished_at",
    "next_attempt_at",
    "run_after",
)


class Undone(Exception):  # noqa: N818 - no error: it rolls a transaction back
    """Ends a transaction whose effects have been seen."""


@pytest.mark.parametrize("event", STEPS)
def test_the_short_way_does_what_the_long_way_does_or_nothing(bench: CallsBench, event: CallEvent) -> None:
    bench.start(LEAD)
    ref = AttemptRef(bench.business_id, bench.admit().attempt.id)
    step, taken = STEPS[event], 0
    for state, (known, evidence) in product(AttemptState, zip(KNOWN, EVIDENCE, strict=True)):
        untouched = _put(bench, state, known)
        long = _by_the_long_way(bench, ref, event, evidence)
        done = _by_the_short_way(bench, ref, event, evidence)
        assert _seen(bench) == (long if done else untouched), (state, known, evidence)
        taken += done
    # From each of its sources, whatever is known, but for a carrier's last word and a rule that calls again.
    ordinary = [known for known in KNOWN if known["carrier_status"] != "completed"]
    assert taken == len(step.sources) * sum(
        not set(step.tried_again) & set(known["retry_after_s"]) for known in ordinary
    )


TWO = numbers(2)
GOES_ON = [event for event in STEPS if goes_on(event)]


def test_only_ends_are_not_applied_together() -> None:
    assert {CallEvent.INITIATED, CallEvent.RINGING, CallEvent.ANSWERED} <= set(GOES_ON)
    assert not any(STEPS[event].after.settled for event in GOES_ON)


def test_what_is_told_together_is_applied_as_if_told_one_by_one(bench: CallsBench) -> None:
    bench.start(*TWO)
    first, second = (AttemptRef(bench.business_id, bench.admit().attempt.id) for _ in TWO)
    events = [
        Told(first, CallEvent.RINGING, Evidence(call_sid=SID, carrier_status="ringing")),
        Told(second, CallEvent.ANSWERED, Evidence(carrier_status="in-progress")),
        Told(first, CallEvent.ANSWERED, Evidence(carrier_status="in-progress")),
        Told(first, CallEvent.RINGING, Evidence(carrier_status="ringing")),  # late
        Told(AttemptRef(bench.business_id + 1, second.id), CallEvent.RINGING, Evidence()),  # of somebody else
    ]
    assert apply_together(bench.runtime.database, events) == [True, True, True, False, False]
    attempts = [bench.attempt(number) for number in TWO]
    assert sorted((str(row["state"]), row["call_sid"]) for row in attempts if row["call_sid"]) == [("in_progress", SID)]
    assert [row["state"] for row in attempts] == ["in_progress"] * 2
    assert [bench.job(number)["status"] for number in TWO] == ["in_progress"] * 2


def test_one_that_is_refused_takes_all_back_and_each_goes_its_own_way(bench: CallsBench) -> None:
    bench.start(*TWO)
    first, second = (AttemptRef(bench.business_id, bench.admit().attempt.id) for _ in TWO)
    poisoned = Told(second, CallEvent.RINGING, Evidence(call_sid=SID))
    untouched = _seen(bench)
    assert apply_together(
        bench.runtime.database, [Told(first, CallEvent.RINGING, Evidence(call_sid=SID)), poisoned]
    ) == [False, False]
    assert _seen(bench) == untouched
    assert callbacks.on_status(bench.runtime, first, {"CallSid": SID, "CallStatus": "ringing"})
    assert [bench.attempt(number)["state"] for number in TWO].count("ringing") == 1


def test_without_a_database_nothing_is_known_of_any(bench: CallsBench) -> None:
    bench.start(LEAD)
    ref = AttemptRef(bench.business_id, bench.admit().attempt.id)
    settings = bench.runtime.settings.model_copy(
        update={"database_url": SecretStr("postgresql+psycopg://nobody@127.0.0.1:9/nothing")}
    )
    runtime = make_runtime(settings, name="nowhere")
    try:
        assert apply_together(runtime.database, [Told(ref, CallEvent.RINGING, Evidence())]) == [False]
    finally:
        runtime.close()


def test_every_other_event_is_left_to_the_long_way(bench: CallsBench) -> None:
    bench.start(LEAD)
    ref = AttemptRef(bench.business_id, bench.admit().attempt.id)
    untouched = _seen(bench)
    for event in set(CallEvent) - set(STEPS):
        assert not goes_on(event)
        assert end_at_once(bench.runtime, ref, event, Evidence()) is None
    assert _seen(bench) == untouched


@pytest.mark.parametrize(("jobs", "woken"), [(1, True), (2, False)])
def test_the_last_end_wakes_the_run_and_every_end_the_pump(bench: CallsBench, jobs: int, woken: bool) -> None:
    run = bench.start(*numbers(jobs))
    ref = AttemptRef(bench.business_id, bench.admit().attempt.id)
    bench.execute("UPDATE background_jobs SET run_after = now() + interval '1 hour'")
    bench.runtime.redis.delete("rq:queue:high", "rq:queue:default")
    told: list[TaskSnapshot] = []
    assert run.job_id is not None
    stop = bench.runtime.tasks.subscribe(run.job_id, told.append)
    ended = end_at_once(bench.runtime, ref, CallEvent.COMPLETED, Evidence())
    stop()
    assert ended == Ended(AttemptState.COMPLETED, run.id, run.job_id)
    assert {(change.done, change.version) for change in told} == {(1, bench.task(run)["version"])}
    assert bench.runtime.slots.active(bench.business_id) == 0
    assert bench.runtime.redis.lrange("rq:queue:high", 0, -1) == [f"process_next_{run.job_id}".encode()]
    expected = [f"enqueue_outbound_calls_{run.job_id}".encode()] if woken else []
    assert bench.runtime.redis.lrange("rq:queue:default", 0, -1) == expected
    assert bench.value("SELECT run_after <= clock_timestamp() FROM background_jobs") == woken


def test_another_business_has_no_such_call(bench: CallsBench) -> None:
    bench.start(LEAD)
    ref = AttemptRef(bench.another_business(), bench.admit().attempt.id)
    for event in STEPS:
        assert not _by_the_short_way(bench, ref, event, Evidence())
    assert bench.job(LEAD)["status"] == "dialing"


@pytest.mark.parametrize("table", ["outbound_call_jobs", "call_attempts"])
def test_who_holds_the_call_is_not_waited_for(bench: CallsBench, table: str) -> None:
    bench.start(LEAD)
    ref = AttemptRef(bench.business_id, bench.admit().attempt.id)
    with bench.session() as holder:
        holder.execute(text(f"SELECT 1 FROM {table} FOR NO KEY UPDATE"))
        for event in (CallEvent.RINGING, CallEvent.COMPLETED):
            assert not _by_the_short_way(bench, ref, event, Evidence())
    for event in (CallEvent.RINGING, CallEvent.COMPLETED):
        assert _by_the_short_way(bench, ref, event, Evidence())


def test_what_the_database_refuses_is_left_to_the_long_way_and_harms_nothing_behind_it(bench: CallsBench) -> None:
    bench.start(LEAD)
    ref = AttemptRef(bench.business_id, bench.admit().attempt.id)
    assert not _by_the_short_way(bench, ref, CallEvent.RINGING, Evidence(call_sid="CA\0"))
    assert not _by_the_short_way(bench, ref, CallEvent.COMPLETED, Evidence(call_sid="C" * 100))
    assert bench.job(LEAD)["status"] == "dialing"
    assert _by_the_short_way(bench, ref, CallEvent.RINGING, Evidence())


def test_a_commit_that_fails_is_an_outage_and_leaves_nothing_half_done(bench: CallsBench) -> None:
    """Neither way gets through: the api answers 503 to this error, and the carrier comes again."""
    bench.start(LEAD)
    attempt = bench.admit().attempt
    bench.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = 'serialization_failure'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON call_attempts DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    before = _seen(bench)
    try:
        for word in ("ringing", "completed"):
            with pytest.raises(OperationalError):
                callbacks.receive_status(
                    bench.runtime, str(attempt.id), str(bench.business_id), {"CallStatus": word, "CallSid": SID}
                )
    finally:
        bench.execute("DROP FUNCTION refuse CASCADE")
    assert _seen(bench) == before
    assert callbacks.receive_status(
        bench.runtime, str(attempt.id), str(bench.business_id), {"CallStatus": "completed", "CallSid": SID}
    )
    assert bench.job(LEAD)["status"] == "completed"


def _put(bench: CallsBench, state: AttemptState, known: dict[str, Any]) -> list[Row]:
    bench.execute(
        "UPDATE call_attempts SET state = %s, call_sid = %s, carrier_status = %s, answered_by = %s, duration_s = %s, "
        "sent_at = CASE WHEN %s THEN now() END, answered_at = NULL, recordings_listed_at = NULL, reason = NULL, "
        "settled_at = CASE WHEN %s THEN now() END",
        state,
        known["call_sid"],
        known["carrier_status"],
        known["answered_by"],
        known["duration_s"],
        known["sent"],
        state.settled,
    )
    bench.execute(
        "UPDATE outbound_call_jobs "
        "SET status = %s, reason = 'was busy', attempts = 1, setbacks = 2, finished_at = NULL",
        job_status(state),
    )
    bench.execute(
        "UPDATE outbound_call_runs SET retry_after_s = %s, record = %s", Jsonb(known["retry_after_s"]), known["record"]
    )
    return _seen(bench)


def _seen(bench: CallsBench) -> list[Row]:
    """The call's rows; times only as whether they are there."""
    return [_timeless(row) for table in TABLES for row in bench.rows(f"SELECT * FROM {table}")]


def _by_the_short_way(bench: CallsBench, ref: AttemptRef, event: CallEvent, evidence: Evidence) -> bool:
    """Whether it was applied."""
    if goes_on(event):
        return apply_together(bench.runtime.database, [Told(ref, event, evidence)]) == [True]
    return end_at_once(bench.runtime, ref, event, evidence) is not None


def _by_the_long_way(bench: CallsBench, ref: AttemptRef, event: CallEvent, evidence: Evidence) -> list[Row]:
    """What ``apply_event`` leaves; it is undone."""
    seen: list[Row] = []
    with suppress(Undone), bench.session() as session:
        apply_event(session, bench.runtime, ref.id, event, evidence)
        for table in TABLES:
            seen += [_timeless(dict(row)) for row in session.execute(text(f"SELECT * FROM {table}")).mappings()]
        raise Undone
    return seen


def _timeless(row: Row) -> Row:
    return {name: value is not None if name in TIMES else value for name, value in row.items()}


class TestWhoseCallback:
    """The URL names the business; where it does not, or not the right one, the attempt is looked for."""

    @pytest.mark.parametrize("word", ["ringing", "completed"])
    @pytest.mark.parametrize("named", ["its own", "another", "none", "no number", "a huge number"])
    def test_a_callback_finds_its_attempt_whatever_business_its_url_names(
        self, bench: CallsBench, named: str, word: str
    ) -> None:
        bench.script(LEAD, talk_seconds=60)
        bench.start(LEAD)
        attempt = bench.admit().attempt
        business = {
            "its own": str(bench.business_id),
            "another": str(bench.another_business()),
            "none": None,
            "no number": "1 OR 1=1",
            "a huge number": "9" * 30,
        }[named]
        assert callbacks.receive_status(bench.runtime, str(attempt.id), business, {"CallStatus": word})
        assert bench.job(LEAD)["status"] == word

    @pytest.mark.parametrize("attempt", ["00000000-0000-0000-0000-000000000000", "no id", None])
    def test_a_callback_about_no_call_of_ours_is_said_to_be(self, bench: CallsBench, attempt: str | None) -> None:
        form = {"CallStatus": "ringing", "CallSid": SID}
        assert not callbacks.receive_status(bench.runtime, attempt, str(bench.business_id), form)
