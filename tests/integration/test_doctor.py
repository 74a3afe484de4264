"""``switchboard doctor``: every invariant is broken by hand, found by name, and mended; a healthy system has none."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import pytest
from rq.job import Job
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench, numbers
from integration.doctor_support import BROKEN_BY_TESTS, breaks, look
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_cli.main import app
from switchboard_core.calls.settle import apply_event
from switchboard_core.calls.states import CallEvent
from switchboard_core.doctor.examine import Scope, examine
from switchboard_core.doctor.repair import repair
from switchboard_core.doctor.rows import broken_rows
from switchboard_core.doctor.rules import WORDS, Finding, Rule
from switchboard_core.jobs.queueing import enqueue
from switchboard_core.jobs.transport import background_wakeup
from switchboard_worker.sweep import Sweep

LEADS = numbers(4)


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey, settle_after_seconds=0.1) as bench:
        yield bench


@pytest.fixture
def bench(servers: CallsBench) -> CallsBench:
    made = servers.reset()
    made.execute(
        "INSERT INTO worker_heartbeats (name, role, queues, seen_at) "
        'VALUES (\'worker\', \'worker\', \'["high", "default", "low", "maintenance"]\', now())'
    )
    return made


def ended_run(bench: CallsBench) -> int:
    """A campaign that is over, with nothing wrong."""
    run = bench.start(*LEADS)
    bench.work_to_the_end(run)
    return run.id


def live_run(bench: CallsBench) -> int:
    """A campaign with one call that goes on."""
    bench.script(LEADS[0], talk_seconds=60)
    run = bench.start(LEADS[0])
    bench.dial()
    bench.await_status(LEADS[0], "in_progress")
    return run.id


@dataclass(frozen=True)
class Break:
    """How a rule is broken: a statement of the database's owner, on top of a run."""

    rule: Rule
    statement: str
    begin: Callable[[CallsBench], int] = ended_run
    also: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}: {self.statement[:50]}"


_SENDING = (
    "INSERT INTO outgoing_messages (id, business_id, channel, dedupe_key, state, attempt, lease_until, handed_over_at) "
    "SELECT gen_random_uuid(), id, 'email', 'receipt:7', 'sending', 3, now() - interval '1 hour', {} FROM businesses"
)
_RECORDING = (
    "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url, status, lease_until, run_after) SELECT "
    "id, 'RE7', 'CA7', 'https://api.example.com/RE7', '{}', {}, now() - interval '1 hour' FROM businesses"
)

BREAKS = [
    Break(Rule.COUNTERS, "UPDATE background_jobs SET done = done + 1"),
    Break(Rule.COUNTERS, "UPDATE background_jobs SET failed = failed + 1"),
    Break(Rule.TOTAL, "UPDATE background_jobs SET total = total + 1"),
    Break(
        Rule.CALL_STATE,
        "UPDATE outbound_call_jobs SET status = 'ringing', finished_at = NULL WHERE id = 1",
        also=(Rule.COUNTERS, Rule.UNFINISHED_RUN),
    ),
    Break(Rule.CALL_STATE, "UPDATE outbound_call_jobs SET status = 'queued'", begin=live_run),
    Break(Rule.CALL_ATTEMPTS, "UPDATE outbound_call_jobs SET attempts = 0 WHERE id = 1"),
    Break(Rule.END_TIME, "UPDATE outbound_call_jobs SET finished_at = NULL WHERE id = 1"),
    Break(Rule.END_TIME, "UPDATE background_jobs SET finished_at = NULL"),
    Break(Rule.END_TIME, "UPDATE outbound_call_runs SET finished_at = NULL"),
    Break(Rule.END_TIME, "UPDATE outbound_call_jobs SET finished_at = now()", begin=live_run),
    Break(
        Rule.UNFINISHED_RUN,
        "UPDATE outbound_call_jobs SET status = 'queued', finished_at = NULL WHERE id = 1",
        also=(Rule.COUNTERS,),
    ),
    Break(Rule.RUN_AND_TASK, "UPDATE background_jobs SET status = 'failed'"),
    Break(Rule.RUN_UNWATCHED, "UPDATE background_jobs SET status = 'failed', finished_at = now()", begin=live_run),
    Break(Rule.RUN_UNWATCHED, "DELETE FROM background_jobs", begin=live_run, also=(Rule.WAKE_UP_WITHOUT_ROW,)),
    Break(Rule.RATE, "UPDATE businesses SET rate_tokens = -1"),
    Break(Rule.RATE, "UPDATE carrier_accounts SET rate_tokens = -1"),
    Break(Rule.STALE_LEASE, "UPDATE background_jobs SET lease_until = now() - interval '1 hour'"),
    *(
        Break(Rule.STALE_LEASE, _RECORDING.format(status, "now() - interval '1 hour'"))
        for status in ("completed", "absent", "failed")
    ),
    Break(Rule.STUCK_MESSAGE, _SENDING.format("NULL")),
    Break(Rule.STUCK_MESSAGE, _SENDING.format("now() - interval '1 hour'")),
]


@pytest.mark.parametrize("broken", BREAKS, ids=str)
def test_a_broken_row_is_found_by_name_and_mended(bench: CallsBench, broken: Break) -> None:
    broken.begin(bench)
    assert look(bench).findings == ()
    bench.execute(broken.statement)

    found = look(bench).findings
    assert {finding.rule for finding in found} == {broken.rule, *broken.also}
    for finding in found:
        repair(bench.runtime, finding)
    assert look(bench).findings == ()
    bench.check()


@breaks(Rule.ORPHAN_JOB)
def test_a_task_that_is_in_no_queue_is_found_and_queued(bench: CallsBench) -> None:
    with bench.session() as session:
        task = enqueue(session, bench.runtime.transport, "delete_leads", {"lead_ids": []}, admit_limit=16).id
    bench.execute("UPDATE background_jobs SET run_after = now() - interval '1 minute'")
    assert look(bench).findings == ()
    bench.runtime.redis.flushall()
    (finding,) = look(bench).findings
    assert (finding.rule, finding.subject) == (Rule.ORPHAN_JOB, f"task {task}")
    repair(bench.runtime, finding)
    assert look(bench).findings == ()


@breaks(Rule.ORPHAN_JOB)
def test_an_expired_lease_is_an_orphan_and_its_dead_execution_is_forgotten(bench: CallsBench) -> None:
    with bench.session() as session:
        enqueue(session, bench.runtime.transport, "delete_leads", {"lead_ids": []}, admit_limit=16)
    bench.runtime.redis.flushall()
    bench.execute(
        "UPDATE background_jobs SET status = 'running', attempt = 1, run_after = now() - interval '1 minute', "
        "lease_until = now() - interval '30 seconds'"
    )
    (finding,) = look(bench).findings
    assert finding.rule is Rule.ORPHAN_JOB
    repair(bench.runtime, finding)
    assert look(bench).findings == ()


@pytest.mark.parametrize(
    ("status", "lease_until"), [("pending", "NULL"), ("downloading", "now() - interval '30 seconds'")]
)
@breaks(Rule.ORPHAN_RECORDING)
def test_a_recording_that_is_in_no_queue_is_found_and_queued(bench: CallsBench, status: str, lease_until: str) -> None:
    bench.execute("UPDATE worker_heartbeats SET queues = '[\"recordings\"]'")
    bench.execute(_RECORDING.format(status, lease_until))
    (finding,) = look(bench).findings
    assert (finding.rule, finding.subject) == (Rule.ORPHAN_RECORDING, f"recording {finding.key}")
    repair(bench.runtime, finding)
    assert look(bench).findings == ()
    assert Job.exists(f"recording_{finding.key}", bench.runtime.redis)


@breaks(Rule.NOT_ADMITTED)
def test_a_task_that_is_not_admitted_though_there_is_room_is_found_and_admitted(bench: CallsBench) -> None:
    with bench.session() as session:
        enqueue(session, bench.runtime.transport, "delete_leads", {"lead_ids": []}, admit_limit=16)
    bench.execute("UPDATE background_jobs SET admitted_at = NULL")
    (finding,) = look(bench).findings
    assert finding.rule is Rule.NOT_ADMITTED
    repair(bench.runtime, finding)
    assert look(bench).findings == ()


@breaks(Rule.WAKE_UP_WITHOUT_ROW)
def test_a_wake_up_without_a_row_is_found_and_deleted(bench: CallsBench) -> None:
    bench.runtime.transport.push(background_wakeup("delete_leads", 4711, "maintenance", 60))
    (finding,) = look(bench).findings
    assert (finding.rule, finding.key) == (Rule.WAKE_UP_WITHOUT_ROW, "delete_leads_4711")
    repair(bench.runtime, finding)
    assert look(bench).findings == ()
    assert not Job.exists("delete_leads_4711", bench.runtime.redis)


@breaks(Rule.SLOTS)
def test_slots_in_redis_that_differ_from_the_rows_are_found_and_rebuilt(bench: CallsBench) -> None:
    live_run(bench)
    bench.runtime.slots.rebuild(bench.business_id, [str(uuid.uuid4())])
    (finding,) = look(bench).findings
    assert (finding.rule, finding.detail) == (Rule.SLOTS, "1 only in Redis, 1 only in PostgreSQL")
    repair(bench.runtime, finding)
    assert look(bench).findings == ()


@breaks(Rule.NO_CONSUMER)
def test_a_queue_with_work_and_no_consumer_is_found_and_a_person_is_told_what_to_do(bench: CallsBench) -> None:
    live_run(bench)
    bench.execute("UPDATE worker_heartbeats SET queues = '[\"maintenance\"]'")
    found = {finding.subject: finding for finding in look(bench).findings}
    assert set(found) >= {"queue high"}
    assert {finding.rule for finding in found.values()} == {Rule.NO_CONSUMER}
    assert "Start a worker" in repair(bench.runtime, found["queue high"])


@breaks(Rule.SLOT_WITHOUT_CALL)
def test_a_slot_whose_call_has_ended_is_found_by_asking_the_carrier_and_settled(bench: CallsBench) -> None:
    bench.start(LEADS[0])
    bench.faults(callback_lose=1)
    bench.dial()
    bench.await_carrier()
    assert look(bench).findings == (), "the rows alone do not tell"
    (finding,) = look(bench, carrier=True).findings
    assert (finding.rule, finding.detail) == (Rule.SLOT_WITHOUT_CALL, "completed at the carrier")
    repair(bench.runtime, finding)
    assert look(bench, carrier=True).findings == ()
    assert bench.job(LEADS[0])["status"] == "completed"


@breaks(Rule.CALL_WITHOUT_SLOT)
def test_a_call_that_lives_without_a_slot_is_found_and_hung_up(bench: CallsBench) -> None:
    live_run(bench)
    attempt = bench.attempt(LEADS[0])
    with bench.session() as session:
        apply_event(session, bench.runtime, attempt["id"], CallEvent.COMPLETED)
    (finding,) = look(bench, carrier=True).findings
    assert finding.rule is Rule.CALL_WITHOUT_SLOT
    repair(bench.runtime, finding)
    assert look(bench, carrier=True).findings == ()
    assert bench.report()["live"] == 0


def test_a_call_that_no_row_knows_is_left_alone(bench: CallsBench) -> None:
    live_run(bench)
    bench.execute("TRUNCATE call_attempts, outbound_call_jobs, outbound_call_runs, background_jobs CASCADE")
    bench.runtime.redis.flushall()
    (finding,) = look(bench, carrier=True).findings
    assert (finding.rule, finding.business_id) == (Rule.CALL_WITHOUT_SLOT, 0)
    assert "left alone" in repair(bench.runtime, finding)
    assert bench.report()["live"] == 1


def test_every_rule_is_broken_by_a_test() -> None:
    assert {broken.rule for broken in BREAKS} | BROKEN_BY_TESTS == set(Rule)


def test_every_rule_has_words_for_people() -> None:
    assert set(WORDS) == set(Rule)
    assert [rule for rule, words in WORDS.items() if not (words.cure or words.advice)] == []


def test_what_heals_between_two_looks_does_not_count(bench: CallsBench) -> None:
    ended_run(bench)
    bench.execute("UPDATE businesses SET rate_tokens = -1")
    looks = 0

    def heal(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        bench.execute("UPDATE businesses SET rate_tokens = 0")

    assert examine(bench.runtime, Scope(ask_carrier=False), within_s=60, sleep=heal).findings == ()
    assert looks == 1, "it stops to look as soon as nothing is left"


def test_nothing_is_found_in_the_midst_of_a_healthy_campaign_with_a_faulty_carrier(bench: CallsBench) -> None:
    leads = numbers(80)
    bench.faults(seed=3, callback_duplicate=0.2, callback_lose=0.1, create_lose_answer=0.05, create_429=0.1)
    run = bench.start(*leads, retry_after_s={"busy": 0})
    over, found = Event(), []

    def keep_looking() -> None:
        while not over.is_set():
            found.append(examine(bench.runtime, within_s=15).findings)

    # From a thread of its own, as in a worker, however busy the queues are.
    sweep = Sweep(bench.runtime)
    sweep.start()
    thread = Thread(target=keep_looking)
    thread.start()
    try:
        bench.work_to_the_end(run, timeout=90)
    finally:
        over.set()
        thread.join()
        sweep.stop()
    assert found
    assert [findings for findings in found if findings] == []


def test_a_doctor_cannot_write(bench: CallsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL itself keeps a look from changing anything."""
    modes: list[str] = []

    def spy(session: Session, **options: Any) -> Iterator[Finding]:
        modes.append(str(session.execute(text("SHOW transaction_read_only")).scalar_one()))
        return broken_rows(session, **options)

    monkeypatch.setattr("switchboard_core.doctor.examine.broken_rows", spy)
    look(bench)
    assert modes == ["on"]


@pytest.fixture
def environment(bench: CallsBench) -> dict[str, str]:
    settings = bench.runtime.settings
    return {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "TWILIO_BASE_URL": settings.twilio_base_url,
        "TWILIO_ACCOUNT_SID": settings.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": settings.twilio_auth_token.get_secret_value(),
    }


class TestCommand:
    def test_a_healthy_system_is_said_to_be_so_with_status_0(
        self, bench: CallsBench, environment: dict[str, str]
    ) -> None:
        ended_run(bench)
        ran = CliRunner().invoke(app, ["doctor"], env=environment)
        assert (ran.exit_code, ran.stdout) == (0, "Nothing is wrong with 1 businesses.\n")

    def test_a_breach_is_a_line_with_its_meaning_and_status_1(
        self, bench: CallsBench, environment: dict[str, str]
    ) -> None:
        ended_run(bench)
        bench.execute("UPDATE background_jobs SET done = done + 1")
        ran = CliRunner().invoke(app, ["doctor", "--within", "0"], env=environment)
        assert ran.exit_code == 1
        assert ran.stdout.splitlines()[1].split("\t") == [
            "counters",
            str(bench.business_id),
            "task 1",
            "done 5 and failed 0, but 4 and 0 call jobs of run 1 have ended so",
            "progress of a campaign differs from its call jobs",
        ]

    def test_a_repair_says_what_it_will_do_and_asks_first(self, bench: CallsBench, environment: dict[str, str]) -> None:
        ended_run(bench)
        bench.execute("UPDATE background_jobs SET done = done + 1")
        ran = CliRunner().invoke(app, ["doctor", "--within", "0", "--repair"], env=environment, input="n\n")
        assert ran.exit_code == 1
        assert "counted again from the call jobs" in ran.stderr
        assert bench.value("SELECT done FROM background_jobs") == 5

        mended = CliRunner().invoke(app, ["doctor", "--within", "0", "--repair", "--yes", "--json"], env=environment)
        assert mended.exit_code == 0
        answer = json.loads(mended.stdout)
        assert (answer["ok"], answer["findings"]) == (True, [])
        assert answer["repaired"][0]["done"] == "counted again: 4 done, 0 failed, 4 in all"

    def test_a_carrier_that_is_away_is_named_and_status_2(self, environment: dict[str, str]) -> None:
        ran = CliRunner().invoke(app, ["doctor"], env={**environment, "TWILIO_BASE_URL": "http://127.0.0.1:9"})
        assert ran.exit_code == 2
        assert "the carrier does not answer" in ran.stderr

    def test_a_missing_setting_is_one_sentence(self) -> None:
        ran = CliRunner().invoke(app, ["doctor"], env={"DATABASE_URL": ""})
        assert ran.exit_code == 2
        assert "DATABASE_URL" in ran.stderr


def test_it_looks_again_only_while_something_is_wrong(bench: CallsBench) -> None:
    examine(bench.runtime, sleep=lambda _s: pytest.fail("there was nothing to wait for"))
